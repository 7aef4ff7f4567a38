"""What is measured of a GPU, part by part, each in a process of its own: `python -m benchmarks.gpu_parts NAME DEVICE
FILE UNTIL` writes what is known so far to FILE, again and again, until the time UNTIL (as time.time gives it).

A part is a generator of records, each of which holds all that the one before did.
"""

import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu_equality import compare, random_batch
from benchmarks.ours import Shape, config_of, stepper
from benchmarks.peer import peers
from benchmarks.timing import Work, median, products, rounds_in_turn, synchronise
from harness.core.errors import UserError
from harness.core.files import write_whole
from harness.policy.transformer import parameter_count
from harness.run.job import new_state
from harness.train.update import update

TINY = ("model.layers=1", "model.width=32", "model.heads=2", "model.mlp=64")
LARGE = ("model.layers=12", "model.width=832", "model.heads=8", "model.mlp=2224", "optim.micro_batch=16")
PEERS = ("TRL, bf16", "TRL, fp32")
RUN_STEPS, TEN_MINUTES = 1000, 600.0
TRIED, EACH = 5, 10  # steps by which stacks are compared; steps between two records
PRODUCTS = 8

Records = Iterator[dict[str, Any]]


@dataclass(frozen=True)
class Sizes:
    """What the parts are of: `equality`, `step` and `update` those of their names, `seeds` of `small` in one stack, and
    runs of `small` in each of `stacks`. `square`: rows and columns of the matrices by whose product the device is
    rated; `rounds` and `run_steps`: the most that are measured, however much time there is."""

    device: str
    equality: Shape
    step: Shape
    small: Shape
    update: Shape
    seeds: int
    stacks: Sequence[int]
    square: int
    rounds: int
    run_steps: int


SIZES = {
    "cuda": Sizes(
        "cuda",
        equality=Shape("nano", 12, 16, 8, ("model.init_std=0.3",)),
        step=Shape("mini", 32, 256, 8),
        small=Shape("nano", 12),
        update=Shape("small", 64, 64, 8, LARGE),
        seeds=32,
        stacks=(32, 128, 512),
        square=8192,
        rounds=40,
        run_steps=10**6,
    ),
    "cpu": Sizes(  # the rehearsal
        "cpu",
        equality=Shape("nano", 6, 4, 4, (*TINY, "model.init_std=0.3")),
        step=Shape("nano", 6, 4, 2, TINY),
        small=Shape("nano", 6, 4, 2, TINY),
        update=Shape("nano", 6, 4, 2, (*TINY, "optim.micro_batch=2")),
        seeds=3,
        stacks=(1, 2),
        square=64,
        rounds=2,
        run_steps=20,
    ),
}


def equality(sizes: Sizes) -> Records:
    """Every backend beside the eager one on a CPU."""
    recorder = None
    if sizes.device == "cpu":
        from tests.policy.rehearsal import new_recorder  # of tests, which a rehearsal alone needs

        recorder = new_recorder()
    rows: list[dict[str, Any]] = []
    for row in compare(sizes.equality, sizes.device, recorder):
        rows.append(row)
        yield {"rows": rows, "agree": all(row["agrees"] for row in rows)}


def step(sizes: Sizes) -> Records:
    """Seconds of a step of ours in both precisions beside TRL's, in turn; without TRL or where it fails, ours."""
    shape, works = sizes.step, dict[str, Work]()
    for precision in ("bf16", "fp32"):
        works[f"ours, {precision}"] = stepper(config_of(shape, "bench.half", precision, sizes.device)).step
    about: dict[str, Any] = {"shape": _described(shape), "completions": shape.rows}
    with ExitStack() as stack:
        try:
            works |= peers(stack, shape, PEERS, sizes.device)
        except (UserError, RuntimeError) as error:
            about["no_peer"] = str(error)[-300:]
        for seconds in rounds_in_turn(works, sizes.rounds, warm=4):
            medians = median(seconds)
            ours, trl = (min((s for n, s in medians.items() if side in n), default=None) for side in ("ours", "TRL"))
            yield about | {"seconds": seconds} | ({"times_trl": trl / ours} if trl and ours else {})


def stacked(sizes: Sizes) -> Records:
    """Seconds of a step of many seeds in one stack beside one seed's, in turn."""
    config = config_of(sizes.small, device=sizes.device)
    one, many = "1 seed", f"{sizes.seeds} seeds"
    works = {one: stepper(config).step, many: stepper(config, sizes.seeds).step}
    for seconds in rounds_in_turn(works, sizes.rounds, warm=4):
        medians = median(seconds)
        yield {"shape": _described(sizes.small), "seconds": seconds, "times_one": medians[many] / medians[one]}


def large_update(sizes: Sizes) -> Records:
    """Update of a large policy in bf16 beside the device's rate in products of bf16."""
    shape, device = sizes.update, sizes.device
    config = config_of(shape, "bench.full", "bf16", device)
    state, batch = new_state(config, config.optim, (0,)), random_batch(config, shape, 1)
    product, product_flops = products(*[sizes.square] * 3, PRODUCTS, device=device, dtype=torch.bfloat16)

    def one_update() -> None:
        update(state, batch, config)
        synchronise(device)

    flops = 6.0 * parameter_count(config.model, embedding=False) * float(batch.update_tokens)
    about = {"shape": _described(shape), "parameters": parameter_count(config.model), "flops": flops}
    works = {"products": product, "update": one_update}
    for seconds in rounds_in_turn(works, sizes.rounds):
        medians = median(seconds)
        peak = product_flops / medians["products"]
        yield about | {"seconds": seconds, "peak": peak, "share_of_peak": flops / medians["update"] / peak}


def runs(sizes: Sizes) -> Records:
    """RL steps of stacks of seeds, as many as there is time for, in the best of a few sizes of stacks. A run is 1,000
    steps of one seed; its base, evaluation and files are not in it."""
    config, rates = config_of(sizes.small, device=sizes.device), dict[int, float]()
    record: dict[str, Any] = {"shape": _described(sizes.small), "seed_steps_per_second": rates}
    for seeds in sizes.stacks:
        try:
            work = stepper(config, seeds).step
            _seconds(work, TRIED)
            rates[seeds] = TRIED * seeds / _seconds(work, TRIED)
        except torch.OutOfMemoryError:
            record["out_of_memory"] = seeds
            break
        yield _with_runs(record, rates[seeds])
    best = max(rates, key=rates.__getitem__)
    work, seconds, done = stepper(config, best).step, 0.0, 0
    _seconds(work, TRIED)
    while done < sizes.run_steps:
        seconds, done = seconds + _seconds(work, EACH), done + EACH
        record |= {"stack": best, "steps": done, "seconds": seconds, "finished": best * (done // RUN_STEPS)}
        yield _with_runs(record, best * done / seconds)


def _with_runs(record: dict[str, Any], seed_steps_per_second: float) -> dict[str, Any]:
    return record | {"runs_in_ten_minutes": seed_steps_per_second * TEN_MINUTES / RUN_STEPS}


def _seconds(work: Work, times: int) -> float:
    began = time.perf_counter()
    for _ in range(times):
        work()
    return time.perf_counter() - began


def _described(shape: Shape) -> str:
    changed = f" with {' '.join(shape.overrides)}" if shape.overrides else ""
    return f"{shape.model}{changed}, {shape.problems} problems x {shape.group_size}, {shape.tokens} tokens"


PARTS: dict[str, Callable[[Sizes], Records]]
PARTS = {"equality": equality, "step": step, "stacked": stacked, "update": large_update, "runs": runs}


def main(name: str, device: str, file: str, until: str) -> None:
    """Stops after the first record past `until`; whoever started this process ends it if none comes."""
    for record in PARTS[name](SIZES[device]):
        write_whole(Path(file), json.dumps(record).encode())
        if time.time() > float(until):
            return


if __name__ == "__main__":
    main(*sys.argv[1:])
