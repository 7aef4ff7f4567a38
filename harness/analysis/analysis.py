"""The analysis of a run table as an object: verdicts, transfer, and the options that gave them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin

import polars as pl

from harness.analysis.data.json_files import strict
from harness.analysis.data.options import Options, default_options
from harness.analysis.data.registered import Registered, registered_measure, study_options
from harness.analysis.data.table import Table, check_table, load_table
from harness.analysis.transfer.reliability import reliability
from harness.analysis.transfer.transfer_report import transfer_report
from harness.analysis.verdict.chain_length import chain_lengths
from harness.analysis.verdict.primary import PrimaryRecord, primary_record
from harness.analysis.verdict.record import VerdictRecord, typed_records
from harness.analysis.verdict.verdicts import verdicts

if TYPE_CHECKING:
    from harness.analysis.report.figures import Figure


@dataclass(frozen=True)
class Analysis:
    """What `scripts/analyze.py` writes, as objects; computed when first looked at.

    records: verdicts.json, typed. verdicts: their single values as a frame, a row a record. transfer: transfer.json.
    chains, reliability: chains.json and reliability.json, [] where the table has too few difficulties or samples.
    primary: primary.json, typed; None where no measure is registered, TableError where the table cannot give it.
    figures: those of the report, by name; a notebook shows one as a picture, and its `panels` are Altair charts.
    """

    table: Table
    options: Options
    registered: Registered | None = None

    @cached_property
    def primary(self) -> PrimaryRecord | None:
        return primary_record(self.table, self.registered, self.options.min_bases) if self.registered else None

    @cached_property
    def records(self) -> list[VerdictRecord]:
        return typed_records(self._plain)

    @cached_property
    def verdicts(self) -> pl.DataFrame:
        return verdict_frame(self._plain)

    @cached_property
    def figures(self) -> dict[str, "Figure"]:
        from harness.analysis.report.report_page import report_sections  # Altair takes a second to import

        more = {"chains": self.chains, "reliability": self.reliability}
        sections, _ = report_sections(self.table, self._plain, self.transfer, Path(), more)
        return {name: figure for section in sections for name, figure in section.figures.items()}

    @cached_property
    def _plain(self) -> list[dict[str, Any]]:
        return strict(verdicts(self.table, self.options))

    @cached_property
    def chains(self) -> list[dict[str, Any]]:
        return strict(chain_lengths(self.table, self.options))

    @cached_property
    def reliability(self) -> list[dict[str, Any]]:
        return strict(reliability(self.table, self.options))

    @cached_property
    def transfer(self) -> dict[str, Any]:
        return strict(transfer_report(self.table, self.options))


def analyze(
    table: Table | pl.DataFrame | str | Path,
    problems: pl.DataFrame | None = None,
    split: str = "test",
    registered: Registered | None = None,
    **options: Any,
) -> Analysis:
    """Verdicts and transfer of a run table: a frame (docs/reference/run-table.md), a file or a folder.

    problems: counts per problem, of a frame. split: where the table holds several, the one to analyse. registered: the
    primary measure; of a folder that of its manifest, as are the options of its study. options: changes of the section
    `analysis` of configs/analyze.yaml. Raises TableError, and ValidationError for an unknown option.
    """
    if isinstance(table, str | Path):
        registered = registered or registered_measure(table)
        options = {**study_options(table), **options}
    if isinstance(table, pl.DataFrame):
        table = check_table(table, problems, split=split)
    elif not isinstance(table, Table):
        table = load_table(table, split)
    return Analysis(table, default_options(**options), registered)


def verdict_frame(records: Sequence[Mapping[str, Any]]) -> pl.DataFrame:
    """A row for each record of a verdicts.json, short ones too, with the entries that are one value; an interval
    `slope_ci` is the columns slope_low and slope_high."""
    entries = [one for one in fields(VerdictRecord) if any(one.name in record for record in records)]
    names = [one.name for one in entries if _is_single(one.type)]
    pairs = [one.name for one in entries if one.name.endswith("_ci")]
    rows = []
    for record in records:
        row = {name: record.get(name) for name in names}
        for name in pairs:
            row |= dict(zip((f"{name[:-2]}low", f"{name[:-2]}high"), record.get(name) or (None, None)))
        rows.append(row)
    return pl.from_dicts(rows, infer_schema_length=None)


def _is_single(hint: Any) -> bool:
    """Whether a type is of one value or null."""
    if isinstance(hint, UnionType):
        return all(map(_is_single, get_args(hint)))
    return get_origin(hint) is Literal or hint in (str, int, float, bool, NoneType)
