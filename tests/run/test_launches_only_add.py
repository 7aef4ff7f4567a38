"""Whatever a sequence of launches asks of a run, what it has is never shortened, replaced or relabelled."""

import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harness.config.identity import base_id, run_id
from harness.run import callbacks, torchrun
from harness.run.checkpoint import saved_steps
from harness.run.folder import run_folder
from harness.run.job import run_job
from harness.run.remaining import reached_step, remaining_work
from harness.run.tracker import read_metrics
from harness.study.expand import Entry, expand_to_jobs, is_done, pending_jobs
from harness.study.plan import Rates, cost
from harness.study.status import job_state
from tests.run.test_job import assert_same_weights
from tests.toys import base_job, rl_job, silent, tiny, train

LAST = 5
LEAST = {"log2": 1, "[0]": 1, "[3]": 3, "[1,2,3]": 3, "[0,4]": 4}  # steps that reach these budgets
LAUNCHES = st.lists(
    st.tuples(
        st.integers(1, LAST),  # rl.steps
        st.sampled_from([*LEAST]),  # budgets
        st.sampled_from([4, 8]),  # evaluation.samples
        st.sampled_from(["rl", "rl", "rl", "frozen"]),
        st.sampled_from(["true_reward", "other", "sweep"]),  # arm
    ).filter(lambda launch: launch[0] >= LEAST[launch[1]]),
    min_size=2,
    max_size=5,
)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    out = tmp_path_factory.mktemp("base")
    run_job(base_job(tiny(out=out)), silent)
    return out


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    """A run of all steps, weights kept at each."""
    return train(tiny(f"rl.steps={LAST}", "budgets=[0,1,2,3,4,5]", out=tmp_path_factory.mktemp("unbroken")))


def kept(folder):
    """Bytes of all files that a later launch must leave as they are."""
    names = ("budgets", "evaluations", "samples")
    return {path: path.read_bytes() for name in names for path in (folder.path / name).rglob("*") if path.is_file()}


def check_launch(config, arm):
    """Runs the job, and compares the run's folder before and after."""
    job = replace(rl_job(config), labels={"study": "single", "arm": arm})
    folder, metrics = run_folder(config.out, job.run_id), run_folder(config.out, job.run_id).path / "metrics.jsonl"
    files, labels, reached = kept(folder), folder.labels(), reached_step(folder)
    rows = metrics.read_text() if metrics.is_file() else ""
    newest, work = max(saved_steps(folder.checkpoints), default=0), remaining_work(job)
    described = (folder.path / "config.json").read_text() if newest else None
    run_job(job, silent)
    after = kept(folder)
    assert files.items() <= after.items()
    assert metrics.read_text().startswith(rows)
    assert folder.labels()[: len(labels)] == labels
    assert job.labels in folder.labels()
    assert reached_step(folder) == folder.status()["step"] == max(reached, job.until)
    assert folder.status()["state"] == "done"
    if config.objective == "rl":
        assert max(saved_steps(folder.checkpoints)) == max(newest, job.until)
        trained = [row["compute/step"] for row in read_metrics(folder.path) if "train/loss" in row]
        assert trained == [*range(1, max(reached, job.until) + 1)]
        if job.until <= reached:
            assert metrics.read_text() == rows
            assert (folder.path / "config.json").read_text() == described
    assert (work.until - work.start) == (max(job.until - reached, 0) if config.objective == "rl" else 0)
    assert remaining_work(job).is_empty
    assert not folder.replay.exists()


def check_sequence(base, unbroken, launches):
    with tempfile.TemporaryDirectory() as out:
        shutil.copytree(base, out, dirs_exist_ok=True)
        for steps, budgets, samples, objective, arm in launches:
            settings = (f"rl.steps={steps}", f"budgets={budgets}", f"evaluation.samples={samples}")
            check_launch(tiny(*settings, f"objective={objective}", out=out), arm)
        everything = tiny(f"rl.steps={LAST}", "budgets=[0,1,2,3,4,5]", out=out)
        check_launch(everything, "last")
        assert_same_weights(run_folder(out, run_id(everything)).path, unbroken)


@settings(max_examples=6, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(LAUNCHES)
def test_a_launch_only_adds_to_a_run(base, unbroken, launches):
    check_sequence(base, unbroken, launches)


@pytest.mark.slow
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(LAUNCHES)
def test_a_launch_only_adds_to_a_run_whatever_the_sequence(base, unbroken, launches):
    check_sequence(base, unbroken, launches)


def test_a_longer_run_is_recorded_under_its_first_labels_and_a_shorter_one_not_at_all(tmp_path, monkeypatch):
    opened, real = [], callbacks.open_tracker
    monkeypatch.setattr(callbacks, "open_tracker", lambda *args: (opened.append(args[4]), real(*args))[1])
    run_job(base_job(tiny(out=tmp_path)), silent)
    opened.clear()
    for steps, arm in ((2, "first"), (4, "second"), (3, "third")):
        run_job(replace(rl_job(tiny(f"rl.steps={steps}", out=tmp_path)), labels={"arm": arm}), silent)
    assert [labels["arm"] for labels in opened] == ["first", "first"]
    folder = run_folder(tmp_path, run_id(tiny(out=tmp_path)))
    assert [labels["arm"] for labels in folder.labels()] == ["first", "second", "third"]


def test_plan_status_and_launch_agree_on_what_remains(tmp_path):
    """A shorter request with a new budget, of which no weights were kept: its steps are trained again, and counted."""
    train(tiny("rl.steps=6", "budgets=[0,6]", "save.keep=1", out=tmp_path))
    config, rates = tiny("rl.steps=3", "budgets=[0,2]", out=tmp_path), Rates(1e9, 1e9)
    jobs = expand_to_jobs([Entry("a", config)], {"study": "single"})
    (job,) = pending_jobs(jobs)
    work = remaining_work(job)
    assert (work.start, work.until, work.evaluate, work.missing_weights) == (3, 3, (2, 3), (2, 3))
    assert work.steps == 3
    fresh = rl_job(tiny("rl.steps=3", "budgets=[0,2]", "seed=9", out=tmp_path))
    assert cost(job, rates).tokens == pytest.approx(cost(fresh, rates).tokens)
    assert job_state(job)[0] != "done"
    rows = []
    run_job(job, rows.append)
    assert max(row["step"] for row in rows if "step" in row) == 3
    assert is_done(job)
    assert pending_jobs(jobs) == []
    assert cost(job, rates).tokens == 0
    assert job_state(job)[0] == "done"


def test_a_stack_of_runs_that_have_come_less_and_farther_shortens_none(tmp_path):
    from harness.run.job import run_stack

    far, near = (tiny("rl.steps=6", "backend=eager", f"seed={seed}", out=tmp_path) for seed in (0, 1))
    run_job(base_job(far), silent)
    run_job(rl_job(far), silent)
    run_job(replace(rl_job(near), until=2, budgets=(0, 1, 2)), silent)
    paths = [Path(tmp_path) / "runs" / run_id(config) / "metrics.jsonl" for config in (far, near)]
    before = [path.read_text() for path in paths]
    run_stack([replace(rl_job(config), until=4, budgets=(0, 1, 2, 4)) for config in (far, near)], lambda job, row: None)
    assert paths[0].read_text() == before[0]
    assert paths[1].read_text().startswith(before[1])
    assert [saved_steps(path.parent / "checkpoints")[-1] for path in paths] == [6, 4]


class Killed(BaseException):
    """In the place of a signal that leaves a process no time to save."""


def test_rows_after_the_last_checkpoint_of_a_killed_process_survive_a_shorter_request(
    base, unbroken, tmp_path, monkeypatch
):
    """No weights are behind them: the steps are trained again, as far as the killed process had come."""
    shutil.copytree(base, tmp_path, dirs_exist_ok=True)
    settings = (f"rl.steps={LAST}", "budgets=[0,1,2,3,4,5]")

    def kill(row):
        if row.get("step") == 4:
            raise Killed

    monkeypatch.setattr(callbacks, "SECONDS_BETWEEN_REPORTS", 0.0)
    with pytest.raises(Killed):
        run_job(rl_job(tiny(*settings, out=tmp_path)), kill)
    folder = run_folder(tmp_path, run_id(tiny(*settings, out=tmp_path)))
    assert saved_steps(folder.checkpoints) == []
    before = [row["compute/step"] for row in read_metrics(folder.path)]
    assert before[-1] == 4
    shorter = tiny("rl.steps=2", "budgets=[0,2]", out=tmp_path)
    torchrun._copy(tmp_path, tmp_path / "rank-1", (folder.run_id, base_id(shorter)))
    assert remaining_work(rl_job(replace(shorter, out=str(tmp_path / "rank-1")))) == remaining_work(rl_job(shorter))
    run_job(rl_job(shorter), silent)
    trained = [row["compute/step"] for row in read_metrics(folder.path) if "train/loss" in row]
    assert trained == [1, 2, 3, 4]
    assert saved_steps(folder.checkpoints)[-1] == folder.status()["step"] == 4
    run_job(rl_job(tiny(*settings, out=tmp_path)), silent)
    assert_same_weights(folder.path, unbroken)
