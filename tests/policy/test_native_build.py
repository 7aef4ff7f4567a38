"""The library's build: verified before it is loaded, and done without where it cannot be compiled."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness.policy.backends.native import build
from tests.policy.conftest import needs_compiler

PRINT = "from harness.policy.backends import native; print(native.library() is not None, native.missing_reason())"
COMPUTE = "from tests.policy.test_native_weights import *; assert_uses_its_weights(policy_of()); print('True')"


def run_python(code, **environment):
    command = [sys.executable, "-c", code]
    return subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, check=True)


def missing_reason(**environment):
    """In a process of its own; "" if the library is loaded there."""
    loaded, _, reason = run_python(PRINT, **environment).stdout.strip().partition(" ")
    assert (loaded == "True") == (reason == "")
    return reason


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    """A library, compiled quickly."""
    folder = tmp_path_factory.mktemp("compiled")
    return build._verified_library(folder, build._words("CC") or ["cc"], ["-O0"])


@dataclass(frozen=True)
class Compiler:
    """A command that copies a library instead of compiling one, and the cache folder it compiles into."""

    command: Path
    log: Path
    cache: Path

    def library(self):
        """The verified library, in this process."""
        return build._verified_library(self.cache, [str(self.command)], [])

    def environment(self):
        return {"CC": str(self.command), "XDG_CACHE_HOME": str(self.cache.parent), "TMPDIR": str(self.cache.parent)}

    def runs(self):
        return len(self.log.read_text()) if self.log.exists() else 0


@pytest.fixture
def compiler(tmp_path, compiled):
    log, command = tmp_path / "log", tmp_path / "compiler"
    find_output = 'while [ "$1" != -o ]; do shift; done'
    command.write_text(f"#!/bin/sh\n{find_output}\nprintf x >> {log}\nsleep 0.2\ncp {compiled} $2\n")
    command.chmod(0o755)
    return Compiler(command, log, tmp_path / "rl-scaling")


def test_without_a_compiler_or_disabled_there_is_a_reason(tmp_path):
    broken = tmp_path / "cc"
    broken.write_text("#!/bin/sh\nexit 1\n")
    broken.chmod(0o755)
    cache = str(tmp_path / "cache")
    assert missing_reason(RL_SCALING_NATIVE="0") == "RL_SCALING_NATIVE=0"
    assert missing_reason(CC="no-such-compiler") == "no C compiler (no-such-compiler)"
    reason = missing_reason(CC=str(broken), XDG_CACHE_HOME=cache, TMPDIR=str(tmp_path))
    assert reason.startswith(f"{broken} cannot compile")


@pytest.mark.parametrize(
    ("variable", "text", "reason"),
    [
        ("CC", " ", "CC=' ' is blank: set it to a command or unset it"),
        ("CC", "cc '", 'CC="cc \'" cannot be split into words: No closing quotation'),
        ("RL_SCALING_CFLAGS", '"', "RL_SCALING_CFLAGS='\"' cannot be split into words: No closing quotation"),
    ],
)
def test_a_variable_that_names_no_command_is_a_reason_in_words(variable, text, reason):
    assert missing_reason(**{variable: text}) == reason


@needs_compiler
def test_processes_that_start_at_once_compile_once_and_all_get_the_whole_library(compiler):
    with ThreadPoolExecutor(3) as pool:
        reasons = list(pool.map(lambda _: missing_reason(**compiler.environment()), range(3)))
    assert reasons == [""] * 3
    assert compiler.runs() == 1
    assert sorted(path.suffix for path in compiler.cache.iterdir()) == [".blake2b", ".lock", ".so"]


def truncate(library):
    library.write_bytes(library.read_bytes()[: library.stat().st_size // 2])


def alter(library):
    content = bytearray(library.read_bytes())
    content[len(content) // 2] ^= 1
    library.write_bytes(content)


DAMAGE = {
    "truncated": truncate,
    "emptied": lambda library: library.write_bytes(b""),
    "altered": alter,
    "removed": Path.unlink,
    "digest altered": lambda library: library.with_suffix(".blake2b").write_bytes(b"\xff" * 128),
    "digest removed": lambda library: library.with_suffix(".blake2b").unlink(),
    "writable by others": lambda library: library.chmod(0o666),
    "digest writable by its group": lambda library: library.with_suffix(".blake2b").chmod(0o660),
}


@needs_compiler
@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_library_is_compiled_anew_once(compiler, compiled, damage):
    DAMAGE[damage](compiler.library())
    for _ in range(3):
        library = compiler.library()
        assert library.read_bytes() == compiled.read_bytes()
        assert library.stat().st_mode & 0o077 == 0
    assert compiler.runs() == 2


@needs_compiler
def test_a_truncated_library_kills_no_process(compiler):
    truncate(compiler.library())
    with ThreadPoolExecutor(2) as pool:
        runs = pool.map(lambda _: run_python(COMPUTE, **compiler.environment()), range(2))
        assert [run.stdout.strip() for run in runs] == ["True"] * 2
    assert compiler.runs() == 2


@needs_compiler
@pytest.mark.parametrize("mode", [0o777, 0o720, 0o702])
def test_a_folder_that_others_may_write_to_is_refused(compiler, mode):
    compiler.library()
    compiler.cache.chmod(mode)
    with pytest.raises(build._NotPrivate, match=r"others may write to it \(chmod go-w\)"):
        compiler.library()


@needs_compiler
def test_where_a_folder_is_refused_the_library_is_compiled_for_the_process_alone(compiler):
    """And nothing in the folder is loaded or changed."""
    library = compiler.library()
    truncate(library)
    size, before = library.stat().st_size, sorted(compiler.cache.iterdir())
    compiler.cache.chmod(0o777)
    run = run_python(COMPUTE, **compiler.environment())
    assert run.stdout.strip() == "True"
    assert "others may write to it (chmod go-w): compiled for this process alone" in run.stderr
    assert library.stat().st_size == size
    assert sorted(compiler.cache.iterdir()) == before
    assert not list(compiler.cache.parent.glob("rl-scaling-*"))  # removed with the process


@needs_compiler
@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root gives files away")
def test_what_another_user_owns_is_not_loaded(compiler):
    """A file in one's own folder is replaced; a folder is refused."""
    os.chown(compiler.library(), 65534, 65534)
    assert compiler.library().stat().st_uid == os.geteuid()
    assert compiler.runs() == 2
    os.chown(compiler.cache, 65534, 65534)
    with pytest.raises(build._NotPrivate, match="belongs to another user"):
        compiler.library()


@needs_compiler
def test_a_cache_that_cannot_be_written_is_done_without(compiler):
    compiler.cache.write_text("a file where the folder would be")
    assert missing_reason(**compiler.environment()) == ""


@needs_compiler
def test_the_compiler_may_have_options(tmp_path):
    assert missing_reason(CC="cc -O0", RL_SCALING_CFLAGS="-O0", XDG_CACHE_HOME=str(tmp_path)) == ""


@needs_compiler
@pytest.mark.slow
@pytest.mark.parametrize("options", ["-mno-avx512f", "-mno-amx-tile -mno-amx-bf16"], ids=["avx2", "no-amx"])
def test_a_library_without_these_instructions_passes_the_same_tests(tmp_path, options):
    """The equality tests of the compiled path, in a process whose library is compiled with these options."""
    environment = {"RL_SCALING_CFLAGS": options, "XDG_CACHE_HOME": str(tmp_path)}
    print_amx = "from harness.policy.backends import native; print(native.library() is not None, native.has_amx())"
    assert run_python(print_amx, **environment).stdout.strip() == "True False"
    tests = [f"tests/policy/test_{name}.py" for name in ("native", "native_weights", "thread_pool", "backends")]
    command = [sys.executable, "-m", "pytest", "-q", "-m", "not slow", "-p", "no:cacheprovider", *tests]
    run = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
