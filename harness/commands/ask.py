"""`rl-scaling ask`: what a policy answers."""

import sys
from collections.abc import Iterable, Sequence

from harness.cli import app, print_error
from harness.config.compose import flags_and_overrides
from harness.core.errors import UserError, nearest


def split_arguments(arguments: Sequence[str], known: Iterable[str]) -> tuple[list[str], list[str]]:
    """(`known` settings and Hydra's flags, prompts: all else, and whatever follows `--`). Raises UserError for what is
    probably a misspelt setting."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    known, settings, prompts = set(known), [], []
    flags, _ = flags_and_overrides(arguments[:end])
    for argument in arguments[:end]:
        key, _, value = argument.partition("=")
        if (key in known and value) or argument in flags:
            settings.append(argument)
        elif value and key.isidentifier() and (meant := nearest(key, known)):
            raise UserError(argument, "no such setting", f"did you mean {meant[0]}=…? A prompt like it goes after --")
        else:
            prompts.append(argument)
    return settings, [*prompts, *arguments[end + 1 :]]


def settings_of(config_name: str) -> list[str]:
    """The settings of configs/<name>.yaml."""
    from importlib.resources import files

    from omegaconf import OmegaConf

    written = OmegaConf.create(files("configs").joinpath(f"{config_name}.yaml").read_text())
    return [str(key) for key in written if key != "defaults"]


def main() -> None:
    """What the policy of a run answers to prompts, before RL and after, with probabilities. Examples:

    rl-scaling ask run=quickstart-true_reward-s0 "reverse abc=" "max 3 9 4="
    rl-scaling ask run='quickstart-*-s0' steps='[0,64]' "reverse abc="
    rl-scaling ask run=quickstart-true_reward-s0      # one prompt a line
    """
    try:
        settings, prompts = split_arguments(sys.argv[1:], settings_of("ask"))
    except UserError as error:
        sys.exit(print_error(error))

    @app("ask")
    def ask_policies(config) -> None:
        from pydantic import TypeAdapter
        from rich.console import Console

        from harness.config.compose import plain
        from harness.run.ask import AskOptions, ask

        ask(prompts, TypeAdapter(AskOptions).validate_python(plain(config)), Console())

    sys.argv[1:] = settings
    ask_policies()
