"""What all scripts share: a Hydra app whose errors help, and which stops in good order.

    @app("train")
    def main(config: DictConfig) -> None: ...

Exit status: 0, 1 for a bug (with its traceback), 2 for a mistake in what was asked, 130 and 143 for Ctrl-C and SIGTERM,
141 where nobody reads the output any more.
"""

import functools
import os
import shlex
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from pydantic_core import ValidationError

from harness.config.hints import from_validation, unknown_setting
from harness.core.dotted import flatten
from harness.core.errors import UserError, cannot_write, nearest
from harness.core.signals import raise_on_signals
from harness.launch.local import BLAS_VARIABLES

Body = Callable[[DictConfig], None]
Sweep = Callable[[Sequence[dict[str, Any]]], Sequence[Any]]


def app(
    config_name: str, sweep: Sweep | None = None, config_module: str = "configs"
) -> Callable[[Body], Callable[[], None]]:
    """Makes body(config) a script: composes `config_name` of the package `config_module` with the command line.

    With -m, sweep(containers) is called once with the plain configurations of all jobs, and returns a value for each;
    without a `sweep`, body is called for one after the other.
    """

    def decorate(body: Body) -> Callable[[], None]:
        body.__dict__["sweep"] = sweep

        @functools.wraps(body)
        def main() -> None:
            sys.exit(_run(body, config_name, config_module))

        return main

    return decorate


def _run(body: Body, config_name: str, config_module: str) -> int:
    """Runs the Hydra app; its exit status. Errors that the user can mend are printed without a traceback."""
    for name in BLAS_VARIABLES:  # jobs set their own; here only small systems are solved, which threads slow down
        os.environ.setdefault(name, "1")
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra raises its errors instead of printing them and leaving
    raise_on_signals()
    mistakes: list[UserError | ValidationError] = []

    @functools.wraps(body)
    def quiet(config: DictConfig) -> None:
        try:
            body(config)
        except (UserError, ValidationError) as error:  # raised once more outside Hydra, which would add its own line
            mistakes.append(error)

    try:
        hydra.main(version_base="1.3", config_path=f"pkg://{config_module}", config_name=config_name)(quiet)()
        if mistakes:
            raise mistakes[0]
    except UserError as error:
        return _say(error, 2)
    except ValidationError as error:
        return _say(from_validation(error, known_settings(config_name, config_module, _overrides(sys.argv[1:]))[0]), 2)
    except HydraException as error:
        return _say(explain(error, config_name, config_module, _overrides(sys.argv[1:])), 2)
    except KeyboardInterrupt as error:
        resume = shlex.join([*_program(config_name), *sys.argv[1:]])
        return _say(f"{error or 'stopped'}. To resume: {resume}", getattr(error, "status", 130))
    except BrokenPipeError:  # whoever read has gone, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what Python still flushes
        return 141
    except OSError as error:
        if (mistake := cannot_write(error)) is None:
            raise
        return _say(mistake, 2)
    return 0


def _program(config_name: str) -> list[str]:
    """How this process was started: by the console command, whose commands have the names of their configurations, or
    as a script."""
    started_as = Path(sys.argv[0])
    return [started_as.stem, config_name] if started_as.stem == "rl-scaling" else ["python", sys.argv[0]]


def explain(error: HydraException, config_name: str, config_module: str, texts: Sequence[str]) -> UserError:
    """Finds the override that Hydra could not apply, and says what would have been right; else Hydra's own words."""
    try:
        known, groups = known_settings(config_name, config_module, texts)
        _check_settings(_parse(texts), known, groups)
    except UserError as found:
        return found
    except HydraException:
        pass  # composing the choices alone fails too: then the first error says it
    return UserError(str(error))


def known_settings(config_name: str, config_module: str, texts: Sequence[str]) -> tuple[list[str], list[str]]:
    """(dotted names of all settings, groups of choices), with the choices among the overrides made, nothing else.

    Raises UserError for an override that cannot be read and for a choice that does not exist.
    """
    GlobalHydra.instance().clear()
    with hydra.initialize_config_module(config_module, version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()
        choices = [override for override in _parse(texts) if loader.get_group_options(override.key_or_group)]
        for choice in choices:
            _check_choice(choice, loader.get_group_options(choice.key_or_group))
        single = [choice.input_line or "" for choice in choices if not choice.is_sweep_override()]
        return list(flatten(_plain(hydra.compose(config_name, overrides=single)))), loader.list_groups("")


def _parse(texts: Sequence[str]) -> list[Override]:
    parser, overrides = OverridesParser.create(), []
    for text in texts:
        try:
            overrides += parser.parse_overrides([text])
        except OverrideParseException:
            fix = "write key=value, in quotes if there are brackets, spaces or commas: 'rl.steps=64'"
            inner = "\n  a value with = in it goes in quotes of its own: '+study.arms.other=[\"algo=grpo\"]'"
            raise UserError(text, "cannot be read as a setting", fix + inner * (text.count("=") > 1)) from None
    return overrides


def _check_choice(override: Override, options: Sequence[str]) -> None:
    if override.is_delete():
        return
    values = override.sweep_string_iterator() if override.is_sweep_override() else [str(override.value())]
    for option in values:
        if option not in options:
            raise _unknown_choice(override.key_or_group, option, options)


def _check_settings(overrides: Sequence[Override], known: Iterable[str], groups: Sequence[str]) -> None:
    names = {*known, *groups}
    branches = {name[:end] for name in names for end, letter in enumerate(name) if letter == "."}
    for override in overrides:
        key = override.key_or_group
        added = override.is_add() or override.is_force_add()
        if not (added or key in names | branches or key.split("/")[0].split(".")[0] == "hydra"):
            raise unknown_setting(key, names)


def _unknown_choice(group: str, option: str, options: Sequence[str]) -> UserError:
    near = nearest(option, options)
    meant = f"did you mean {' or '.join(near)}? " if near else ""
    return UserError(f"{group}={option}", "there is no such choice", f"{meant}There are: {', '.join(sorted(options))}")


def _overrides(arguments: Sequence[str]) -> list[str]:
    """The overrides among the arguments: all but Hydra's own flags and what follows them."""
    taking_value = (
        "--cfg",
        "-c",
        "--package",
        "-p",
        "--config-name",
        "-cn",
        "--config-path",
        "-cp",
        "--config-dir",
        "-cd",
    )
    pairs = zip(["", *arguments], arguments)
    return [text for before, text in pairs if not text.startswith("-") and before not in taking_value]


def _plain(config: DictConfig) -> dict[str, object]:
    container = OmegaConf.to_container(config, resolve=False)
    assert isinstance(container, dict)
    return {str(key): value for key, value in container.items()}


def _say(message: object, status: int) -> int:
    print(message if status > 2 else f"error: {message}", file=sys.stderr)
    return status
