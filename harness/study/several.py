"""Several studies, a line each, and the failures at the end."""

import os
import subprocess
import time
import traceback
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from fnmatch import fnmatchcase

from hydra.core.global_hydra import GlobalHydra
from pydantic_core import ValidationError
from rich.console import Console
from rich.markup import escape

from harness.config.compose import Composer
from harness.config.hints import from_validation
from harness.core.errors import UserError, nearest
from harness.study.expand import Study, expand

Act = Callable[[Study, Sequence[str], Console], None]  # what to do with a study, given its overrides and where to print
WIDTH = 100  # of lines in a log


def matching_studies(patterns: Iterable[str]) -> list[str]:
    """The names of the group `study` that the names or patterns stand for. Raises UserError for one that stands for
    nothing."""
    known = GlobalHydra.instance().config_loader().get_group_options("study")
    found: dict[str, None] = {}
    for pattern in patterns:
        names = [name for name in known if fnmatchcase(name, pattern)]
        if not names:
            meant = " or ".join(nearest(pattern, known) or known)
            raise UserError(f"studies={pattern}", "there is no such study", f"did you mean {meant}?")
        found |= dict.fromkeys(names)
    return list(found)


def overrides_of(name: str, overrides: Iterable[str]) -> list[str]:
    """The overrides of a list of studies, as those of the study `name` alone."""
    return [f"study={name}", *(text for text in overrides if text.partition("=")[0] not in ("study", "studies"))]


def run_each(
    names: Sequence[str], compose: Composer, overrides: Sequence[str], act: Act, console: Console
) -> list[str]:
    """act(study, overrides, console) for each study but lists, then a line on it; the names of those that failed."""

    def run(study: Study, own: Sequence[str]) -> None:
        act(study, own, console)

    return _each(names, compose, overrides, run, console, at_once=1)


def launch_each(
    names: Sequence[str],
    compose: Composer,
    overrides: Sequence[str],
    command: Sequence[str],
    console: Console,
    at_once: int,
) -> list[str]:
    """Runs `command` with the overrides of each study but lists, in processes of their own, `at_once` at a time, and
    prints a line on each in the order of names; the names of those that failed. What a study prints goes to log.txt in
    its folder."""

    running: set[subprocess.Popen] = set()

    def run(study: Study, own: Sequence[str]) -> None:
        study.folder.mkdir(parents=True, exist_ok=True)
        log = study.folder / "log.txt"
        env = {**os.environ, "COLUMNS": str(WIDTH)}
        with log.open("w") as out:
            process = subprocess.Popen([*command, *own], stdout=out, stderr=out, env=env)
        running.add(process)
        status = process.wait()
        running.discard(process)
        if status:
            raise UserError(_end_of(log.read_text()), f"status {status}, see {log}")

    try:
        return _each(names, compose, overrides, run, console, at_once)
    except BaseException:  # Ctrl-C or SIGTERM: the studies save what they have, as they would alone
        stopped = list(running)
        for process in stopped:
            process.terminate()
        for process in stopped:
            process.wait()
        raise


def _each(
    names: Sequence[str],
    compose: Composer,
    overrides: Sequence[str],
    run: Callable[[Study, Sequence[str]], None],
    console: Console,
    at_once: int,
) -> list[str]:
    """run(study, overrides) for each study; the names of those that raised."""
    asked = {name: own for name in names if not compose(own := overrides_of(name, overrides)).get("studies")}
    width, failed = max(map(len, names)), []

    def ended(study: Study, own: Sequence[str]) -> str | Exception:
        began = time.monotonic()
        try:
            run(study, own)
        except Exception as error:  # whatever a study raises, the others go on
            return error
        return f"done in {time.monotonic() - began:.0f} s  {study.folder}"

    studies = {name: _expanded(compose, own) for name, own in asked.items()}
    good = {name: study for name, study in studies.items() if isinstance(study, Study)}
    pool = ThreadPoolExecutor(at_once)
    try:  # one at a time stays in this thread, which alone takes signals
        ends = iter((pool.map if at_once > 1 else map)(ended, good.values(), [asked[name] for name in good]))
        for name, study in studies.items():
            end = next(ends) if isinstance(study, Study) else study
            if isinstance(end, Exception):
                failed.append(name)
                end = f"[bold red]failed[/]: {escape(described(end))}"
            console.print(f"{name:{width}}  {end}", highlight=False, soft_wrap=True)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
    return failed


def _expanded(compose: Composer, overrides: Sequence[str]) -> Study | Exception:
    try:
        return expand(compose, overrides)
    except Exception as error:  # a mistake in one study is no reason not to run the others
        return error


def _end_of(log: str) -> str:
    """What a log says last: from its last `error:` on, or its last line."""
    lines = [line for line in log.splitlines() if line.strip()] or ["it printed nothing"]
    last = max((i for i, line in enumerate(lines) if line.startswith("error:")), default=len(lines) - 1)
    return " ".join(line.strip() for line in lines[last:])


def described(error: Exception) -> str:
    """A mistake of the user in its own words, anything else with its traceback."""
    if isinstance(error, ValidationError):
        return str(from_validation(error))
    return str(error) if isinstance(error, UserError) else "".join(traceback.format_exception(error))
