"""How the cost of a step grows: with parameters, completion length, group size and the number of tasks."""

import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import altair as alt
import torch

from benchmarks.ours import Shape, Stepper, config_of, stepper
from benchmarks.timing import CEILING, ROUNDS, in_turn, markdown, median, products, table
from envs.registry import TASKS
from harness.analysis.report.chart_style import Chart, arm_channels, inline, log_x, only
from harness.analysis.report.figures import Figure, write_figures
from harness.policy.transformer import parameter_count

ENOUGH = 8.0  # seconds of a step beyond which a curve is not followed further
SIZES = (
    (1, 16, 2),
    (1, 48, 2),
    (2, 64, 4),
    (3, 96, 4),
    (5, 128, 4),
    (6, 224, 4),
    (6, 384, 6),
    (8, 576, 8),
    (12, 832, 8),
)
ROOM = 40  # characters of the longest prompt of the tasks that are mixed
FULL = "bench.full"
IMAGE = Path("images/bench_growth.png")  # of a CPU: with its name, beside the page


def _of_size(layers: int, width: int, heads: int) -> Stepper:
    sizes = {"layers": layers, "width": width, "heads": heads, "mlp": round(width / 6) * 16}  # whole vectors of the C
    return stepper(config_of(Shape("nano", 8, 8, 8, tuple(f"model.{k}={v}" for k, v in sizes.items())), FULL))


def _of_tasks(count: int) -> Stepper:
    """On so many tasks of one turn: symbolic ones first, then worded ones."""
    found = [t for t in TASKS.values() if t.max_turns == 1 and t.has_verifier and t.max_prompt <= ROOM]
    found = [t for t in found if t.family != "bench"]
    names = [t.name for t in sorted(found, key=lambda t: not t.context.startswith("symbolic"))][:count]
    overrides = (f"tasks.verified=[{','.join(names)}]", "tasks.difficulties=[]", "sampling.max_new_tokens=8")
    return stepper(config_of(Shape("nano", 64, overrides=overrides)))


# name: (what is the same at all points, its points, what to step at one)
CURVES: dict[str, tuple[str, Sequence[Any], Callable[[Any], Stepper]]] = {
    "parameters": ("8 problems x 8, prompt and completion of 8", SIZES, lambda size: _of_size(*size)),
    "completion length": (
        "nano, 2 problems x 4, prompt as long as completion",
        (8, 16, 32, 64, 128, 256, 512, 1024),
        lambda tokens: stepper(config_of(Shape("nano", tokens, 2, 4), FULL)),
    ),
    "group size": (
        "nano, 16 problems, prompt and completion of 8",
        (2, 4, 8, 16, 32, 64),
        lambda group: stepper(config_of(Shape("nano", 8, 16, group), FULL)),
    ),
    "tasks": ("nano, 32 problems x 8, completions of up to 8", (1, 2, 4, 8, 16, 32), _of_tasks),
}


def measure(
    progress: Callable[[str], None],
    curves: Sequence[str] = tuple(CURVES),
    rounds: int = ROUNDS,
    enough: float = ENOUGH,
) -> dict[str, Any]:
    """Of each curve its label and points: x, seconds of each round, FLOPs computed a step; and the machine's rate."""
    found = {name: _curve(name, rounds, enough, progress) for name in curves}
    return {"threads": torch.get_num_threads(), "curves": found}


def _curve(name: str, rounds: int, enough: float, progress: Callable[[str], None]) -> dict[str, Any]:
    label, points, made = CURVES[name]
    progress(name)
    steppers: list[Stepper] = []
    for point in points:
        steppers.append(made(point))
        began = time.perf_counter()
        steppers[-1].step()
        if time.perf_counter() - began > enough:
            break
    xs = [parameter_count(one.config.model) if name == "parameters" else x for x, one in zip(points, steppers)]
    product, product_flops = products()
    seconds = in_turn({CEILING: product} | {str(x): one.step for x, one in zip(xs, steppers)}, rounds, progress, warm=1)
    rows = [{"x": x, "seconds": seconds[str(x)], "flops": one.flops()[0]} for x, one in zip(xs, steppers)]
    return {"label": label, "ceiling": product_flops / median(seconds)[CEILING], "points": rows}


def section(measured: dict[str, Any]) -> str:
    """The Markdown of this part."""
    rows = []
    for name, curve in measured["curves"].items():
        costs = [(point["x"], *_beside_its_flops(curve, point)) for point in curve["points"]]
        cells = (f"{x:,}: {seconds:.3g} ({seconds / ideal:.1f}x)" for x, seconds, ideal in costs)
        rows.append((name, curve["label"], "; ".join(cells)))
    text = (
        f"Seconds a step, no filter, {measured['threads']} threads, medians, and how many times the time that its "
        "FLOPs would take at the machine's ceiling. Where the cost grows no faster than the FLOPs, that factor does "
        "not rise. Completions of untrained policies end by chance after some 100 tokens, whatever their limit."
    )
    columns = ("", "what is the same", "seconds a step, by the quantity (and over the ceiling)")
    return markdown("## Growth", text, f"![seconds a step as each quantity grows]({IMAGE})", table(columns, rows))


def _beside_its_flops(curve: dict[str, Any], point: dict[str, Any]) -> tuple[float, float]:
    """Seconds of a step, and what its FLOPs would take at the ceiling."""
    return statistics.median(point["seconds"]), point["flops"] / curve["ceiling"]


def draw(measured: dict[str, Any], path: Path) -> None:
    """Writes the curves, each with the time that its FLOPs would take at the ceiling, to `path`."""
    panels = {f"{curve['label']}, {name} grow": _cost(name, curve) for name, curve in measured["curves"].items()}
    figure = Figure("Seconds a step beside its FLOPs at the machine's ceiling", "Median of rounds.", panels, columns=2)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_figures(path.parent, {path.stem: figure})


def _cost(name: str, curve: dict[str, Any]) -> Chart:
    labels = ("a step", "its FLOPs at the ceiling")
    rows = [
        {name: point["x"], "seconds": seconds, "label": label}
        for point in curve["points"]
        for label, seconds in zip(labels, _beside_its_flops(curve, point))
    ]
    y = alt.Y("seconds:Q", scale=alt.Scale(type="log", nice=False), axis=alt.Axis(format="~g"))
    base = alt.Chart(inline(rows)).encode(log_x(name, name), y)
    channels = arm_channels(labels)
    line, points = only(channels, "color", "strokeDash"), only(channels, "color", "shape")
    return alt.layer(base.mark_line().encode(**line), base.mark_point(filled=True).encode(**points)).properties(
        height=200
    )
