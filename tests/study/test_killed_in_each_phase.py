"""A study whose processes are killed once before and once after each kind of file gets its name: in pretraining, RL,
evaluation, tables, verdicts and report."""

import os
import subprocess
from pathlib import Path

import pytest

from harness.core.files import read_json
from harness.run.tracker import read_metrics
from tests.launch.whole_study import check_same, command, metrics, study

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
LEARNING = ["base.steps=30", "base.documents=32", "rl.steps=12", "save.seconds=1e-6", "study.seeds=[0,1]"]
LEARNING += ["launcher.jobs=2", "launcher.retries=20"]


def launch(out, flags):
    """One launch of the study, killed at what is left of POINTS by the folder of flags."""
    flags.mkdir(exist_ok=True)
    path = os.pathsep.join([str(Path(__file__).parent / "killed"), os.environ.get("PYTHONPATH", "")])
    points = "\n".join(f"{k}={v}" for k, v in POINTS.items())
    env = {**os.environ, "KILL_FLAGS": str(flags), "KILL_POINTS": points, "PYTHONPATH": path}
    return subprocess.run(command(out, *LEARNING), cwd=out, env=env, capture_output=True, text=True, check=False)


def test_a_study_killed_before_and_after_each_file_of_each_phase_ends_as_an_unbroken_one(tmp_path):
    whole, broken, flags = tmp_path / "whole", tmp_path / "broken", tmp_path / "flags"
    study(whole, *LEARNING)
    launches = 0
    while (ended := launch(broken, flags)).returncode:
        launches += 1
        assert launches <= 2 * len(POINTS), ended.stderr + ended.stdout
    moments = {f"{when} {name}" for when in ("before", "after") for name in POINTS}
    assert {flag.name for flag in flags.iterdir()} == moments
    check_same(broken, whole)
    assert metrics(broken) == metrics(whole)
    folders = [out / "studies" / "skills" for out in (whole, broken)]
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
