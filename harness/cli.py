"""What all scripts share: a Hydra app whose errors name the fix, and which saves before it stops.

    @app("train")
    def main(config: DictConfig) -> None: ...

Exit status: 0, 1 for a bug (with its traceback), 2 for a mistake in what was asked, 130 and 143 for Ctrl-C and SIGTERM,
141 where the reader of the output has gone.
"""

import functools
import os
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import hydra
from hydra.errors import HydraException
from omegaconf import DictConfig
from pydantic_core import ValidationError
from yaml import YAMLError

from harness.config.compose import (
    config_folder_among,
    explain,
    flags_and_overrides,
    hydra_with,
    known_settings,
    refuse_run_dir,
)
from harness.config.hints import from_validation
from harness.core.errors import UserError, as_write_error
from harness.core.signals import raise_on_signals
from harness.core.threads import BLAS_VARIABLES

CONSOLE = "rl-scaling"  # the console command of pyproject.toml
Body = Callable[[DictConfig], Any]
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
    """Runs the Hydra app; its exit status. Errors that the user can fix are printed without a traceback."""
    for name in BLAS_VARIABLES:  # jobs set their own; here only small systems are solved, which threads slow down
        os.environ.setdefault(name, "1")
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra raises its errors instead of printing them and leaving
    raise_on_signals()
    (flags, overrides), folder = flags_and_overrides(sys.argv[1:]), None
    try:
        refuse_run_dir(overrides)
        folder = config_folder_among(sys.argv[1:])
        sys.argv[1:] = flags + overrides
        _run_with_hydra(body, config_name, config_module)
    except UserError as error:
        return print_error(error)
    except ValidationError as error:
        with hydra_with(config_module, folder):
            return print_error(from_validation(error, known_settings(config_name, overrides)[0]))
    except HydraException as error:
        with hydra_with(config_module, folder):
            return print_error(explain(error, config_name, overrides))
    except YAMLError as error:
        return print_error(UserError("a configuration file is no YAML", str(error), "fix it there"))
    except KeyboardInterrupt as error:
        started = [CONSOLE, config_name] if _is_console() else ["python", sys.argv[0]]
        resume = shlex.join([*started, *sys.argv[1:]])
        print(f"{error or 'stopped'}. To resume: {resume}", file=sys.stderr)
        return getattr(error, "status", 130)
    except BrokenPipeError:  # the reader has gone, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what Python still flushes
        return 141
    except OSError as error:
        if (mistake := as_write_error(error)) is None:
            raise
        return print_error(mistake)
    return 0


def program(name: str) -> list[str]:
    """How another process starts the command `name`, which this one runs."""
    return [sys.argv[0], name] if _is_console() else [sys.executable, sys.argv[0]]


def _is_console() -> bool:
    """Whether the console command started this process, whose commands have the names of their configurations."""
    return Path(sys.argv[0]).stem == CONSOLE


def command_line(name: str) -> str:
    """How to start the command `name` beside the one that runs: by the console command, or as a script."""
    started_as = Path(sys.argv[0])
    is_script = started_as.parent.name == "scripts"
    return f"python {started_as.with_name(f'{name}.py')}" if is_script else f"rl-scaling {name}"


def _run_with_hydra(body: Body, config_name: str, config_module: str) -> None:
    """Calls body(config). Errors that the user can fix are raised after Hydra has ended: it would add its own lines."""
    errors: list[UserError | ValidationError] = []

    @functools.wraps(body)
    def keeping_errors(config: DictConfig) -> Any:
        try:
            return body(config)
        except (UserError, ValidationError) as error:
            errors.append(error)
        return None

    os.environ["HYDRA_MAIN_MODULE"] = config_name  # what Hydra calls the application
    hydra.main(version_base="1.3", config_path=f"pkg://{config_module}", config_name=config_name)(keeping_errors)()
    if errors:
        raise errors[0]


def print_error(error: UserError) -> int:
    """Prints the error to stderr; the exit status of a mistake in what was asked."""
    print(f"error: {error}", file=sys.stderr)
    return 2
