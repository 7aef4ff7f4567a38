"""Makes docs/results/README.md, the table of all claims, from the pages and verdicts beside it:

python scripts/results_page.py
"""

import re
import sys
from collections.abc import Mapping
from pathlib import Path

from harness.analysis.stats.formatting import format_with_interval
from harness.core.files import read_json

RESULTS = Path(__file__).resolve().parent.parent / "docs" / "results"
HEAD = """# All claims, and what was found

Made by `python scripts/results_page.py` from the pages and verdicts in this folder, sorted by how strongly the data
speak: the estimate over the half width of its 95% interval. Each page has the command, the registered predictions
beside the outcomes, what failed and what would change the answer. *Rise*: accuracy on verified tasks after RL less
before. *Gain*: after less before, less the same of the shuffled control.

"""
COLUMNS = (
    "question", "answer", "does RL raise it", "is it log-linear", "where a line stands", "rise (verified)",
    "gain (unverified)", "runs",
)  # fmt: skip
NONE = "–"
SENTENCE_ENDS = re.compile(r"(?<=[.!?])\s+(?=[A-Z])")


def title_and_answer(page: str) -> tuple[str, str]:
    """The heading of a page, and the first sentence of its first paragraph in bold."""
    title = page.splitlines()[0].removeprefix("# ")
    bold = re.search(r"\*\*(.+?)\*\*", page, re.DOTALL)
    answer = " ".join(bold[1].split()) if bold else ""
    return title, SENTENCE_ENDS.split(answer)[0]


def estimate(record: Mapping[str, float]) -> str:
    return format_with_interval(record["mean"], (record["low"], record["high"]))


def strength(record: Mapping[str, float]) -> float:
    return abs(record["mean"]) / max((record["high"] - record["low"]) / 2, 1e-9)


def row(folder: Path) -> tuple[float, str]:
    """How strongly a study's data speak, and its line of the table."""
    title, answer = title_and_answer((folder / "README.md").read_text())
    verdict = next(
        (v for v in read_json(folder / "verdicts.json") or [] if v["task"] == "all" and v["role"] == "verified"), None
    )
    transfer = read_json(folder / "transfer.json") or {}
    verified, unverified = transfer.get("verified"), transfer.get("unverified")
    cells, clear = [NONE] * 5, 0.0
    if verdict:
        window = verdict.get("line_window")
        cells[:2] = verdict["rises"], verdict["is_log_linear"]
        if window:
            cells[2] = (
                f"{window['decades']:.1f} decades, {window['accuracy_first']:.2f} to {window['accuracy_last']:.2f}"
            )
    if verified:
        change = verified["pooled"]["change"]
        cells[3] = estimate(change)
        clear = strength(change)
    if unverified:
        cells[4] = estimate(unverified["pooled"]["gain"])
    runs = len(read_json(folder / "manifest.json")["runs"])
    line = " | ".join([f"[{title}]({folder.name}/README.md)", answer, *cells, str(runs)])
    return clear, f"| {line} |"


def results_page() -> str:
    rows = sorted((row(page.parent) for page in RESULTS.glob("*/README.md")), key=lambda found: (-found[0], found[1]))
    head = [f"| {' | '.join(COLUMNS)} |", "|---" * len(COLUMNS) + "|"]
    return HEAD + "\n".join([*head, *(line for _, line in rows)]) + "\n"


if __name__ == "__main__":
    (RESULTS / "README.md").write_text(results_page())
    sys.exit(0)
