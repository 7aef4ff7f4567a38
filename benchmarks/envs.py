"""What the environments cost beside the learner: drawing and verifying against an RL step, and programs a second.

All are timed in turn within one run, a round after the other, and medians are compared. Drawing, verifying and the step
run on one thread and are timed in CPU seconds, which other processes on the machine disturb less. The reference step is
the cheapest that a user would run: completions of at most six tokens, so that shares are rather too high than too low.
"""

import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from benchmarks.ours import composed, stepper
from benchmarks.timing import markdown, table
from envs.base import Problem, Task
from envs.code.sandbox import Sandbox
from envs.mixture import Mixture
from envs.registry import TASKS
from envs.vector import TextVectorEnv

PROBLEMS, GROUP = 32, 16
ROUNDS = 5
PROGRAMS = 2000
GOAL = 0.05
# The entropy bonus lets every group take part in the update, whatever the untrained policy earns.
STEP = ("model=micro", "algo.entropy_bonus=1e-3", "sampling.max_new_tokens=6", "tracker=none", "device=cpu")


def measured_tasks() -> list[Task]:
    """The symbolic task of every verified family; of the in-context ones that with most examples."""
    verified = [t for t in TASKS.values() if t.has_verifier and t.context.startswith("symbolic")]
    return list({task.family: task for task in verified}.values())


def cpu_seconds(work: Callable[[], Any]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def completions_of(problem: Problem, other: Problem, right: bool) -> list[str]:
    """The completions of an episode, right or ending in another problem's answer."""
    task = TASKS[problem.task]
    calls = task.worked(problem).split("\n")[:-1] if task.max_turns > 1 and task.worked else []
    return [*calls, (problem if right else other).answer]


def drawing_and_verifying(task: Task, round: int) -> tuple[float, float]:
    """CPU seconds of drawing the problems of a step, and of checking as many completions as it samples, every second
    episode right; of the several completions of a tool task's episode each costs as much."""
    mixture, problems = Mixture((task,)), []
    mixture.cells()  # found out once a run
    rng = np.random.default_rng(np.random.SeedSequence(0, spawn_key=(round,)))
    drawing = cpu_seconds(lambda: problems.extend(mixture.draw(PROBLEMS, rng)))
    rows = [p for p in problems for _ in range(GROUP)]
    others = [problems[i // GROUP - 1] for i in range(len(rows))]
    episodes = [completions_of(p, o, i % 2 == 0) for i, (p, o) in enumerate(zip(rows, others))]
    env = TextVectorEnv(len(rows), task)

    def verify() -> None:
        env.reset(options={"problems": rows})
        for turn in range(max(map(len, episodes))):
            env.step([episode[min(turn, len(episode) - 1)] for episode in episodes])

    return drawing, cpu_seconds(verify) * len(rows) / sum(map(len, episodes))


def programs_per_second(round: int) -> float:
    """Wall-clock rate of one worker on short programs, each another and none of them seen before."""
    programs = [f"f = lambda x: x * {i} + {round}\nf({i % 7})" for i in range(PROGRAMS)]
    with Sandbox(workers=1) as sandbox:
        sandbox.run("0")  # the worker starts
        began = time.perf_counter()
        for program in programs:
            sandbox.run(program)
        return PROGRAMS / (time.perf_counter() - began)


def measure(progress: Callable[[str], None]) -> dict[str, Any]:
    """Medians over rounds: {"step": seconds, "tasks": {name: [drawing, verifying]}, "sandbox": rates of all rounds}."""
    torch.set_num_threads(1)
    step, tasks = stepper(composed(STEP)).step, measured_tasks()
    step()
    steps, costs, rates = [], {task.name: [] for task in tasks}, []
    for round in range(ROUNDS):
        for task in tasks:
            costs[task.name].append(drawing_and_verifying(task, round))
        steps.append(cpu_seconds(step))
        rates.append(programs_per_second(round))
        progress(f"round {round + 1} of {ROUNDS}: step {steps[-1]:.3f} s, sandbox {rates[-1]:,.0f} programs/s")
    medians = {name: [statistics.median(column) for column in zip(*rows)] for name, rows in costs.items()}
    return {"step": statistics.median(steps), "tasks": medians, "sandbox": sorted(rates)}


def page(measured: dict[str, Any]) -> str:
    """The Markdown page."""
    step, rates = measured["step"], measured["sandbox"]
    columns, rows = ("task", "drawing, ms", "verifying, ms", "share of a step", "under the goal"), []
    for name, (drawing, verifying) in measured["tasks"].items():
        share = (drawing + verifying) / step
        cells = (f"{drawing * 1e3:.1f}", f"{verifying * 1e3:.1f}", f"{share:.1%}", "yes" if share < GOAL else "no")
        rows.append((name, *cells))
    of_tasks = (
        f"Written by `python scripts/bench.py part=envs`. Drawing {PROBLEMS} problems of all difficulties and "
        f"verifying {PROBLEMS * GROUP} completions, every second episode right, as a share of one RL step of the micro "
        f"policy ({step:.2f} s, completions of at most six tokens). The step holds a full update: with an entropy "
        "bonus every group takes part, as where all carry signal; a step that leaves out zero-advantage groups costs "
        f"less. Medians of {ROUNDS} rounds, in CPU time of one thread, timed in turn in one run. Goal: under "
        f"{GOAL:.0%} for every family that runs no programs."
    )
    of_sandbox = (
        f"Sandbox: {statistics.median(rates):,.0f} short programs a second and worker, none of them from the cache "
        f"({rates[0]:,.0f} to {rates[-1]:,.0f} in {len(rates)} rounds). Wall clock: while other processes wait for the "
        "cores it measures them rather than the sandbox, and the highest rate is the most accurate. Code families wait "
        "for it; the table holds the host's share of theirs."
    )
    return markdown("# What the environments cost", of_tasks, of_sandbox, table(columns, rows)) + "\n"
