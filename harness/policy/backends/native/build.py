"""Compiles policy.c once for a machine, by its own compiler, into the user's cache, and loads it."""

import atexit
import ctypes
import functools
import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

SOURCE = Path(__file__).with_name("policy.c")
# None changes how NaN or infinity spread, or in which order a sum is taken but where the source says so.
FLAGS = ("-O2", "-ftree-vectorize", "-fno-math-errno", "-fno-trapping-math", "-fopenmp-simd")
SHARED = ("-shared", "-fPIC", "-pthread")
TUNED = (  # the first that the compiler knows: gcc's, then clang's
    ("-fvect-cost-model=dynamic", "-march=native", "-mprefer-vector-width=512"),
    ("-march=native",),
    ("-mcpu=native",),
    (),
)


def library() -> ctypes.CDLL | None:
    """The compiled functions; None where they are switched off or cannot be had."""
    return _found()[0]


def missing() -> str:
    """Why there is no compiled path; "" where there is one."""
    return _found()[1]


@functools.cache
def _found() -> tuple[ctypes.CDLL | None, str]:
    if os.environ.get("RL_SCALING_NATIVE") == "0":
        return None, "RL_SCALING_NATIVE=0"
    compiler = shlex.split(os.environ.get("CC") or "cc")
    if shutil.which(compiler[0]) is None:
        return None, f"no C compiler ({compiler[0]})"
    reasons = []
    for folder in (_cache, _folder_of_this_process):
        try:
            sources = b"".join(path.read_bytes() for path in sorted(SOURCE.parent.glob("*.[ch]")))
            made_for = (platform.machine(), _processor(), *compiler, *FLAGS, *map(str, TUNED))
            name = hashlib.blake2b(sources + "\0".join(made_for).encode(), digest_size=8).hexdigest()
            target = folder() / f"native-{name}.so"
            if not target.exists():
                _compile(compiler, target)
            return ctypes.CDLL(str(target)), ""
        except (OSError, RuntimeError) as error:  # RuntimeError: a user without a home
            reasons.append(str(error))
    return None, reasons[0]


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rl-scaling"


def _folder_of_this_process() -> Path:
    """Where the cache cannot be written: nobody else could have put a library there."""
    folder = tempfile.mkdtemp(prefix="rl-scaling-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


def _processor() -> str:
    """What -march=native looks at: a home folder may be shared by machines of several kinds."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() + platform.node()
    return "".join(sorted({line for line in lines if line.startswith(("model name", "flags", "Features"))}))


def _compile(compiler: Sequence[str], target: Path) -> None:
    """Raises OSError where it cannot. Processes that compile at once do not see each other's halves."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        made, words = Path(folder) / target.name, ""
        for tuned in TUNED:
            command = [*compiler, *FLAGS, *tuned, *SHARED, str(SOURCE), "-o", str(made), "-lm"]
            ran = subprocess.run(command, capture_output=True, text=True)
            if ran.returncode == 0:
                made.replace(target)
                return
            words = ran.stderr.strip().split("\n")[-1]
    raise OSError(f"{shlex.join(compiler)} cannot compile {SOURCE.name}: {words}")
