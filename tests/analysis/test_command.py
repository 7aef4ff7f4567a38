"""The command writes its results whole, and refuses what it cannot analyse before writing anything."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from omegaconf import OmegaConf

from harness.analysis.calibration.simulate import KINDS, StudyDesign, draw_table
from harness.analysis.command import run
from harness.analysis.data.table_checks import TableError

CONFIG = Path(__file__).parents[2] / "configs" / "analyze.yaml"


def settings(**changes: object) -> dict:
    found = OmegaConf.to_container(OmegaConf.load(CONFIG))
    assert isinstance(found, dict)
    del found["defaults"]
    found["analysis"]["bootstraps"] = 20
    return {str(name): value for name, value in (found | changes).items()}


def test_without_a_table_the_error_shows_how_to_give_one() -> None:
    with pytest.raises(TableError, match=r"table=runs\.csv"):
        run(settings())


def test_a_bad_table_leaves_no_output(tmp_path: Path) -> None:
    pl.DataFrame({"run_id": ["a"], "arm": ["b"]}).write_csv(tmp_path / "bad.csv")
    with pytest.raises(TableError, match="missing columns"):
        run(settings(table=str(tmp_path / "bad.csv"), out=str(tmp_path / "out")))
    assert not (tmp_path / "out").exists()


def test_a_misspelt_setting_is_refused() -> None:
    with pytest.raises(ValueError, match="tabel"):
        run(settings(tabel="runs.csv"))


def test_a_simulated_table_can_be_written_and_an_unknown_kind_is_refused(tmp_path: Path) -> None:
    small = {"kind": "line", "design": {"seeds": 2, "problems": 16}}
    run(settings(action="simulate", out=str(tmp_path), simulate=small))
    assert pl.read_parquet(tmp_path / "table.parquet").height == 22
    with pytest.raises(TableError, match="the kinds are"):
        run(settings(action="simulate", out=str(tmp_path), simulate={"kind": "lin"}))


def test_before_and_after_of_a_table_is_printed(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    run(settings(action="simulate", out=str(tmp_path), simulate={"design": {"seeds": 2, "problems": 16}}))
    run(settings(action="before_after", table=str(tmp_path)))
    assert "| true_reward | 2 |" in capsys.readouterr().out


@pytest.mark.slow
def test_one_command_writes_verdicts_transfer_and_report(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    design = StudyDesign(seeds=5, problems=64)
    frame = pl.concat(
        draw_table(KINDS[kind], design, rng, arm=arm, task=f"t-{role}", role=role)
        for arm, kind in (("true_reward", "line_steep"), ("shuffled_within_group", "flat"))
        for role in ("verified", "unverified")
    )
    frame.write_csv(tmp_path / "runs.csv")
    run(settings(table=str(tmp_path / "runs.csv"), out=str(tmp_path / "out")))
    records = json.loads((tmp_path / "out" / "verdicts.json").read_text())
    wanted = {"arm", "task", "role", "verdict", "reason", "slope_per_decade", "slope_ci", "laws", "share_of_gain"}
    assert all(wanted | {"decades", "n_seeds", "sentences", "withheld"} <= set(record) for record in records)
    assert len(records) == 8
    assert json.loads((tmp_path / "out" / "transfer.json").read_text())["control"] == "shuffled_within_group"
    assert (tmp_path / "out" / "report.html").stat().st_size > 10_000
