"""The accuracy of a row of a run table."""

from typing import Any


def accuracy(row: Any) -> Any:
    """Share of all completions that are right, of a row's counts; of a frame or of expressions a column."""
    return row["n_correct"] / (row["n_problems"] * row["k"])
