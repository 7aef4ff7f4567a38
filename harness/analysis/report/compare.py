"""Any runs on one page: run folders, study folders and run tables, those that differ in their seeds alone together.

First the accuracy over all verified tasks and over all unverified ones, then where it ended over the settings that were
swept; every other metric is folded away.
"""

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

from harness.analysis.data.table_checks import TableError
from harness.analysis.report.chart_style import sentence_case
from harness.analysis.report.compare_charts import (
    Curves,
    Places,
    accuracy_range,
    end_line,
    end_maps,
    grid_factors,
    group_curves,
    places_of,
    values_of,
)
from harness.analysis.report.compare_runs import (
    POOLED,
    Group,
    common_axes,
    group_curve,
    groups_of,
    load_runs,
    repeated_settings,
    setting_words,
)
from harness.analysis.report.curve_series import Axis
from harness.analysis.report.figures import Figure, single
from harness.analysis.report.html import Section, folded, html_table, line_swatch, paragraphs
from harness.analysis.report.report_page import render_page
from harness.analysis.stats.formatting import counted, format_number

# Groups of metrics in the order shown; others follow by name.
KINDS = ("eval", "train", "optim", "perf", "time")
MOST_LINES = 8  # in a panel, the best; the others are in the table
MOST_PANELS = 4  # beside one another


def compare(runs: Sequence[str | Path], out: str | Path) -> Path:
    """Writes `out/compare.html`, all runs in every figure; returns its path.

    Raises TableError where a path is neither a run folder (metrics.jsonl) nor a study folder or run table.
    """
    loaded = [run for path in runs for run in load_runs(Path(path))]
    if not loaded:
        raise TableError("nothing to compare: name run folders or tables, e.g. runs='[outputs/a,outputs/b]'")
    axes, groups = common_axes(loaded), groups_of(loaded)
    places, pooled = places_of(groups), pooled_curves(groups)
    metrics = sorted({name for run in loaded for name in run.metrics})
    found = {name.split("/")[0] for name in metrics}
    kinds = [*(kind for kind in KINDS if kind in found), *sorted(found - set(KINDS))]
    sections = [
        _accuracy_section(groups, pooled, axes, places) if pooled else None,
        _ends_section(groups, pooled),
        _groups_section(groups, pooled, places),
        *(_metrics_section(kind, metrics, groups, axes, places) for kind in kinds),
    ]
    title = f"{counted(len(loaded), 'run')} compared"
    path = Path(out) / "compare.html"
    path.parent.mkdir(parents=True, exist_ok=True)
    lead, shown = paragraphs([_summary(groups, pooled)]), [one for one in sections if one]
    path.write_text(render_page(title, lead, shown, axes, files=False))
    return path


def pooled_curves(groups: Sequence[Group]) -> dict[str, Curves]:
    """The curves of each group by role; a role that no run has is left out."""
    found = {role: _curves(groups, metric) for role, metric in POOLED.items()}
    return {role: curves for role, curves in found.items() if curves}


def _curves(groups: Sequence[Group], metric: str) -> Curves:
    curves = {group.label: group_curve(group, metric) for group in groups}
    return {label: curve for label, curve in curves.items() if curve is not None}


def _best_first(groups: Sequence[Group], pooled: Mapping[str, Curves]) -> list[Group]:
    """By their last accuracy on the first role that was evaluated."""
    curves = next(iter(pooled.values()), {})
    return sorted(groups, key=lambda g: -curves[g.label]["value"][-1] if g.label in curves else 1.0)


def _summary(groups: Sequence[Group], pooled: Mapping[str, Curves]) -> str:
    """What differs, how often each was run, and the best, in a sentence or two."""
    runs = [len(group.runs) for group in groups]
    each = counted(runs[0], "run") if len(set(runs)) == 1 else f"{min(runs)} to {max(runs)} runs"
    lead = f"{counted(len(groups), 'setting')}, {each} of each."
    if len(groups) < 2 or not pooled:
        return lead
    best = _best_first(groups, pooled)[0]
    ends = [
        f"{format_number(c[best.label]['value'][-1], 2)} on {role}" for role, c in pooled.items() if best.label in c
    ]
    if also := repeated_settings(groups):
        lead += f" {', '.join(also)} changed with them."
    chosen = f"Chosen among {len(groups)} on these problems, so new seeds will on average do a little worse."
    return f"{lead} Best at the end: {best.label}, {' and '.join(ends)} tasks. {chosen}"


def _accuracy_section(
    groups: Sequence[Group], pooled: Mapping[str, Curves], axes: Sequence[Axis], places: Places
) -> Section:
    """The pooled curves: a panel a role, or of a large grid one for each value of its shorter side as well."""
    limits = accuracy_range([curve for curves in pooled.values() for curve in curves.values()])
    factors = grid_factors(groups)
    if factors and len(groups) > MOST_LINES // 2 and len(values_of(groups, factors[1])) <= MOST_PANELS:
        tall, wide = factors
        shown = groups
        parts = {
            setting_words(wide, value): [g for g in groups if g.settings[wide] == value]
            for value in values_of(groups, wide)
        }
        legend = _legend({setting_words(tall, v): (i, 0) for i, v in enumerate(values_of(groups, tall))})
    else:
        shown = _best_first(groups, pooled)[:MOST_LINES]
        shown = [group for group in groups if group in shown]
        parts = {"": shown}
        legend = _legend({group.label: places[group.label] for group in shown})
    panels = {
        sentence_case(", ".join(filter(None, (f"{role} tasks", name)))): group_curves(drawn, axes, places, limits)
        for role, curves in pooled.items()
        for name, own in parts.items()
        if (drawn := {group.label: curves[group.label] for group in own if group.label in curves})
    }
    most = f" The {len(shown)} best of {len(groups)}; the others are in the table." if len(shown) < len(groups) else ""
    caption = f"Mean over all tasks of a role and over runs; the band reaches from the lowest run to the highest.{most}"
    columns = len(parts) if len(parts) > 1 else 2
    figure = Figure("Held-out accuracy", caption, panels, columns)
    return Section("accuracy", "Accuracy", legend, {"curves": figure})


def _legend(places: Places) -> str:
    """In the page's text, where it breaks into lines on a narrow screen."""
    if len(places) < 2:
        return ""
    words = (f"<span>{line_swatch(place)} {escape(label)}</span>" for label, place in places.items())
    return f'<p class="legend">{" ".join(words)}</p>'


def _ends_section(groups: Sequence[Group], pooled: Mapping[str, Curves]) -> Section | None:
    """Where accuracy ended over one or two swept settings; None where there is nothing to draw it over."""
    if not pooled or not groups[0].settings:
        return None
    names = " and ".join(name.removesuffix(".name") for name in groups[0].settings)
    title = f"Accuracy at the end over {names}"
    if line := end_line(groups, pooled):
        figure = single(title, "Mean over runs, from the lowest to the highest.", line)
    elif panels := end_maps(groups, pooled):
        figure = Figure(title, "Mean over runs at their last budget; darker is higher.", panels, 2)
    else:
        return None
    return Section("ends", "Over the settings", {"last": figure})


def _groups_section(groups: Sequence[Group], pooled: Mapping[str, Curves], places: Places) -> Section:
    """A row for each group, the best first; below, folded, one for each run."""
    rows = []
    for group in _best_first(groups, pooled):
        ends = []
        for curves in pooled.values():
            mean = curves[group.label]["value"] if group.label in curves else [None]
            ends += [format_number(mean[0]), format_number(mean[-1])]
        rows.append([line_swatch(places[group.label]), group.label, str(len(group.runs)), *ends])
    header = ["line", "setting", "runs", *(f"{role}, {end}" for role in pooled for end in ("first", "last"))]
    table = html_table("Accuracy at the first and at the last budget, means over runs.", header, rows, 2)
    return Section("settings", "Settings", table + _runs_table(groups))


def _runs_table(groups: Sequence[Group]) -> str:
    runs = [run for group in groups for run in group.runs]
    last = [
        [run.metrics[name]["value"][-1] if name in run.metrics else None for name in POOLED.values()] for run in runs
    ]
    rows = [[run.label, *map(format_number, ends)] for run, ends in zip(runs, last)]
    table = html_table("The last accuracy of each run.", ["run", *POOLED], rows, 1)
    return folded(counted(len(runs), "run"), table)


def _metrics_section(
    kind: str, metrics: Sequence[str], groups: Sequence[Group], axes: Sequence[Axis], places: Places
) -> Section:
    """A small multiple for each metric of a kind, folded."""
    own = [name for name in metrics if name.split("/")[0] == kind]
    panels = {name: group_curves(curves, axes, places) for name in own if (curves := _curves(groups, name))}
    caption = "Means over runs, in the colour and dashes of the table above."
    figure = Figure("", caption, panels, MOST_PANELS)
    summary = f"<summary>{counted(len(panels), 'metric')} of {escape(kind)}</summary>"
    return Section(f"{kind}-metrics", kind, f"<details>{summary}", {kind: figure}, "</details>")
