"""The bases that a base descends from, where each was pretrained on documents of the one before."""

from dataclasses import replace

from harness.config.schema import Config


def of_generation(config: Config, generation: int) -> Config:
    """The same with the base of another generation; 0 is pretrained on the corpus, whatever the later ones read."""
    synthetic = config.base.synthetic
    if synthetic is not None:
        synthetic = replace(synthetic, generation=generation) if generation else None
    return replace(config, base=replace(config.base, synthetic=synthetic))


def generations(config: Config) -> tuple[Config, ...]:
    """One for each base that config's base needs, from generation 0 to its own."""
    return tuple(of_generation(config, generation) for generation in range(config.base.generation + 1))
