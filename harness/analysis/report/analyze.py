"""One call from a run table to verdicts.json, transfer.json, primary.json and report.html."""

import platform
import shlex
import sys
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from harness.analysis.data.json_files import strict, write_json
from harness.analysis.data.options import Options
from harness.analysis.data.registered import registered_measure
from harness.analysis.data.table import Table, load_table
from harness.analysis.data.table_checks import TableError
from harness.analysis.verdict.primary import PrimaryRecord, primary_record
from harness.analysis.verdict.verdicts import verdicts
from harness.core.files import write_hashed_json


def write_analysis(
    source: str | Path | Sequence[str | Path],
    out: str | Path,
    options: Options,
    split: str | None = "test",
    context: dict[str, Any] | None = None,
    unfinished: bool = False,
) -> dict:
    """Analyse the run table at `source` and write the results into the folder `out`.

    context: what the report shows besides (commands, versions, run folders). unfinished: runs are missing, so that the
    registered measure need not be there. Returns verdicts, transfer, primary (or None), notes (on the table) and report
    (its path). Raises TableError before anything is written.
    """
    from harness.analysis.stats.allocation import allocation
    from harness.analysis.transfer.reliability import reliability
    from harness.analysis.transfer.transfer_report import transfer_report
    from harness.analysis.verdict.chain_length import chain_lengths

    table = load_table(source, split)
    primary = primary_of(table, source, options, unfinished)
    records = verdicts(table, options)
    transfer = transfer_report(table, options)
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / "verdicts.json", records)
    write_json(out / "transfer.json", transfer)
    if primary:
        write_primary(out, primary)
    from harness.analysis.report.report_page import write_report  # a second of imports: not for a table in error

    more = {"allocation": allocation, "chains": chain_lengths, "reliability": reliability}
    found = {name: strict(measure(table, options)) for name, measure in more.items()}
    for name, content in found.items():
        if content:
            write_json(out / f"{name}.json", content)
    context = {**(context or {}), **found, "primary": primary}
    page = write_report(table, strict(records), strict(transfer), out, context)
    results = {"verdicts": records, "transfer": transfer, "primary": primary}
    return {**results, "notes": list(table.notes), "report": page}


def primary_of(
    table: Table, source: str | Path | Sequence[str | Path], options: Options, unfinished: bool = False
) -> PrimaryRecord | None:
    """The measure that the manifest beside `source` registers; None where it registers none, or where it cannot be
    computed yet. Raises TableError where it cannot be computed at all."""
    registered = registered_measure(source)
    if registered is None:
        return None
    try:
        return primary_record(table, registered, options.min_bases)
    except TableError:
        if unfinished:
            return None
        raise


def write_primary(out: Path, primary: PrimaryRecord) -> None:
    write_hashed_json(out / "primary.json", strict(asdict(primary)))


def provenance() -> dict[str, Any]:
    """The exact commands and the versions, for the report."""
    packages = ("rl-scaling", "numpy", "scipy", "polars", "altair")
    return {
        "commands": [shlex.join(["python", *sys.argv])],
        "versions": {"python": platform.python_version(), **{name: version(name) for name in packages}},
    }
