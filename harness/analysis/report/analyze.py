"""One call from a run table to verdicts.json, transfer.json and report.html."""

import platform
import shlex
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from harness.analysis.data.json_files import strict, write_json
from harness.analysis.data.options import Options
from harness.analysis.data.table import load_table
from harness.analysis.verdict.verdicts import verdicts


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
    from harness.analysis.stats.allocation import allocation
    from harness.analysis.transfer.transfer_report import transfer_report

    table = load_table(source, split)
    records = verdicts(table, options)
    transfer = transfer_report(table, options)
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / "verdicts.json", records)
    write_json(out / "transfer.json", transfer)
    from harness.analysis.report.report_page import write_report  # a second of imports: not for a table in error

    spend = strict(allocation(table, options))
    write_json(out / "allocation.json", spend)
    page = write_report(table, strict(records), strict(transfer), out, {**(context or {}), "allocation": spend})
    return {"verdicts": records, "transfer": transfer, "notes": list(table.notes), "report": page}


def provenance() -> dict[str, Any]:
    """The exact commands and the versions, for the report."""
    packages = ("rl-scaling", "numpy", "scipy", "polars", "altair")
    return {
        "commands": [shlex.join(["python", *sys.argv])],
        "versions": {"python": platform.python_version(), **{name: version(name) for name in packages}},
    }
