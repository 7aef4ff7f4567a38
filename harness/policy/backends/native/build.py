"""Compiles policy.c once per machine with its own C compiler, caches the library, verifies it and loads it.

Environment: CC, the compiler with options; RL_SCALING_CFLAGS, further options, such as `-mno-avx512f` (AVX2 alone) or
`-mno-amx-tile -mno-amx-bf16`; RL_SCALING_NATIVE=0 disables the library; XDG_CACHE_HOME, the cache's parent folder.
"""

import atexit
import ctypes
import functools
import hashlib
import os
import platform
import shlex
import shutil
import stat
import subprocess
import tempfile
import warnings
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

SOURCE = Path(__file__).with_name("policy.c")
# None changes how NaN or infinity spread, or the order of a sum except where the source says so.
FLAGS = ("-O2", "-ftree-vectorize", "-fno-math-errno", "-fno-trapping-math", "-fopenmp-simd")
SHARED = ("-shared", "-fPIC", "-pthread")
TUNING = (  # the first that the compiler accepts: gcc's, then clang's
    ("-fvect-cost-model=dynamic", "-march=native", "-mprefer-vector-width=512"),
    ("-march=native",),
    ("-mcpu=native",),
    (),
)


class _NotPrivate(OSError):
    """A cache folder in which another user may have put or changed a library."""


def library() -> ctypes.CDLL | None:
    """The compiled functions; None if disabled or not available."""
    return _load()[0]


def compile_only() -> Path:
    """Compiles the library into the user's cache without loading it: one with a sanitizer cannot be loaded by each
    process. Raises OSError."""
    return _verified_library(_user_cache(), _words("CC") or ["cc"], _words("RL_SCALING_CFLAGS"))


def missing_reason() -> str:
    """Why `library` is None; "" if it is not."""
    return _load()[1]


@functools.cache
def _load() -> tuple[ctypes.CDLL | None, str]:
    if os.environ.get("RL_SCALING_NATIVE") == "0":
        return None, "RL_SCALING_NATIVE=0"
    try:
        compiler, options = _words("CC") or ["cc"], _words("RL_SCALING_CFLAGS")
    except ValueError as error:
        return None, str(error)
    if shutil.which(compiler[0]) is None:
        return None, f"no C compiler ({compiler[0]})"
    reasons = []
    for folder in (_user_cache, _process_folder):
        try:
            return ctypes.CDLL(str(_verified_library(folder(), compiler, options))), ""
        except (OSError, RuntimeError) as error:  # RuntimeError: a user without a home
            reasons.append(str(error))
            if isinstance(error, _NotPrivate):
                warnings.warn(f"{error}: compiled for this process alone", RuntimeWarning, stacklevel=2)
    return None, reasons[0]


def _words(variable: str) -> list[str]:
    """The words of an environment variable, [] if unset. Raises ValueError if it is blank or cannot be split."""
    text = os.environ.get(variable) or ""
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise ValueError(f"{variable}={text!r} cannot be split into words: {error}") from None
    if text and not words:
        raise ValueError(f"{variable}={text!r} is blank: set it to a command or unset it")
    return words


def _user_cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rl-scaling"


def _process_folder() -> Path:
    """A new folder, removed when the process ends: for where the user's cache cannot be used."""
    folder = tempfile.mkdtemp(prefix="rl-scaling-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


def _verified_library(folder: Path, compiler: Sequence[str], options: Sequence[str]) -> Path:
    """The library in this folder, compiled if it is not there, not private or not what was written. Raises OSError."""
    sources = b"".join(path.read_bytes() for path in sorted(SOURCE.parent.glob("*.[ch]")))
    built_for = (platform.machine(), _cpu(), *compiler, *FLAGS, *map(str, TUNING), *options)
    key = hashlib.blake2b(sources + "\0".join(built_for).encode(), digest_size=8).hexdigest()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not _is_private(folder):
        raise _NotPrivate(f"{folder} belongs to another user or others may write to it (chmod go-w)")
    target = folder / f"native-{key}.so"
    with _locked(folder / "native.lock"):
        if not _is_intact(target):
            _compile(compiler, options, target)
    return target


def _is_private(path: Path) -> bool:
    """Whether it belongs to this user and nobody else may write to it."""
    found = path.stat()
    return found.st_uid == os.geteuid() and not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def _digest_file(target: Path) -> Path:
    return target.with_suffix(".blake2b")


def _digest(target: Path) -> str:
    return hashlib.blake2b(target.read_bytes()).hexdigest()


def _is_intact(target: Path) -> bool:
    """Whether the library holds the bytes that were written: loading a truncated one kills the process."""
    try:
        private = _is_private(target) and _is_private(_digest_file(target))
        return private and _digest_file(target).read_text() == _digest(target)
    except (OSError, UnicodeDecodeError):
        return False


@contextmanager
def _locked(path: Path) -> Generator[None]:
    """Holds the lock of this file: one process compiles, the others wait for it."""
    import fcntl  # not on Windows, where the library is not compiled

    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _cpu() -> str:
    """What -march=native depends on: machines of several kinds may share a home folder."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() + platform.node()
    return "".join(sorted({line for line in lines if line.startswith(("model name", "flags", "Features"))}))


def _compile(compiler: Sequence[str], options: Sequence[str], target: Path) -> None:
    """Writes the library and its digest. Raises OSError."""
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        built, message = Path(folder) / target.name, ""
        for tuning in TUNING:
            command = [*compiler, *FLAGS, *tuning, *options, *SHARED, str(SOURCE), "-o", str(built), "-lm"]
            result = subprocess.run(command, capture_output=True, text=True)
            if result.returncode == 0:
                _digest_file(built).write_text(_digest(built))
                for path in (built, _digest_file(built)):
                    path.chmod(0o600)
                    path.replace(target.parent / path.name)
                return
            message = result.stderr.strip().split("\n")[-1]
    raise OSError(f"{shlex.join(compiler)} cannot compile {SOURCE.name}: {message}")
