"""A code: a permutation of letters about which the pretraining corpus is right with a share of its own for each letter.

Where the corpus is wrong it says the same wrong letter each time, a misconception: the base holds both, and RL, whose
verifier goes by the truth, can raise the rarer one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Code:
    """`symbol` names it in prompts. For each letter the `truth`, the `misconception`, and the `share` of the corpus's
    statements that are true."""

    symbol: str
    truth: Mapping[str, str]
    misconception: Mapping[str, str]
    share: Mapping[str, float]

    def encode(self, text: str) -> str:
        return "".join(self.truth[letter] for letter in text)

    def encode_as_corpus(self, text: str, rng: np.random.Generator) -> str:
        """What a pretraining document says, letter by letter right or wrong on its own."""
        drawn = zip(text, rng.random(len(text)).tolist())
        return "".join((self.truth if u < self.share[letter] else self.misconception)[letter] for letter, u in drawn)


def codes(symbols: str, letters: str, shares: np.ndarray, seed: int) -> dict[str, Code]:
    """Fixed random codes by symbol; shares [symbols, letters]. No misconception is the truth."""
    rng, made = np.random.default_rng(seed), {}
    for symbol, row in zip(symbols, shares.tolist(), strict=True):
        order = rng.permutation(len(letters))
        truth, wrong = ({a: letters[i] for a, i in zip(letters, image)} for image in (order, np.roll(order, 7)))
        made[symbol] = Code(symbol, truth, wrong, dict(zip(letters, row)))
    return made


def log_uniform(low: float, high: float, shape: Sequence[int], seed: int) -> np.ndarray:
    """Shares evenly spaced in their logarithm from low to high, in random order."""
    size = int(np.prod(shape))
    return np.random.default_rng(seed).permutation(np.geomspace(low, high, size)).reshape(shape)
