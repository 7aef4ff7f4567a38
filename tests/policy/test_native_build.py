"""The library's build: verified before it is loaded, and done without where it cannot be compiled."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

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


@pytest.fixture
def cache(tmp_path):
    """A cache folder with a library in it."""
    assert missing_reason(XDG_CACHE_HOME=str(tmp_path)) == ""
    return tmp_path / "rl-scaling"


def library_of(cache):
    (library,) = cache.glob("*.so")
    return library


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
def test_processes_that_compile_at_once_all_get_the_whole_library(tmp_path):
    with ThreadPoolExecutor(3) as pool:
        reasons = list(pool.map(lambda _: missing_reason(XDG_CACHE_HOME=str(tmp_path)), range(3)))
    assert reasons == [""] * 3
    written = {path.suffix for path in (tmp_path / "rl-scaling").iterdir()}
    assert written == {".so", ".blake2b", ".lock"}
    assert len(list((tmp_path / "rl-scaling").iterdir())) == 3


@needs_compiler
@pytest.mark.parametrize("damage", ["truncated", "emptied", "altered", "digest altered", "digest missing"])
def test_a_damaged_library_is_compiled_anew_once(cache, damage):
    library, digest = library_of(cache), library_of(cache).with_suffix(".blake2b")
    content = library.read_bytes()
    if damage == "digest missing":
        digest.unlink()
    elif damage == "digest altered":
        digest.write_bytes(b"\xff" * 128)
    else:
        half = len(content) // 2
        altered = content[:half] + bytes(b ^ 255 for b in content[half : half + 64]) + content[half + 64 :]
        library.write_bytes({"truncated": content[:half], "emptied": b"", "altered": altered}[damage])
    damaged = library.stat().st_ino
    with ThreadPoolExecutor(2) as pool:
        runs = pool.map(lambda _: run_python(COMPUTE, XDG_CACHE_HOME=str(cache.parent)), range(2))
        assert [run.stdout.strip() for run in runs] == ["True"] * 2
    assert library.read_bytes() == content
    repaired = library.stat()
    assert repaired.st_ino != damaged
    assert run_python(COMPUTE, XDG_CACHE_HOME=str(cache.parent)).stdout.strip() == "True"
    assert library.stat() == repaired or library.stat().st_ino == repaired.st_ino


@needs_compiler
@pytest.mark.parametrize("mode", [0o777, 0o770, 0o702])
def test_a_folder_that_others_may_write_to_is_not_used(cache, mode):
    """Nor is what lies in it: here bytes that would kill the process."""
    library = library_of(cache)
    library.write_bytes(library.read_bytes()[:5000])
    before = sorted(path.name for path in cache.iterdir())
    cache.chmod(mode)
    run = run_python(COMPUTE, XDG_CACHE_HOME=str(cache.parent))
    assert run.stdout.strip() == "True"
    assert "others may write to it (chmod go-w): compiled for this process alone" in run.stderr
    assert library.stat().st_size == 5000
    assert sorted(path.name for path in cache.iterdir()) == before


@needs_compiler
@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root gives files away")
@pytest.mark.parametrize("owned", ["folder", "library"])
def test_what_another_user_owns_is_not_loaded(cache, owned):
    library = library_of(cache)
    inode = library.stat().st_ino
    os.chown(cache if owned == "folder" else library, 65534, 65534)
    run = run_python(COMPUTE, XDG_CACHE_HOME=str(cache.parent))
    assert run.stdout.strip() == "True"
    assert ("belongs to another user" in run.stderr) == (owned == "folder")
    assert (library.stat().st_ino == inode) == (owned == "folder")  # a file in one's own folder is replaced


@needs_compiler
def test_a_library_that_others_may_write_to_is_compiled_anew(cache):
    library = library_of(cache)
    inode = library.stat().st_ino
    library.chmod(0o666)
    assert missing_reason(XDG_CACHE_HOME=str(cache.parent)) == ""
    assert library.stat().st_ino != inode and library.stat().st_mode & 0o077 == 0


@needs_compiler
def test_a_cache_that_cannot_be_written_is_done_without(tmp_path):
    (tmp_path / "rl-scaling").write_text("a file where the folder would be")
    assert missing_reason(XDG_CACHE_HOME=str(tmp_path), TMPDIR=str(tmp_path)) == ""


@needs_compiler
def test_the_compiler_may_have_options(tmp_path):
    assert missing_reason(CC="cc -g", XDG_CACHE_HOME=str(tmp_path)) == ""


@needs_compiler
@pytest.mark.slow
@pytest.mark.parametrize("options", ["-mno-avx512f", "-mno-amx-tile -mno-amx-bf16"], ids=["avx2", "no-amx"])
def test_a_library_without_these_instructions_passes_the_same_tests(tmp_path, options):
    """The equality tests of the compiled path, in a process whose library is compiled with these options."""
    environment = {"RL_SCALING_CFLAGS": options, "XDG_CACHE_HOME": str(tmp_path)}
    print_amx = "from harness.policy.backends import native; print(native.library() is not None, native.has_amx())"
    assert run_python(print_amx, **environment).stdout.strip() == "True False"
    tests = [f"tests/policy/{name}.py" for name in ("test_native", "test_native_weights", "test_thread_pool")]
    command = [sys.executable, "-m", "pytest", "-q", "-m", "not slow", "-p", "no:cacheprovider", *tests]
    run = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
