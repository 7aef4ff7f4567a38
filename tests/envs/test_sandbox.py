"""The sandbox: what it lets through, what it stops, and that nothing stays behind."""

import os
import pickle
import signal
import threading
import time
from pathlib import Path

import pytest
from hostile import HOSTILE, LOOPS, RECURSION

from envs.code import sandbox as module
from envs.code.sandbox import Ending, Sandbox, same


@pytest.fixture(scope="module")
def sandbox():
    with Sandbox(seconds=0.1) as pool:
        yield pool


def children() -> set[int]:
    return set(map(int, Path(f"/proc/self/task/{threading.get_native_id()}/children").read_text().split())) | {
        int(pid) for task in Path("/proc/self/task").iterdir() for pid in (task / "children").read_text().split()
    }


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.parametrize(
    ("program", "value"),
    [
        ("1+1", 2),
        ("def f(x):\n return x*2\n[f(x) for x in (1,2)]", [2, 4]),
        ("'abc'[::-1]", "cba"),
        ("True", True),
        ("x=1", None),
        ("{'a':1}['a']", 1),
        ("sum(i for i in range(5) if i%2)", 4),
    ],
)
def test_honest_program_gives_its_value(sandbox, program, value):
    outcome = sandbox.run(program)
    assert outcome.ending is Ending.VALUE
    assert same(outcome.value, value)


def test_prints_are_collected_and_not_shown(sandbox, capfd):
    assert sandbox.run("print(6*7)").output == "42\n"
    assert capfd.readouterr().out == ""


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="reads /proc")
def test_hostile_programs_neither_escape_nor_pass_nor_take_the_worker_along(sandbox):
    """The wanted value is 42; no program of the corpus may be taken for it, run long, or lose an innocent neighbour."""
    assert len(HOSTILE) >= 60
    for program in HOSTILE:
        began = time.monotonic()
        outcome = sandbox.run(program)
        assert time.monotonic() - began < 3, program[:60]
        assert not same(outcome.value, 42), program[:60]
        assert "root:" not in str(outcome.output), program[:60]
        assert sandbox.run("40+2  # " + str(began)).value == 42


def test_endless_programs_end_at_a_limit(sandbox):
    assert {sandbox.run(program).ending for program in LOOPS} == {Ending.LIMIT}
    assert {sandbox.run(program).ending for program in RECURSION} <= {Ending.LIMIT, Ending.ERROR}


def test_each_program_gets_a_fresh_session(sandbox):
    sandbox.run("leak=1")
    assert sandbox.run("leak").ending is Ending.ERROR


def test_clock_and_random_numbers_are_fixed(sandbox):
    draws = {sandbox.run(f"import random, time\n[random.random(), time.time()]  # {i}").value[0] for i in range(3)}
    assert len(draws) == 1


def test_equality_is_by_exact_type():
    assert same([1, ("a", 2.5)], [1, ("a", 2.5)])
    for a, b in ((True, 1), (1.0, 1), ("1", 1), ([1], (1,)), ([1], [1, 2]), (None, False), (float("nan"),) * 2):
        assert not same(a, b)


def test_killed_worker_is_replaced_and_its_program_is_lost_not_failed_nor_cached():
    before = children()
    with Sandbox(seconds=20) as pool:
        pool.run("1")
        (worker,) = children_since(before)
        timer = threading.Timer(0.3, os.kill, (worker, signal.SIGKILL))
        timer.start()
        assert pool.run("while True: pass").ending is Ending.LOST
        timer.join()
        assert list(pool._cache) == ["1"]
        assert pool.run("6*7").value == 42


def children_since(before: set[int]) -> set[int]:
    """Children that are monty workers."""
    return {pid for pid in children() - before if b"monty" in Path(f"/proc/{pid}/cmdline").read_bytes()}


@pytest.mark.parametrize("timeouts", [40, pytest.param(1000, marks=pytest.mark.slow)])
def test_timeouts_leave_no_process_and_no_descriptor(timeouts):
    with Sandbox() as first:
        first.run("1")  # the interpreter's own event loop stays for the life of the process
    before, open_before = children(), descriptors()
    with Sandbox(seconds=0.01) as pool:
        for i in range(timeouts):
            loop = f"while True: pass\n# {i}" if i % 2 else f"x=3\nwhile True: x=x*x\n# {i}"
            assert pool.run(loop).ending is Ending.LIMIT
    assert children_since(before) == set()
    assert descriptors() <= open_before


def test_second_run_of_a_program_is_answered_from_the_cache(sandbox):
    assert sandbox.run("2+2") is sandbox.run("2+2")


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="reads /proc")
def test_four_hundred_huge_values_and_error_texts_keep_the_cache_under_its_bound(monkeypatch):
    """Short programs whose outcomes would take 300 MB: what the host keeps, and what the kernel counts."""
    monkeypatch.setattr(module, "CACHE", 1 << 20)
    forms = ("[0]*10**5#{}", "'x'*10**6+'{}'", "raise ValueError('x'*10**6)#{}", "['x'*99+'{}']*300")
    with Sandbox(seconds=1) as pool:
        pool.run("[0]*10**5")
        before = resident_bytes()
        for i in range(100):
            endings = [pool.run(form.format(i)).ending for form in forms]
            assert endings == [Ending.LIMIT, Ending.LIMIT, Ending.ERROR, Ending.VALUE]
        kept = [(program, outcome.value, outcome.output, outcome.reason) for program, outcome in pool._cache.items()]
        assert 10 < len(kept) < 400
        assert len(pickle.dumps(kept)) < 1 << 20
        assert max(len(reason) for *_, reason in kept) <= module.MAX_VALUE_BYTES
        assert resident_bytes() - before < 64 << 20
        newest = pool.run(forms[-1].format(99))
        assert newest is pool.run(forms[-1].format(99))


@pytest.mark.parametrize("program", ["{1,2}", "b'a'", "ValueError('x')", "[1,{'a':1}]"])
def test_values_that_equal_nothing_are_not_kept(sandbox, program):
    outcome = sandbox.run(program)
    assert outcome.ending in (Ending.ERROR, Ending.LIMIT)
    assert outcome.value is None
    assert outcome.reason.startswith("its value")
