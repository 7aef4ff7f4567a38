"""Imported by each Python process whose path holds this folder: ends it by SIGKILL in chosen moments, once each.

KILL_POINTS: "NAME=PATTERN" in lines; the process is killed as it is about to give its final name to a written file or
folder whose path matches the pattern, then, in another process, right after it did. KILL_FLAGS: the folder where it is
noted what has happened.
"""

import fnmatch
import os
import signal
import sys
from pathlib import Path

FLAGS = Path(os.environ["KILL_FLAGS"])
POINTS = dict(line.split("=", 1) for line in os.environ["KILL_POINTS"].splitlines())
due: list[str] = []


def die_once(flag: str) -> None:
    try:
        (FLAGS / flag).touch(exist_ok=False)
    except FileExistsError:
        return
    os.kill(os.getpid(), signal.SIGKILL)


def hook(event: str, arguments: tuple) -> None:
    if due:  # the first event after the renaming
        die_once(due.pop())
    if event == "os.rename":
        for name, pattern in POINTS.items():
            if fnmatch.fnmatch(os.fspath(arguments[1]), pattern):
                if (FLAGS / f"before {name}").exists():
                    due.append(f"after {name}")
                die_once(f"before {name}")


sys.addaudithook(hook)
