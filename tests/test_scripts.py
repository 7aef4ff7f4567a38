"""The scripts as a person starts them, with W&B writing its real files offline."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.toys import TINY
from tests.wandb_files import wandb_runs_by_id

ROOT = Path(__file__).parent.parent
SETTINGS = [setting for setting in TINY if not setting.startswith("tracker")]


def script(name, *arguments, cwd, run_by=()):
    """A script run to its end; run_by: options of Python before it, as of torchrun."""
    python_path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    env = {**os.environ, "WANDB_MODE": "offline", "PYTHONPATH": python_path, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, *run_by, str(ROOT / "scripts" / f"{name}.py"), *arguments]
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False)


def runs_of(out, kind):
    return sorted(path for path in (out / "runs").iterdir() if path.name.startswith(kind))


@pytest.mark.slow
def test_a_run_that_is_extended_keeps_its_w_and_b_id_and_its_steps_go_on(tmp_path):
    for steps in (4, 6):
        settings = [*SETTINGS, f"rl.steps={steps}", "tracker=wandb", f"out={tmp_path}"]
        ended = script("train", *settings, cwd=tmp_path)
        assert ended.returncode == 0, ended.stderr + ended.stdout
    (folder,) = runs_of(tmp_path, "rl-")
    _, second = wandb_runs_by_id(tmp_path)[folder.name]
    assert [row["compute/step"] for row in second["rows"] if "train/loss" in row] == [5, 6]
