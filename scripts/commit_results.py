"""Copies what the repository keeps of a study: tables compressed, verdicts shortened, the figures named. Examples:

python scripts/commit_results.py outputs/studies/transfer docs/results/transfer accuracy
python scripts/commit_results.py docs/results/transfer docs/results/transfer    # in place, without any figure

The report, the other figures and the full verdicts come back with `python scripts/analyze.py table=docs/results/NAME`.
"""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import polars as pl

from harness.core.files import read_json, sha256, write_hashed_json
from harness.study.table_files import TABLES

COPIED = ("README.md", "transfer.json", "breadth.json", "primary.json")
RECORDS = ("verdicts", "chains", "reliability")  # lists of records, one a line
PROBLEM_ORDER = ("task", "setting", "difficulty", "problem", "seed", "arm", "x", "run_id")
# Of a single task only what it gained and what was concluded; of a pool of tasks all but what can be drawn again.
TASK_FIELDS = (
    "schema_version", "arm", "task", "role", "model_params", "verdict", "rises", "is_log_linear", "withheld",
    "slope_per_decade", "slope_ci", "rise", "accuracy_first", "accuracy_last",
)  # fmt: skip
POOL_DROPPED = (
    "curve", "scales", "leave_one_task_out", "leave_one_size_out", "task_shares", "controls", "learning_times",
    "difficulty_scaling", "gain_by_base_success",
)  # fmt: skip
LAW_FIELDS = ("parameters", "chi2", "held_out_error", "fitted")


def short(record: dict[str, Any]) -> dict[str, Any]:
    """A record of verdicts.json with the fields that pages quote."""
    if record["task"] != "all":
        return {name: record[name] for name in TASK_FIELDS if name in record}
    kept = {name: value for name, value in record.items() if name not in POOL_DROPPED}
    laws = record.get("laws") or {}
    return kept | {"laws": {n: {k: law[k] for k in LAW_FIELDS if k in law} for n, law in laws.items()}}


def rounded(value: Any) -> Any:
    """JSON with floats of six significant digits."""
    if isinstance(value, dict):
        return {name: rounded(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [rounded(inner) for inner in value]
    return float(f"{value:.6g}") if isinstance(value, float) else value


def compress(source: Path, target: Path, order: tuple[str, ...] = ()) -> None:
    """Writes the same rows, sorted by `order` where it is given: equal neighbours need hardly any bytes."""
    frame = pl.read_parquet(source)
    frame = frame.sort([name for name in order if name in frame.columns]) if order else frame
    frame.write_parquet(
        target, compression="zstd", compression_level=22, row_group_size=10_000_000, data_page_size=2**26
    )


def commit(source: Path, target: Path, figures: list[str]) -> None:
    """Raises FileNotFoundError where the study has no run table or a figure does not exist."""
    (target / "figures").mkdir(parents=True, exist_ok=True)
    compress(source / "table.parquet", target / "table.parquet")
    if (source / "problems.parquet").is_file():
        compress(source / "problems.parquet", target / "problems.parquet", PROBLEM_ORDER)
    if (manifest := read_json(source / "manifest.json")) is not None:
        hashes = {name: sha256((target / name).read_bytes()) for name in TABLES if (target / name).is_file()}
        write_hashed_json(target / "manifest.json", {**manifest, "files": hashes})
    for name in RECORDS:
        records = read_json(source / f"{name}.json") or []
        lines = ",\n".join(json.dumps(rounded(short(each) if name == "verdicts" else each)) for each in records)
        if records:
            (target / f"{name}.json").write_text(f"[\n{lines}\n]\n")
    names = [*(name for name in COPIED if (source / name).is_file()), *(f"figures/{name}.png" for name in figures)]
    for name in names if source != target else ():
        shutil.copyfile(source / name, target / name)


def main(arguments: list[str]) -> None:
    if len(arguments) < 2:
        sys.exit("usage: python scripts/commit_results.py STUDY_FOLDER TARGET_FOLDER [FIGURE ...]")
    source, target, *figures = arguments
    commit(Path(source), Path(target), figures)
    size = sum(path.stat().st_size for path in Path(target).rglob("*") if path.is_file())
    print(f"{target}: {size / 1e6:.2f} MB")


if __name__ == "__main__":
    main(sys.argv[1:])
