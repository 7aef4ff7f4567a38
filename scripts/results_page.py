"""Makes docs/results/README.md and atlas.html, tables of all claims, from the pages, answers and tables beside them:

python scripts/results_page.py
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.analysis.data.grids import Grid, arm_grids, base_means
from harness.analysis.data.options import default_options
from harness.analysis.data.table import Table, hours_of_runs, load_table
from harness.analysis.stats.contrasts import mean_record
from harness.analysis.stats.formatting import format_hours, format_number, format_significant, format_with_interval
from harness.analysis.verdict.primary import PrimaryRecord, typed_primary
from harness.core.files import read_json
from scripts.atlas_page import atlas_page

RESULTS = Path(__file__).resolve().parent.parent / "docs" / "results"
HEAD = """# All claims, and what was found

Made by `python scripts/results_page.py` from the pages, answers and tables in this folder; [with curves](atlas.html).
*Answer*: of the registered measure, yes or no where its 95% interval lies on one side of the margin
([primary.json](../reference/verdicts-json.md)). Studies that have one come first, sorted by how strongly the data
speak: the distance of the effect to the margin over the half width of its interval; then the others, by the rise of
verified tasks over its half width; their answer, in italics, is what their page says of what they registered in words.
Each page has the command, the registered predictions beside the outcomes, what failed and what would change the
answer. *Controls*: change of their accuracy on verified tasks. *Compute*: runs, and their time of RL on a core each,
without pretraining and evaluation.

"""
COLUMNS = ("claim", "question", "answer", "what was found", "controls", "compute")
NONE = "–"
SENTENCE_ENDS = re.compile(r"(?<=[.!?])\s+(?=[A-Z])")
CLAIM = re.compile(r"<!-- claim: (.+?) -->", re.DOTALL)
ANSWER = re.compile(r"<!-- answer: (.+?) -->")


@dataclass(frozen=True)
class Claim:
    """A row. claim: the sentence that the study tests, from a comment of its page, <!-- claim: … -->, or "". answered:
    what a page without a registered measure answers, from <!-- answer: … -->, or "". found: the first sentence in bold
    of the page. controls: arm -> change on verified tasks. curves: arm -> (x, accuracy) before RL and at each budget,
    on verified tasks."""

    folder: str
    claim: str
    answered: str
    question: str
    found: str
    primary: PrimaryRecord | None
    strength: float
    controls: Mapping[str, Mapping[str, float | None]]
    curves: Mapping[str, list[tuple[float, float]]]
    runs: int
    hours: float | None

    @property
    def effect(self) -> str:
        """The effect with its interval and margin; "" without a registered measure."""
        if (one := self.primary) is None:
            return ""
        effect = format_with_interval(one.effect, (one.low, one.high))
        return f"{effect}; yes if {one.yes_if} {format_significant(one.margin)}"

    @property
    def control_changes(self) -> list[str]:
        return [f"{arm.replace('_', ' ')} {_change(record)}" for arm, record in self.controls.items()]

    @property
    def compute(self) -> str:
        return f"{self.runs} runs" + (f", {format_hours(self.hours)}" if self.hours else "")


def _change(record: Mapping[str, float | None]) -> str:
    low, high = record["low"], record["high"]
    half = f" ± {format_number((high - low) / 2)}" if low is not None and high is not None else ""
    return format_number(record["mean"], sign=True) + half


def words_of(page: str) -> tuple[str, str, str, str]:
    """The claim and the answer in comments of a page, its heading, and the first sentence of its first bold text."""
    bold = re.search(r"\*\*(.+?)\*\*", page, re.DOTALL)
    claim, answer, found = (
        " ".join(each[1].split()) if each else "" for each in (CLAIM.search(page), ANSWER.search(page), bold)
    )
    return claim, answer, page.splitlines()[0].removeprefix("# "), SENTENCE_ENDS.split(found)[0]


def distance(value: float | None, low: float | None, high: float | None, margin: float = 0.0) -> float:
    """From the margin, in half widths of the interval; 0 where nothing is known."""
    if value is None or low is None or high is None:
        return 0.0
    return abs(value - margin) / max((high - low) / 2, 1e-9)


def strength_of(primary: PrimaryRecord | None, transfer: Mapping[str, Any]) -> float:
    """Of the registered measure against its margin; without one that of the rise of verified tasks against 0."""
    if primary:
        return distance(primary.effect, primary.low, primary.high, primary.margin)
    change = transfer["verified"]["pooled"]["change"] if transfer.get("verified") else None
    return distance(change["mean"], change["low"], change["high"]) if change else 0.0


def verified_grids(table: Table, real: str) -> dict[str, Grid]:
    """Of each arm, its largest model, on the verified tasks of the real arm (or its own, where it lacks these)."""
    found, wanted = {}, table.tasks(real, "verified")
    for arm, grid in arm_grids(table.largest()).items():
        shared = wanted if set(wanted) <= set(grid.columns) else []
        if tasks := shared or table.tasks(arm, "verified"):
            found[arm] = grid.select(tasks)
    return found


def curve(grid: Grid) -> list[tuple[float, float]]:
    """Mean over replicates and tasks: before RL, at x = 0, and at each budget that every replicate reached."""
    values = grid.values.mean(axis=(0, 2))
    points = [(0.0, float(grid.before.mean())), *zip(map(float, grid.x), map(float, values))]
    return [(x, y) for x, y in points if y == y]


def claim_of(folder: Path) -> Claim:
    claim, answered, question, found = words_of((folder / "README.md").read_text())
    record, options = read_json(folder / "primary.json"), default_options()
    primary = typed_primary(record) if record else None
    table = load_table(folder, None) if (folder / "table.parquet").is_file() else None
    grids = verified_grids(table, options.real_arm) if table else {}
    changes = {
        arm: mean_record(base_means(grids[arm].change.mean(axis=1), grids[arm].units, options.min_bases))
        for arm in options.controls
        if arm in grids
    }
    return Claim(
        folder.name,
        claim,
        answered,
        question,
        found,
        primary,
        strength_of(primary, read_json(folder / "transfer.json") or {}),
        changes,
        {arm: curve(grid) for arm, grid in grids.items()},
        len((read_json(folder / "manifest.json") or {"runs": []})["runs"]),
        hours_of_runs(table.frame) if table else None,
    )


def all_claims(results: Path = RESULTS) -> list[Claim]:
    """Of every page, those with a registered measure first, the clearest at the top."""
    found = [claim_of(page.parent) for page in results.glob("*/README.md")]
    return sorted(found, key=lambda one: (one.primary is None, -one.strength, one.folder))


def results_page(claims: list[Claim]) -> str:
    lines = [f"| {' | '.join(COLUMNS)} |", "|---" * len(COLUMNS) + "|"]
    for one in claims:
        words = f"*{one.answered}*" if one.answered else NONE
        answer = f"**{one.primary.answer}**: {one.effect}" if one.primary else words
        question = f"[{one.question}]({one.folder}/README.md)"
        controls = "<br>".join(one.control_changes) or NONE
        lines.append(f"| {' | '.join([one.claim or NONE, question, answer, one.found, controls, one.compute])} |")
    return HEAD + "\n".join(lines) + "\n"


def main() -> None:
    claims = all_claims()
    (RESULTS / "README.md").write_text(results_page(claims))
    (RESULTS / "atlas.html").write_text(atlas_page(claims))


if __name__ == "__main__":
    main()
