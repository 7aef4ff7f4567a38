"""Which share of the tasks follows which law, corrected for how often the analysis mistakes one for another."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from scipy.optimize import nnls

from harness.analysis.verdict.rules import VERDICTS

SEEDS = 8  # the calibration whose confusion matrix is used
CALIBRATION = Path(__file__).with_name("calibration.json")  # written by calibration/calibrate.py


def calibration() -> dict:
    """The committed calibration: confusion matrix, coverage, power."""
    return json.loads(CALIBRATION.read_text())


def confusion_by_truth(cases: Mapping[str, dict]) -> dict[str, list[float]]:
    """Truth -> chance of each verdict (in the order of VERDICTS), the mean over the kinds of that truth."""
    found: dict[str, list[np.ndarray]] = {}
    for case in cases.values():
        if case["seeds"] == SEEDS:
            row = np.array([case["verdicts"].get(verdict, 0) for verdict in VERDICTS]) / case["tables"]
            found.setdefault(case["truth"], []).append(row)
    return {truth: np.mean(rows, 0).tolist() for truth, rows in found.items()}


def task_shares(verdicts: Sequence[str], confusion: Mapping[str, Sequence[float]]) -> dict:
    """Observed shares of verdicts, and the shares of truths (`other`: between the named laws) that would produce them.

    Corrected shares are the non-negative least-squares solution that sums to one; a design with more seeds or problems
    than the calibration's is mistaken less often, so they lean to the careful side. None without a judged task.
    """
    judged = [verdict for verdict in verdicts if verdict != "insufficient_data"]
    if not judged:
        return {"tasks": 0, "observed": None, "corrected": None}
    counts = Counter(judged)
    observed = np.array([counts[verdict] for verdict in VERDICTS]) / len(judged)
    truths = list(confusion)
    weight = 100.0  # of the constraint that shares sum to one
    rows = np.vstack([np.array([confusion[truth] for truth in truths]).T, np.full(len(truths), weight)])
    shares, _ = nnls(rows, np.append(observed, weight))
    return {
        "tasks": len(judged),
        "observed": {verdict: counts[verdict] / len(judged) for verdict in VERDICTS if counts[verdict]},
        "corrected": {truth: float(share) for truth, share in zip(truths, shares) if share > 0.005},
    }
