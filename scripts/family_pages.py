"""Makes docs/reference/families, a page and a figure for each family on which RL has room, from committed studies:

python scripts/family_pages.py
"""

import functools
from dataclasses import dataclass
from pathlib import Path

import altair as alt
import numpy as np
import polars as pl

from envs.registry import FAMILIES as TASKS_BY_QUESTION
from envs.registry import get
from envs.splits import draw_in_split
from harness import load_study

ROOT = Path(__file__).resolve().parent.parent
RESULTS, PAGES = ROOT / "docs" / "results", ROOT / "docs" / "reference" / "families"
COLOURS = {"rewarded": "#0072b2", "never rewarded": "#d55e00", "rewarded, rewards shuffled": "#767676"}  # by label


@dataclass(frozen=True)
class Shown:
    """Which committed runs show a family: a study, its arm and control, the rewarded task and, of those never rewarded,
    the ones drawn. shows: what the family is for, in a sentence."""

    study: str
    verified: str
    unverified: tuple[str, ...]
    shows: str
    arm: str = "true_reward"
    control: str = "shuffled_within_group"
    intro: str = ""  # where it is more than one entry of the registry, which says it


FAMILIES = {
    "walk": Shown(
        "transfer_2",
        "walk_map1.symbolic",
        ("walk_map1.worded", "walk_map2.symbolic", "walk_map3.symbolic", "walk_map4.symbolic", "walk_unknown.symbolic"),
        "Thinking is learned, and carries over to words and to maps never rewarded, as far as pretraining showed them.",
    ),
    "automaton": Shown(
        "breadth_2",
        "automaton_first4.symbolic",
        ("automaton_last8.symbolic", "automaton_last8.worded"),
        "Breadth: how many letters RL rewards, and what letters it never rewards gain.",
    ),
    "cipher": Shown(
        "rl_scaling_2",
        "cipher.symbolic",
        ("cipher.worded",),
        "Many unshared facts about which the corpus is mostly wrong: a wide rise without any thinking.",
    ),
    "quanta": Shown(
        "when_log_linear",
        "quanta_*",
        (),
        "How often RL draws each code sets the law: log-uniformly a line, alike a sigmoid.",
    ),
    "fold": Shown(
        "specimens",
        "fold_*.symbolic",
        ("fold_triple.symbolic", "fold_weighted.symbolic", "fold_complement.symbolic", "fold_sum.worded"),
        "Operations rewarded and not, with a scratchpad of look-ups; longer strings than pretraining's as the edge.",
        arm="fold",
        control="shuffled_fold",
    ),
    "compose": Shown(
        "specimens",
        "compose.symbolic",
        ("compose_held_out.symbolic", "compose_single.symbolic", "compose.worded"),
        "Composition: pairs rewarded and pairs held out, depths beyond those trained.",
        arm="compose",
        control="shuffled_compose",
    ),
    "trace": Shown(
        "specimens",
        "trace.symbolic",
        ("trace.worded", "trace_check.symbolic", "trace_fault.symbolic", "trace_comment.symbolic"),
        "Code: output is verified, assertions, faults and comments on the same programs are not.",
        arm="trace",
        control="shuffled_trace",
    ),
    "ladder": Shown(
        "ladder",
        "reversal, sorting and deduplication in symbols",
        ("reversal.worded", "sorting.worded", "deduplication.worded"),
        "The largest difficulty solved against compute: a measure without a ceiling.",
        intro="Procedures on strings that the base executes while they are short: reverse, sort, drop repeats.",
    ),
}
FILES = {"trace": "code/trace", "ladder": "strings/letters"}  # of families outside envs/lookup


@functools.cache  # for a family's page and its figure
def rows_of(shown: Shown) -> pl.DataFrame:
    """The study's rows of the arm and its control, labelled verified, unverified and control."""
    table = load_study(RESULTS / shown.study).table
    arm, role = pl.col("arm"), pl.col("role")
    label = (
        pl.when((arm == shown.arm) & (role == "verified"))
        .then(pl.lit("rewarded"))
        .when((arm == shown.arm) & pl.col("task").is_in(list(shown.unverified)))
        .then(pl.lit("never rewarded"))
        .when((arm == shown.control) & (role == "verified"))
        .then(pl.lit("rewarded, rewards shuffled"))
    )
    return table.with_columns(label=label).drop_nulls("label")


def curves(rows: pl.DataFrame) -> pl.DataFrame:
    """Mean accuracy [label, step] with one standard deviation over seeds; cells count alike."""
    seeds = rows.group_by("label", "step", "base_seed", "seed").agg(pl.mean("accuracy"))
    pooled = seeds.group_by("label", "step").agg(pl.mean("accuracy"), sd=pl.std("accuracy"))
    low, high = pl.col("accuracy") - pl.col("sd"), pl.col("accuracy") + pl.col("sd")
    return pooled.with_columns(low=low.clip(0, 1), high=high.clip(0, 1)).sort("label", "step")


def figure(frame: pl.DataFrame, title: str) -> alt.LayerChart:
    labels = [label for label in COLOURS if label in set(frame["label"])]
    scale = alt.Scale(domain=labels, range=[COLOURS[label] for label in labels])
    legend = alt.Legend(orient="bottom", labelLimit=300, symbolOpacity=1)
    colour = alt.Color("label:N", title=None, scale=scale, legend=legend)
    axis = alt.Axis(values=[0, 1, 4, 16, 64, 256, 1024, 4096])
    x = alt.X("step:Q", title="RL steps", scale=alt.Scale(type="symlog"), axis=axis)
    y = alt.Y("accuracy:Q", title="accuracy", scale=alt.Scale(domain=[0, 1]))
    base = alt.Chart(frame).encode(x=x, color=colour)
    band = base.mark_area(opacity=0.15).encode(y=alt.Y("low:Q", title="accuracy"), y2="high:Q")
    line = base.mark_line(strokeWidth=2.5, point={"size": 30}).encode(y=y)
    words = alt.Title(title, subtitle="Means over seeds; bands: one standard deviation of seeds.", anchor="start")
    return (band + line).properties(width=520, height=260, title=words)


def by_difficulty(rows: pl.DataFrame) -> str:
    """Success before RL on the rewarded task, a Markdown table."""
    first = rows.filter(pl.col("label") == "rewarded", pl.col("step") == 0)
    cells = first.group_by("difficulty").agg(pl.mean("accuracy")).sort(pl.col("difficulty").cast(pl.Int64))
    names = " | ".join(map(str, cells["difficulty"]))
    values = " | ".join(f"{value:.2f}" for value in cells["accuracy"])
    return f"| difficulty | {names} |\n|---|{'---|' * len(cells)}\n| before RL | {values} |"


def by_task(rows: pl.DataFrame) -> str:
    """Accuracy before and after RL by task, mean and standard deviation over seeds, a Markdown table."""
    many = pl.col("task").n_unique().over("label") > 8
    kept = rows.with_columns(name=pl.when(many).then(pl.lit("all together")).otherwise("task"))
    ends = kept.filter((pl.col("step") == 0) | (pl.col("step") == pl.col("step").max().over("arm")))
    seeds = ends.group_by("label", "name", "step", "base_seed", "seed", maintain_order=True).agg(pl.mean("accuracy"))
    lines = ["| tasks | role | before RL | after |", "|---|---|---|---|"]
    for (label, name), own in seeds.group_by("label", "name", maintain_order=True):
        scores = (own.filter(pl.col("step") == step)["accuracy"] for step in sorted(own["step"].unique()))
        lines.append(f"| {name} | {label} | {' | '.join(f'{each.mean():.3f} ± {each.std():.3f}' for each in scores)} |")
    return "\n".join(lines)


def example(name: str, difficulty: int) -> str:
    """A problem of a task: prompt, scratchpad, answer."""
    task = get(name)
    problem = draw_in_split(task, difficulty, "train", np.random.default_rng(0))
    worked = task.scratchpad(problem) if task.worked and task.has_scratchpad else ""
    steps = f"thinking {worked}\n" if worked else ""
    return f"```\nprompt   {problem.prompt}\n{steps}answer   {problem.answer}\n```"


def page(name: str, shown: Shown) -> str:
    rows = rows_of(shown)
    task = rows.filter(pl.col("label") == "rewarded")["task"][0]
    intro = shown.intro or next(asked for asked, tasks in TASKS_BY_QUESTION.items() if get(task) in tasks)
    levels = sorted(rows.filter(pl.col("task") == task)["difficulty"].cast(pl.Int64).unique())
    trained = rows.filter(pl.col("label") == "rewarded")
    seconds = trained.filter(pl.col("step") == pl.col("step").max())["seconds"].mean()
    runs = f"{rows['seed'].n_unique()} seeds, {rows['step'].max():,} steps; {seconds:.0f} s of RL a run, on one core."
    parts = [
        f"# {name}",
        f"Made by `python scripts/family_pages.py`. {intro} (`envs/{FILES.get(name, f'lookup/{name}')}.py`)",
        f"**What it shows**: {shown.shows}",
        f"**Difficulty**: {get(task).difficulty_meaning}.",
        example(task, levels[len(levels) // 2]),
        f"Success of `nano` bases before RL on {shown.verified if shown.intro else f'`{shown.verified}`'}:",
        by_difficulty(rows),
        f"![accuracy of rewarded and never rewarded tasks against RL steps]({name}.png)",
        by_task(rows),
        f"{runs} Settings, and what was found: [{shown.study}](../../results/{shown.study}/README.md), by",
        f"    python scripts/study.py study={shown.study}",
    ]
    return "\n\n".join(parts) + "\n"


def main() -> None:
    PAGES.mkdir(parents=True, exist_ok=True)
    for name, shown in FAMILIES.items():
        (PAGES / f"{name}.md").write_text(page(name, shown))
        figure(curves(rows_of(shown)), f"RL on {name}").save(PAGES / f"{name}.png", ppi=110)
        print(PAGES / f"{name}.md")


if __name__ == "__main__":
    main()
