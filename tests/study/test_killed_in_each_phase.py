"""A study whose processes are killed once before and once after each kind of file gets its name: in pretraining, RL,
evaluation, tables, verdicts and report."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from polars.testing import assert_frame_equal

from harness.core.files import read_json
from harness.run.tracker import read_metrics
from tests.study.test_interrupted_study import metrics, table
from tests.test_scripts import ROOT, SETTINGS

pytestmark = pytest.mark.slow
POINTS = {
    "checkpoint in pretraining": "*/runs/base-*/checkpoints/*",
    "weights of the base": "*/runs/base-*/budgets/*",
    "checkpoint in RL": "*/runs/rl-*/checkpoints/*",
    "weights at a budget": "*/runs/rl-*/budgets/*",
    "evaluation": "*/runs/rl-*/evaluations/*",
    "evaluation of the frozen arm": "*/runs/frozen-*/evaluations/*",
    "table": "*/table.parquet",
    "table of problems": "*/problems.parquet",
    "verdicts": "*/verdicts.json",
    "report": "*/report.html",
}
LEARNING = [
    *(setting for setting in SETTINGS if not setting.startswith(("base.steps", "base.documents", "rl.steps"))),
    "tracker=none",
    "base.steps=30",
    "base.documents=32",
    "rl.steps=12",
    "save.seconds=1e-6",
    "study.seeds=[0,1]",
    "launcher.jobs=2",
]


def launch(out, flags=None):
    """One launch of the study, killed at what is left of POINTS if there is a folder of flags."""
    out.mkdir(exist_ok=True)
    killing = {}
    path = [str(ROOT)]
    if flags is not None:
        flags.mkdir(exist_ok=True)
        killing = {"KILL_FLAGS": str(flags), "KILL_POINTS": "\n".join(f"{k}={v}" for k, v in POINTS.items())}
        path.insert(0, str(Path(__file__).parent / "killed"))
    env = {**os.environ, **killing, "PYTHONPATH": os.pathsep.join(path), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(ROOT / "scripts" / "study.py"), *LEARNING, "launcher.retries=20", f"out={out}"]
    return subprocess.run(command, cwd=out, env=env, capture_output=True, text=True, check=False)


def test_a_study_killed_before_and_after_each_file_of_each_phase_ends_as_an_unbroken_one(tmp_path):
    whole, broken, flags = tmp_path / "whole", tmp_path / "broken", tmp_path / "flags"
    ended = launch(whole)
    assert ended.returncode == 0, ended.stderr + ended.stdout
    launches = 0
    while (ended := launch(broken, flags)).returncode:
        launches += 1
        assert launches <= 2 * len(POINTS), ended.stderr + ended.stdout
    assert {flag.name for flag in flags.iterdir()} == {
        f"{when} {name}" for when in ("before", "after") for name in POINTS
    }
    for name in ("table", "problems"):
        assert_frame_equal(table(broken, name), table(whole, name), check_exact=True)
    assert metrics(broken) == metrics(whole)
    folders = [out / "studies" / "quickstart" for out in (whole, broken)]
    assert read_json(folders[0] / "verdicts.json") == read_json(folders[1] / "verdicts.json")
    assert (folders[1] / "report.html").read_text().rstrip().endswith("</html>")
    assert everything_learned(broken)


def everything_learned(out):
    """Whether the bases' loss fell and each RL step had a gradient: else nothing could have gone wrong."""
    bases = [[row["train/loss"] for row in read_metrics(folder)] for folder in out.glob("runs/base-*")]
    norms = [
        row["train/grad_norm"] for f in out.glob("runs/rl-*") for row in read_metrics(f) if "train/grad_norm" in row
    ]
    return all(losses[-1] < 0.9 * losses[0] for losses in bases) and len(norms) > 0 and min(norms) > 0
