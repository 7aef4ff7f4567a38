"""What an analysis of its own writes besides the report: its numbers, the answer and a figure."""

from pathlib import Path
from typing import Any

from harness.analysis.data.json_files import write_json
from harness.analysis.report.analyze import write_primary
from harness.analysis.report.figures import Figure, write_figures
from harness.analysis.verdict.primary import PrimaryRecord


def write_answer(
    out: Path, name: str, found: Any, primary: PrimaryRecord | None = None, figure: Figure | None = None
) -> Path:
    """Writes `out/NAME.json`, whose path is returned, and, where they are given, `out/primary.json` and
    `out/figures/NAME.png, .pdf`."""
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / f"{name}.json", found)
    if primary:
        write_primary(out, primary)
    if figure:
        write_figures(out / "figures", {name: figure})
    return out / f"{name}.json"
