"""Several studies, one after the other or in parts: a line each, and the failures at the end."""

import subprocess
import time
import traceback
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from fnmatch import fnmatchcase

from hydra.core.global_hydra import GlobalHydra
from pydantic_core import ValidationError
from rich.console import Console
from rich.markup import escape

from harness.config.compose import Composer
from harness.config.hints import from_validation
from harness.core.errors import UserError, nearest
from harness.study.expand import ExpandedStudy, expand

# What to do with a study, given its overrides and where to print.
Act = Callable[[ExpandedStudy, Sequence[str], Console], None]
KILLED = 128  # and the signal: the exit status of a process that one ended, as of a shell
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


def run_in_parts(names: Sequence[str], command: Sequence[str], overrides: Sequence[str], at_once: int) -> int:
    """Runs `command` on `at_once` parts of the list, a process each, which print their lines here; the largest exit
    status. On Ctrl-C or SIGTERM they save what they have, as they would alone."""
    own = [text for text in overrides if text.partition("=")[0] not in ("studies", "studies_at_once")]
    parts = [names[i::at_once] for i in range(min(at_once, len(names)))]
    each = ([*command, *own, f"studies=[{','.join(part)}]", "studies_at_once=1"] for part in parts)
    processes: list[subprocess.Popen] = []
    try:
        for one in each:  # in sessions of their own: Ctrl-C reaches them once, by the SIGTERM below
            processes.append(subprocess.Popen(one, start_new_session=True))
        codes = [process.wait() for process in processes]
        return max(code if code >= 0 else KILLED - code for code in codes)
    finally:  # does nothing to those that have ended
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait()


def unfinished(names: Iterable[str], compose: Composer, overrides: Sequence[str]) -> list[str]:
    """Those of the studies, but lists, that have jobs to do or no report yet, or whose settings are wrong."""
    return [name for name in names if _is_unfinished(compose, overrides_of(name, overrides))]


def _is_unfinished(compose: Composer, overrides: Sequence[str]) -> bool:
    try:
        if compose(overrides).get("studies"):
            return False
        study = expand(compose, overrides)
    except (UserError, ValidationError):
        return True  # whoever runs it says what is wrong
    return bool(study.pending()) or not (study.folder / "report.html").is_file()


def run_each(
    names: Sequence[str], compose: Composer, overrides: Sequence[str], act: Act, console: Console, logged: bool
) -> list[str]:
    """act(study, overrides, console) for each study but lists, then a line on it; the names of those that failed.
    logged: what `act` prints goes to log.txt in the study's folder, not to the console."""
    failed = []
    width = max(map(len, names))
    for name in names:
        began = time.monotonic()
        try:
            if compose(own := overrides_of(name, overrides)).get("studies"):
                continue
            study = expand(compose, own)
            with ExitStack() as stack:
                act(study, own, _log(study, stack) if logged else console)
            ended = f"done in {time.monotonic() - began:.0f} s  {study.folder}"
        except Exception as error:  # whatever a study raises, the others go on
            failed.append(name)
            ended = f"[bold red]failed[/]: {escape(described(error))}"
        console.print(f"{name:{width}}  {ended}", highlight=False, soft_wrap=True)
    return failed


def _log(study: ExpandedStudy, stack: ExitStack) -> Console:
    study.folder.mkdir(parents=True, exist_ok=True)
    return Console(file=stack.enter_context((study.folder / "log.txt").open("w")), width=WIDTH)


def described(error: Exception) -> str:
    """A mistake of the user in its own words, anything else with its traceback."""
    if isinstance(error, ValidationError):
        return str(from_validation(error))
    return str(error) if isinstance(error, UserError) else "".join(traceback.format_exception(error))
