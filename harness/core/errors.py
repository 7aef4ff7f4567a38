"""Errors that a user can fix, and the nearest names to a misspelt one."""

import difflib
import errno
from collections.abc import Callable, Iterable
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


class UserError(Exception):
    """A mistake in what the user asked, found before compute is spent: the thing, the reason, and the fix.

    The scripts print it without a traceback and exit with status 2.
    """

    def __init__(self, thing: str, reason: str = "", fix: str = ""):
        super().__init__(thing, reason, fix)

    def __str__(self) -> str:
        thing, reason, fix = self.args
        head = f"{thing}: {reason}" if reason else thing
        return f"{head}\n  {fix}" if fix else head


_CANNOT_WRITE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)


def as_write_error(error: OSError) -> UserError | None:
    """What to say of a full disk, a quota, or a folder that may not be written to; None for any other error."""
    if error.errno not in _CANNOT_WRITE:
        return None
    fix = "make room, or choose another output folder; the same command then goes on where it stopped"
    return UserError(f"cannot write {error.filename or ''}".strip(), error.strerror or "", fix)


def headline(error: str) -> str:
    """The line of an error's text that says what happened: of a traceback the exception, not the notes after it."""
    lines = error.strip().splitlines() or [""]
    traced = [i for i, line in enumerate(lines) if line.startswith(("Traceback", "  File "))]
    after = lines[traced[-1] + 1 :] if traced else lines
    return next((line for line in after if not line.startswith(" ")), lines[-1])


def nearest(word: str, names: Iterable[str], most: int = 4) -> list[str]:
    """The names that `word` was probably meant to be, best first. Dotted names also match by their last part."""
    names = list(dict.fromkeys(names))
    lower = word.lower()
    last = lower.rsplit(".", 1)[-1]
    same_leaf = [name for name in names if name.lower().rsplit(".", 1)[-1] == last]
    whole = difflib.get_close_matches(lower, names, n=most, cutoff=0.6)
    leaves = {name.rsplit(".", 1)[-1]: name for name in reversed(names)}
    by_leaf = [leaves[leaf] for leaf in difflib.get_close_matches(last, leaves, n=most, cutoff=0.7)]
    return list(dict.fromkeys([*same_leaf, *whole, *by_leaf]))[:most]


def attempt_all(function: Callable[[T], R], items: Iterable[T]) -> list[R]:
    """function(item) of each item. One that raises keeps no other from its turn; then the first error is raised."""
    results, errors = [], []
    for item in items:
        try:
            results.append(function(item))
        except Exception as error:
            errors.append(error)
    if errors:
        raise errors[0]
    return results
