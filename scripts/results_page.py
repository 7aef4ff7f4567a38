"""Makes docs/results/README.md, the table of all claims, from the pages and verdicts beside it:

python scripts/results_page.py
"""

import json
import re
import sys
from pathlib import Path
from typing import Any

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


def records(folder: Path, name: str) -> Any:
    path = folder / name
    return json.loads(path.read_text()) if path.exists() else None


def title_and_answer(page: str) -> tuple[str, str]:
    """The heading of a page, and the first sentence of its first paragraph in bold."""
    title = page.splitlines()[0].removeprefix("# ")
    bold = re.search(r"\*\*(.+?)\*\*", page, re.DOTALL)
    answer = " ".join(bold[1].split()) if bold else ""
    return title, SENTENCE_ENDS.split(answer)[0]


def estimate(mean: float, low: float, high: float) -> str:
    return f"{mean:+.3f} ({low:+.3f} to {high:+.3f})".replace("-", "−")


def strength(mean: float, low: float, high: float) -> float:
    return abs(mean) / max((high - low) / 2, 1e-9)


def row(folder: Path) -> tuple[float, str]:
    """How strongly a study's data speak, and its line of the table."""
    title, answer = title_and_answer((folder / "README.md").read_text())
    verdict = next(
        (v for v in records(folder, "verdicts.json") or [] if v["task"] == "all" and v["role"] == "verified"), None
    )
    transfer = records(folder, "transfer.json") or {}
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
        cells[3] = estimate(change["mean"], change["low"], change["high"])
        clear = strength(change["mean"], change["low"], change["high"])
    if unverified:
        gain = unverified["pooled"]["gain"]
        cells[4] = estimate(gain["mean"], gain["low"], gain["high"])
    runs = len(json.loads((folder / "manifest.json").read_text())["runs"])
    line = " | ".join([f"[{title}]({folder.name}/README.md)", answer, *cells, str(runs)])
    return clear, f"| {line} |"


def results_page() -> str:
    rows = sorted((row(page.parent) for page in RESULTS.glob("*/README.md")), key=lambda found: (-found[0], found[1]))
    head = [f"| {' | '.join(COLUMNS)} |", "|---" * len(COLUMNS) + "|"]
    return HEAD + "\n".join([*head, *(line for _, line in rows)]) + "\n"


if __name__ == "__main__":
    (RESULTS / "README.md").write_text(results_page())
    sys.exit(0)
