"""One call from a run table to verdicts.json, transfer.json and report.html."""

import json
import math
import platform
import shlex
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from harness.analysis.options import Options
from harness.analysis.table import load_table
from harness.analysis.verdict import verdicts


def analyze(
    source: str | Path | Sequence[str | Path],
    out: str | Path,
    options: Options,
    split: str | None = "test",
    context: dict[str, Any] | None = None,
) -> dict:
    """Analyse the run table at `source` and write the results into the folder `out`.

    context: what the report shows besides (commands, versions, run folders). Returns verdicts, transfer, notes (on the
    table) and report (its path). Raises TableError before anything is written.
    """
    from harness.analysis.allocation import allocation
    from harness.analysis.transfer import transfer_report

    table = load_table(source, split)
    records = verdicts(table, options)
    transfer = transfer_report(table, options)
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / "verdicts.json", records)
    write_json(out / "transfer.json", transfer)
    from harness.analysis.report import write_report  # plotly takes a second to import: not for a table in error

    spend = strict(allocation(table, options))
    write_json(out / "allocation.json", spend)
    page = write_report(table, strict(records), strict(transfer), out, {**(context or {}), "allocation": spend})
    return {"verdicts": records, "transfer": transfer, "notes": list(table.notes), "report": page}


def provenance() -> dict[str, Any]:
    """The exact commands and the versions, for the report."""
    packages = ("rl-scaling", "numpy", "scipy", "polars", "plotly")
    return {
        "commands": [shlex.join(["python", *sys.argv])],
        "versions": {"python": platform.python_version(), **{name: version(name) for name in packages}},
    }


def write_json(path: Path, value: Any) -> None:
    """Strict JSON, written whole and then renamed, so that a reader never sees half a file."""
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(strict(value), indent=1, allow_nan=False) + "\n")
    partial.replace(path)


def strict(value: Any) -> Any:
    """The value with NaN and infinities, which JSON cannot hold, as None."""
    if isinstance(value, dict):
        return {str(key): strict(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [strict(each) for each in value]
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    return value
