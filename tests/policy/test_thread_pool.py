"""The C thread pool: the same bits on any number of threads, whichever of them run."""

import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from harness.policy.backends import native
from harness.policy.backends.native.calls import c_function
from tests.policy.conftest import needs_compiler
from tests.policy.test_native import NATIVE, few, gradients, needs_amx, policy_of
from tests.policy.test_sampler import completion_logprobs, request_of

pytestmark = needs_compiler
TASKS = Path("/proc/self/task")


def results(policy, prompts, group, room, threads):
    """Completions, the trainer's log-probabilities of them and gradients, on this many threads."""
    generator = torch.Generator().manual_seed(1)
    s, most = policy.seeds, max(prompts)
    ids = torch.randint(16, 112, (s, len(prompts), most), generator=generator)
    length = torch.tensor([prompts] * s)
    uniforms = torch.rand((s, len(prompts) * group, room), generator=generator)
    with native.num_threads(threads):
        drawn = NATIVE.sample(policy, request_of(ids, length, uniforms, group, room))
        scored = completion_logprobs(NATIVE, policy, ids, length, drawn.ids, drawn.sampled, 1.0)
        return [*vars(drawn).values(), scored, *gradients(policy, scored)]


@few
@given(
    seeds=st.integers(1, 2),
    prompts=st.lists(st.integers(2, 12), min_size=1, max_size=40),
    group=st.integers(1, 9),
    threads=st.integers(2, 7),
)
def test_no_bit_depends_on_the_number_of_threads(seeds, prompts, group, threads):
    policy = policy_of(seeds, init_std=0.1, layers=2, heads=2, width=48, mlp=80)
    alone, shared = (results(policy, prompts, group, 4, n) for n in (1, threads))
    assert all(torch.equal(a, b) for a, b in zip(alone, shared, strict=True))


@needs_amx
def test_no_bit_depends_on_the_number_of_threads_in_bfloat16():
    policy = policy_of(1, "bf16", init_std=0.1, layers=2, heads=4, width=64, mlp=176)
    alone, shared = (results(policy, [7, 2, 11, 5] * 8, 8, 6, n) for n in (1, 3))
    assert all(torch.equal(a, b) for a, b in zip(alone, shared, strict=True))


def test_weights_are_packed_alike_on_any_number_of_threads():
    alone, shared = (results(policy_of(2, layers=3, heads=2, width=32, mlp=48), [3], 2, 3, n) for n in (1, 5))
    assert all(torch.equal(a, b) for a, b in zip(alone, shared, strict=True))


def seconds_of(task):
    """CPU time of this thread."""
    return int((TASKS / task / "schedstat").read_text().split()[0]) / 1e9


@pytest.mark.skipif(not TASKS.exists(), reason="no /proc")
@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="one core")
def test_workers_run_within_num_threads_and_sleep_outside():
    """More workers than any test before has started, so that the last is new."""
    policy = policy_of(1, layers=2, heads=4, width=64, mlp=176)
    work, before = lambda n: results(policy, [8] * 32, 8, 8, n), set(os.listdir(TASKS))
    work(9)
    made = set(os.listdir(TASKS)) - before
    assert made

    def share(threads):
        """CPU time of the workers over that of this thread."""
        theirs, mine = sum(map(seconds_of, made)), time.thread_time()
        for _ in range(20):
            work(threads)
        return (sum(map(seconds_of, made)) - theirs) / (time.thread_time() - mine)

    assert max(share(9) for _ in range(5)) > 0.1  # waking up alone takes less than .01
    assert min(share(1) for _ in range(5)) < 0.01


def test_concurrent_callers_get_the_results_of_a_single_one():
    policy = policy_of(1, init_std=0.1, layers=2, heads=4, width=64, mlp=176)
    wanted, found = results(policy, [8] * 16, 8, 8, 1), {}

    def call(i):
        generator = torch.Generator().manual_seed(1)
        ids = torch.randint(16, 112, (1, 16, 8), generator=generator)
        uniforms = torch.rand((1, 128, 8), generator=generator)
        for _ in range(20):
            found[i] = NATIVE.sample(policy, request_of(ids, torch.full((1, 16), 8), uniforms, 8, 8))

    with native.num_threads(2):
        callers = [threading.Thread(target=call, args=(i,)) for i in range(3)]
        for each in callers:
            each.start()
        for each in callers:
            each.join()
    assert len(found) == 3
    for drawn in found.values():
        assert all(torch.equal(a, b) for a, b in zip(wanted, vars(drawn).values(), strict=False))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_starts_its_own_workers():
    policy = policy_of(1, layers=1, heads=2, width=32, mlp=48)
    with native.num_threads(3):
        wanted = results(policy, [5] * 30, 4, 4, 3)
        child = os.fork()
        if child == 0:
            same = [results(policy, [5] * 30, 4, 4, threads) for threads in (1, 3)]
            right = all(torch.equal(a, b) for some in same for a, b in zip(wanted, some, strict=True))
            os._exit(0 if right and (not TASKS.exists() or len(os.listdir(TASKS)) == 3) else 1)
        deadline = time.monotonic() + 60
        while (ended := os.waitpid(child, os.WNOHANG))[0] == 0:
            if time.monotonic() > deadline:
                os.kill(child, 9)
                pytest.fail("the child waits for a thread that does not exist")
            time.sleep(0.01)
    assert os.waitstatus_to_exitcode(ended[1]) == 0


def test_num_threads_contexts_nest_and_restore():
    threads = c_function("set_num_threads")
    with native.num_threads(3):
        with native.num_threads(2):
            assert threads(2) == 2
        assert threads(3) == 3
    assert threads(1) == 1


SANITIZED = """
from tests.policy.test_thread_pool import policy_of, results
for precision in PRECISIONS:
    for shape in ({"layers": 2, "heads": 2, "width": 64, "mlp": 80}, {"layers": 1, "heads": 1, "width": 32, "mlp": 48}):
        policy = policy_of(1, precision, init_std=0.1, **shape)
        for prompts, group, threads in (([7] * 3, 5, 4), ([40], 70, 3)):
            results(policy, prompts, group, 6, threads)
print("done")
"""


@pytest.mark.slow
def test_thread_sanitizer_finds_no_data_race(tmp_path):
    """It does find one if the gradients of a context's keys and values are added without the second loop."""
    compiler = shutil.which("gcc")
    found = (
        compiler
        and subprocess.run([compiler, "-print-file-name=libtsan.so"], capture_output=True, text=True).stdout.strip()
    )
    if not found or not Path(found).is_file():
        pytest.skip("no ThreadSanitizer")
    names = "('fp32', 'bf16')" if native.has_amx() else "('fp32',)"
    settings = {"CC": f"{compiler} -fsanitize=thread -g", "LD_PRELOAD": found, "XDG_CACHE_HOME": str(tmp_path)}
    command = [sys.executable, "-c", SANITIZED.replace("PRECISIONS", names)]
    ran = subprocess.run(command, env=os.environ | settings, capture_output=True, text=True)
    assert ran.stdout.strip() == "done", ran.stderr
    assert "ThreadSanitizer" not in ran.stderr
