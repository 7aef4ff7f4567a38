"""The studies that ship expand, the claims among them are registered, and their committed tables give their numbers."""

import functools
import json
import math
import time
from pathlib import Path

import polars as pl
import pytest
from hydra import compose, initialize_config_module

import harness.analysis.transfer.breadth as breadth
from harness.analysis.data.options import default_options
from harness.analysis.data.table import load_table
from harness.analysis.report.analyze import write_analysis
from harness.config.compose import Composer, plain
from harness.core.errors import UserError
from harness.study.expand import expand
from harness.study.tables import warmup_x
from scripts.commit_results import rounded, short
from tests.toys import CONFIGS

ROOT = CONFIGS.parent
STUDIES = sorted(path.stem for path in (CONFIGS / "study").glob("*.yaml") if path.stem != "atlas")  # a list of them
CLAIMS = ("rl_scaling", "transfer", "exposure", "breadth")
ANALYSED = sorted(path.parent for path in (ROOT / "docs" / "results").glob("*/verdicts.json"))


@functools.cache
def study_of(name):
    with initialize_config_module("configs", version_base="1.3"):
        overrides = [f"study={name}", "tracker=none", "device=cpu"]
        return expand(Composer("study"), overrides)


@pytest.mark.parametrize(
    "overrides",
    [
        ["study=quickstart", "rl.steps=3"],
        ["rl.steps=3", "study=transfer", "model=micro", "tasks.verified=[gcd.*, sorting.symbolic]"],
        ["study=algorithms", 'study.arms.grpo=["algo=grpo", "rl.steps=2"]', "+study.arms.more=[]"],
        ["reward=random_reward", "reward.length_penalty=0.5", "schedule.warmup=1", "schedule=wsd"],
        ["base.contexts.worded=0.0", "~study.arms.frozen", "base.contexts={symbolic: 2}", "optim.lr=1e-4"],
    ],
)
def test_what_is_composed_once_and_then_set_is_what_hydra_composes(overrides):
    with initialize_config_module("configs", version_base="1.3"):
        composer = Composer("study")
        composer(["study=quickstart", "rl.steps=7"])  # what was asked before leaves no trace
        assert composer(overrides) == plain(compose("study", overrides))


@pytest.mark.parametrize("overrides", [["rl.stepz=3"], ["model=none"], ["rl.steps"], ["model.widht=[1"]])
def test_what_hydra_refuses_is_refused(overrides):
    with initialize_config_module("configs", version_base="1.3"), pytest.raises(UserError):
        Composer("study")(overrides)


@pytest.mark.parametrize("name", STUDIES)
def test_every_study_that_ships_expands_and_each_run_of_an_arm_is_another(name):
    study = study_of(name)
    assert study.config.name == name
    for arm in study.config.arms:
        runs = [entry.run_id for entry in study.entries if entry.arm == arm]
        assert len(set(runs)) == len(runs) > 0


@pytest.mark.parametrize("name", CLAIMS)
def test_a_claim_is_registered_and_a_study_writes_into_its_output_folder(name):
    study, config = study_of(name), study_of(name).config
    assert config.registered is not None
    assert study.folder == Path("outputs/studies") / name
    assert config.base_seeds == "same"


def test_the_claims_share_their_bases():
    """So that a base is pretrained once: breadth's are transfer's, and these are the trunk's of rl_scaling."""
    bases = {name: {e.replicate[0] for e in study_of(name).entries if e.arm == "true_reward"} for name in CLAIMS}
    assert bases["breadth"] < bases["transfer"] < bases["rl_scaling"]


@pytest.mark.parametrize("name", ["rl_scaling", "transfer", "breadth"])
def test_no_claim_is_tuned_on_the_split_that_it_reports(name):
    assert {entry.config.evaluation.split for entry in study_of(name).entries} == {"test"}


def same(found, stored, where=""):
    """Equal JSON, numbers to rounding."""
    if isinstance(stored, dict):
        assert found.keys() == stored.keys(), where
        for key in stored:
            same(found[key], stored[key], f"{where}/{key}")
    elif isinstance(stored, list):
        assert len(found) == len(stored), where
        for i, (one, other) in enumerate(zip(found, stored)):
            same(one, other, f"{where}/{i}")
    elif isinstance(stored, float) and isinstance(found, float | int):
        assert math.isclose(found, stored, rel_tol=1e-4, abs_tol=1e-6), f"{where}: {found} is not {stored}"
    else:
        assert found == stored, where


@pytest.mark.slow
@pytest.mark.parametrize("folder", ANALYSED, ids=lambda folder: folder.name)
def test_a_committed_table_gives_the_committed_numbers_in_under_two_minutes(folder, tmp_path):
    study = study_of(folder.name)
    warmup = warmup_x(study, pl.read_parquet(folder / "table.parquet"))
    options = default_options(**{"warmup": warmup, **study.config.analysis})
    began = time.process_time()
    write_analysis(folder, tmp_path, options)
    assert time.process_time() - began < 120
    found, stored = (
        {n: json.loads((where / f"{n}.json").read_text()) for n in ("verdicts", "transfer")}
        for where in (tmp_path, folder)
    )
    same([rounded(short(record)) for record in found["verdicts"]], stored["verdicts"])
    same(found["transfer"], stored["transfer"])


@pytest.mark.slow
@pytest.mark.skipif(not (ROOT / "docs/results/breadth/breadth.json").is_file(), reason="not measured yet")
def test_the_slopes_of_breadth_come_from_its_table():
    folder = ROOT / "docs/results/breadth"
    options = default_options()
    found = breadth.breadth(load_table(folder), options.real_arm, options.primary_control)
    same(json.loads(json.dumps(found)), json.loads((folder / "breadth.json").read_text()))
