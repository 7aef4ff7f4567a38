"""One self-contained report.html that opens offline, figures for papers, and the summary for a terminal."""

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from string import Template
from typing import Any

from harness.analysis.data.curves import cell_curves
from harness.analysis.data.table import Table
from harness.analysis.report.chain_section import chain_section
from harness.analysis.report.chart_style import CONFIG, budget_x, natural_order, readable
from harness.analysis.report.curve_series import Axis, Series, arm_series, fill_missing_axes, series_of, shared_axes
from harness.analysis.report.figures import packed, page_library, write_figures
from harness.analysis.report.gain_maps import factor_figures, sequence_section
from harness.analysis.report.html import Section, panel_id, paragraphs
from harness.analysis.report.law_section import laws_section
from harness.analysis.report.learning_section import learning_section
from harness.analysis.report.reliability_section import reliability_section
from harness.analysis.report.sections import (
    allocation_section,
    curves_section,
    difficulty_section,
    provenance_section,
    reach_section,
    registered_section,
    runs_section,
    verdicts_section,
)
from harness.analysis.report.training_section import samples_section, training_section
from harness.analysis.report.transfer_section import transfer_section
from harness.analysis.report.verdict_cards import answer_cards
from harness.analysis.stats.formatting import Record, format_count
from harness.analysis.transfer.problems import pass_curves
from harness.core.files import write_whole

ROLES = ("verified", "unverified")
PAGE = Path(__file__).with_name("page")  # the template, its style, its script, the methods text


def write_report(
    table: Table, verdicts: Sequence[Record], transfer: Record, out: str | Path, context: Mapping[str, Any]
) -> Path:
    """Writes `out/report.html` and `out/figures/*.png, *.pdf`; returns the page's path.

    verdicts and transfer as written to their JSON files. context, all optional: title, question, notice (what a reader
    must read first), commands, versions (name -> version), runs (run_id -> address of its folder relative to `out`),
    allocation (as in allocation.json), registered (hypotheses, primary, margins, exclusions, sizes, decided_later),
    reach (records of what the bases could do before RL), primary (a PrimaryRecord), chains and reliability (as in
    chains.json and reliability.json).
    """
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    sections, axes = report_sections(table, verdicts, transfer, folder, context)
    path = folder / "report.html"
    lead = paragraphs([context[name] for name in ("question", "notice") if context.get(name)])
    page = render_page(context.get("title") or "RL scaling report", lead, sections, axes)
    write_whole(path, page.encode())
    write_figures(folder / "figures", {name: one for section in sections for name, one in section.figures.items()})
    return path


def report_sections(
    table: Table, verdicts: Sequence[Record], transfer: Record, folder: Path, context: Mapping[str, Any]
) -> tuple[list[Section], list[Axis]]:
    """The sections of a report in `folder`, with their figures, and the axes that its figures switch between."""
    real = transfer["real_arm"] if transfer["real_arm"] in table.arms else table.arms[0]
    drawn = {role: role_series(table, real, role) for role in ROLES}
    axes = shared_axes([one for series in drawn.values() for one in series])
    pools = main_pools(verdicts, real)
    by_task = task_cells(table, real, drawn)
    folders = {run: folder / address for run, address in (context.get("runs") or {}).items()}
    labels = list(dict.fromkeys(one.label for series in drawn.values() for one in series))
    sections = [
        Section("answer", "The answer", answer_cards(pools, transfer, context.get("primary"))),
        curves_section(drawn, axes),
        samples_section(table, folders, real),
        laws_section(verdicts, pools, drawn, axes),
        transfer_section(transfer, pass_curves(table, real, table.sizes(real)[-1])),
        registered_section(context["registered"]) if context.get("registered") else None,
        reach_section(context["reach"]) if context.get("reach") else None,
        difficulty_section(by_task, axes, real, factor_figures(table, real)),
        chain_section(context.get("chains") or [], real),
        reliability_section(context.get("reliability") or [], real),
        sequence_section(table),
        learning_section(pools),
        training_section(table, folders, axes, labels),
        allocation_section(context["allocation"]) if context.get("allocation") else None,
        verdicts_section(verdicts),
        runs_section(table, context.get("runs") or {}),
        Section("methods", "How each number was computed", PAGE.joinpath("methods.html").read_text()),
        provenance_section(table, context),
    ]
    return [one for one in sections if one is not None], axes


def render_page(title: str, lead: str, sections: Sequence[Section], axes: Sequence[Axis], files: bool = True) -> str:
    """The whole page as text: nothing in it is fetched from anywhere. files: as of Section.render."""
    figures = {
        panel_id(name, i): spec
        for section in sections
        for name, figure in section.figures.items()
        for i, spec in enumerate(figure.specs.values())
    }
    axis_data = [{"name": axis.name, "title": axis.title, "x": budget_x(axis).to_dict()} for axis in axes]
    data = packed({"figures": figures, "axes": axis_data, "config": CONFIG})
    links = "".join(f'<li><a href="#{one.id}">{escape(one.title)}</a></li>' for one in sections)
    answer, *rest = [section.render(files) for section in sections]
    header = f"<h1>{escape(title)}</h1>{lead}<nav aria-label='Sections'><ul>{links}</ul></nav>"
    return Template(PAGE.joinpath("page.html").read_text()).substitute(
        title=escape(title),
        css=PAGE.joinpath("page.css").read_text(),
        js=PAGE.joinpath("page.js").read_text(),
        header=header,
        body="\n".join([answer, axis_choice(axes), *rest]),
        figures=data,
        library=page_library(),
    )


def axis_choice(axes: Sequence[Axis]) -> str:
    """The select that switches every figure's axis."""
    if len(axes) < 2:
        return ""
    options = "".join(f'<option value="{axis.name}">{escape(axis.title)}</option>' for axis in axes)
    return f'<p class="axis"><label>Horizontal axis: <select class="axes">{options}</select></label></p>'


def role_series(table: Table, real: str, role: str) -> list[Series]:
    """Every arm on the tasks that have this role in the real arm, the real arm first; one series a model size, the
    largest first: the real arm's is that of `main_pools`."""
    tasks = table.tasks(real, role)
    found, unlike = [], len({readable(arm) for arm in table.arms}) == len(table.arms)
    for arm in sorted(table.arms, key=lambda name: name != real):
        sizes = table.sizes(arm)[::-1]
        name = readable(arm) if unlike else arm
        labels = [name if len(sizes) == 1 else f"{name}, {format_count(size)} parameters" for size in sizes]
        found += [arm_series(table, arm, tasks, size, label) for size, label in zip(sizes, labels)]
    known = [one for one in found if one is not None]
    return fill_missing_axes(known) if known and known[0].arm == real else []


def main_pools(verdicts: Sequence[Record], real: str) -> list[Record]:
    """The real arm's pooled records, those of the largest model size."""
    pools = [v for v in verdicts if v["arm"] == real and v["task"] == "all" and v["role"] in ROLES]
    largest = max((v.get("model_params") or 0 for v in pools), default=0)
    return [v for v in pools if (v.get("model_params") or 0) == largest]


def task_cells(table: Table, real: str, drawn: Mapping[str, Sequence[Series]]) -> dict[str, list[Series]]:
    """Per task of the real arm (its largest size), one series for each difficulty or setting."""
    size = table.sizes(real)[-1]
    found: dict[str, list[Series]] = {}
    if not any(drawn.values()):
        return found
    for (task, difficulty, setting), c in cell_curves(table, real, size=size).items():
        words = [f"difficulty {difficulty}" if difficulty else "", setting]
        label = ", ".join(word for word in words if word) or "all"
        found.setdefault(task, []).append(series_of(table, c, size, label))
    return {task: sorted(series, key=lambda one: natural_order(one.label)) for task, series in found.items()}
