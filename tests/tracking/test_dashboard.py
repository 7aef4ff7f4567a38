"""The workspace shows every arm, task and slope of a study; agents of a W&B sweep call what the scripts understand."""

import json
import os
import subprocess
import sys
from pathlib import Path
from unittest.mock import Mock

import pytest
import yaml

from harness.config.compose import plain
from harness.config.parse import parse
from harness.core.errors import UserError
from harness.run.tracker import open_tracker
from harness.tracking.dashboard import save, workspace, write
from harness.tracking.publish import summary_of
from tests.analysis.study_tables import FAMILIES, study_frame
from tests.toys import CONFIGS
from tests.wandb_files import wandb_tracker

# wandb-workspaces 0.4.13 still writes validators in pydantic's old way.
pytestmark = pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecatedSince20")
ARMS = ("true_reward", "frozen")


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "manifest.json").write_text(json.dumps({"study": {"name": "quick"}}))
    study_frame(seeds=1).write_parquet(tmp_path / "table.parquet")
    records = [
        {"arm": arm, "role": role, "task": task, "verdict": "flat", "withheld": False, "slope_per_decade": 0.0,
         "slope_ci": None}
        for arm in ARMS for role in ("verified", "unverified") for task in ("all", "sorting")
    ]  # fmt: skip
    (tmp_path / "verdicts.json").write_text(json.dumps(records))
    return tmp_path


def panels(path: Path) -> dict[str, list[dict]]:
    """Section -> what its panels are configured with, of a workspace as it is sent to W&B."""
    spec = json.loads(path.read_text())["spec"]["section"]
    sections = spec["panelBankConfig"]["sections"]
    return {one["name"]: [panel["config"] for panel in one["panels"]] for one in sections}


def test_a_workspace_draws_arms_over_seeds_on_a_log_axis(folder):
    path = write(workspace(folder, "me", "lab", "compute/tokens"), folder / "workspace.json")
    for panel, context in zip(panels(path)["Learning curves"], ("symbolic", "worded"), strict=True):
        assert panel["metrics"] == [f"eval/{family}_{context}/mean@1" for family in FAMILIES]
        assert (panel["xAxis"], panel["xLogScale"], panel["groupBy"]) == ("compute/tokens", True, "jobType")
        assert (panel["groupAgg"], panel["groupArea"]) == ("mean", "stddev")
    (runs,) = json.loads(path.read_text())["spec"]["section"]["runSets"]
    (only,) = runs["filters"]["filters"]
    assert (only["key"]["name"], only["value"]) == ("group", "quick")


def test_transfer_is_a_point_for_each_run_and_family(folder):
    drawn = panels(write(workspace(folder, "me", "lab", "compute/step"), folder / "w.json"))
    scatter = [(one["xAxis"], one["yAxis"]) for one in drawn["Transfer: unverified against verified"]]
    assert scatter == [
        (f"summary:eval/{family}_symbolic/mean@1", f"summary:eval/{family}_worded/mean@1") for family in FAMILIES
    ]


def test_slope_bars_are_those_that_the_analysis_run_publishes(folder):
    """Both ends name a slope alike."""
    summary = summary_of(json.loads((folder / "verdicts.json").read_text()), {})
    drawn = panels(write(workspace(folder, "me", "lab", "compute/step"), folder / "w.json"))
    slopes = [f"summary_metrics.{name}" for name in summary if name.startswith("slope/")]
    assert drawn["Slopes (of the analysis run)"][0]["metrics"] == slopes


def test_a_folder_that_is_no_study_is_refused(folder):
    (folder / "verdicts.json").unlink()
    with pytest.raises(UserError, match=r"holds no verdicts\.json\n.*has run"):
        workspace(folder, "me", "lab", "compute/step")


def test_a_failure_to_save_is_said(folder, monkeypatch):
    view = workspace(folder, "me", "lab", "compute/step")
    monkeypatch.setattr(type(view), "save", Mock(side_effect=ConnectionError("no route to host")))
    with pytest.raises(UserError, match="no route to host"):
        save(view)


def sweep_command() -> list[str]:
    """What W&B's agent would run for the first combination, by its own expansion."""
    from wandb.sdk.launch.sweeps.utils import create_sweep_command_args

    sweep = yaml.safe_load((CONFIGS / "wandb_sweep.yaml").read_text())
    first = {name: {"value": p["value"] if "value" in p else p["values"][0]} for name, p in sweep["parameters"].items()}
    given = {"${env}": [], "${interpreter}": ["python"]}
    given["${args_no_hyphens}"] = create_sweep_command_args({"args": first})["args_no_hyphens"]
    return [word for part in sweep["command"] for word in given.get(part, [part])]


def test_an_agent_calls_the_training_script_with_settings_that_it_knows():
    from hydra import compose, initialize_config_module

    command = sweep_command()
    assert command[:2] == ["python", "scripts/train.py"]
    with initialize_config_module("configs", version_base="1.3"):
        config = parse(plain(compose("train", command[2:])))
    assert (config.evaluation.split, config.seed, config.optim.lr) == ("validation", 0, 1e-4)


def test_the_base_of_an_agents_run_stays_out_of_its_w_and_b_run(tmp_path, monkeypatch):
    import wandb

    opened = []

    def init(**options):
        opened.append(options["job_type"])
        raise wandb.Error("no server here")

    monkeypatch.setattr(wandb, "init", init)
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SWEEP_ID", "abc")
    config = wandb_tracker(tmp_path)
    with open_tracker(config, tmp_path, "base-1", {}, {"arm": "base"}) as tracker:
        tracker.log({"compute/step": 1})
    with pytest.warns(UserWarning, match="no server here"), open_tracker(config, tmp_path, "rl-1", {}, {"arm": "x"}):
        pass
    assert opened == ["x"]


@pytest.mark.slow
def test_without_a_login_the_script_writes_the_workspace_and_says_how_to_save_it(folder, tmp_path):
    root = CONFIGS.parent
    kept = {name: value for name, value in os.environ.items() if not name.startswith("WANDB")}
    env = {**kept, "NETRC": str(tmp_path / "no-netrc"), "PYTHONPATH": str(root)}
    command = [sys.executable, str(root / "scripts" / "dashboard.py"), f"folder={folder}"]
    ended = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert "not logged in" in ended.stdout
    assert "Learning curves" in panels(folder / "workspace.json")
