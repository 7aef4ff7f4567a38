"""rl.stop_at ends a run at a step that nothing but its identity decides, and for good."""

from dataclasses import replace

import pytest

from envs.splits import split_of
from harness.config.identity import evaluation_id, run_id
from harness.run import early_end
from harness.run.checkpoint import saved_steps
from harness.run.folder import run_folder
from harness.run.job import run_job
from harness.run.remaining import reached_step, remaining_work
from harness.run.tracker import read_metrics
from harness.study.expand import is_done
from harness.study.plan import Rates, cost
from harness.study.status import job_state
from tests.run.test_job import assert_same_weights
from tests.toys import rl_job, silent, tiny, train

# The toy base is right in four cases of ten, and passes .7 within some steps.
STOPS = ("rl.steps=24", "rl.stop_at.accuracy=0.7")


def steps_trained(folder):
    return [row["compute/step"] for row in read_metrics(folder.path) if "train/loss" in row]


@pytest.fixture(scope="module")
def ended(tmp_path_factory):
    config = tiny(*STOPS, out=tmp_path_factory.mktemp("ended"))
    rows = []
    train(config, rows.append)
    return config, run_folder(config.out, run_id(config)), rows


def test_a_run_ends_where_it_is_good_enough_and_is_done(ended):
    config, folder, rows = ended
    job, end = rl_job(config), folder.end
    assert 0 < end < 24
    assert early_end.is_checked(end)
    assert steps_trained(folder) == [*range(1, end + 1)]
    assert reached_step(folder) == folder.status()["step"] == end == saved_steps(folder.checkpoints)[-1]
    assert remaining_work(job).is_empty
    assert is_done(job)
    assert job_state(job) == ("done", end, "")
    assert cost(job, Rates(1e9, 1e9)).tokens == 0
    (said,) = (row["ended"] for row in rows if "ended" in row)
    assert said.startswith(f"ended at step {end} of 24: validation accuracy is ")


def test_it_is_scored_at_its_budgets_and_its_end_and_never_beyond(ended):
    config, folder, _ = ended
    scored = {step for step in range(25) if folder.evaluation(evaluation_id(config), step).is_file()}
    assert scored == {*(b for b in config.budget_steps() if b <= folder.end), folder.end}


def test_up_to_its_end_it_is_the_run_without_an_end(ended, tmp_path):
    config, folder, _ = ended
    free = train(tiny("rl.steps=24", f"budgets=[0,1,2,4,{folder.end}]", out=tmp_path))
    for step in set(saved_steps(folder.budgets)) & {1, 2, 4, folder.end}:
        assert_same_weights(folder.path / "budgets" / f"step-{step:08d}", free / "budgets" / f"step-{step:08d}")
    assert run_id(config) != free.name


def test_no_sequence_of_launches_moves_the_end(ended, tmp_path):
    _, folder, _ = ended
    for steps, budgets in ((1, "[1]"), (3, "[0,3]"), (20, "[0,7]"), (24, "log2")):
        config = tiny(f"rl.steps={steps}", f"budgets={budgets}", STOPS[1], "evaluation.samples=8", out=tmp_path)
        train(config)
        assert remaining_work(rl_job(config)).is_empty
    again = run_folder(tmp_path, run_id(config))
    assert (again.path.name, again.end) == (folder.path.name, folder.end)
    assert steps_trained(again) == [*range(1, folder.end + 1)]


def test_a_run_killed_before_its_end_was_written_ends_there_without_another_step(ended, tmp_path):
    _, folder, _ = ended
    mine = tiny(*STOPS, out=tmp_path)
    own = run_folder(tmp_path, train(mine).name)
    before = (own.path / "metrics.jsonl").read_text()
    (own.path / "ended.json").unlink()
    own.set_status("running", own.status()["step"])
    run_job(rl_job(mine), silent)
    assert own.end == folder.end
    assert (own.path / "metrics.jsonl").read_text() == before


def test_a_budget_asked_later_is_measured_up_to_the_end_by_training_again_beside_the_run(tmp_path):
    train(tiny(*STOPS, "budgets=[0,24]", out=tmp_path))
    later = tiny(*STOPS, "budgets=[0,2,23,24]", out=tmp_path)
    job, folder = rl_job(later), run_folder(tmp_path, run_id(later))
    assert remaining_work(job).missing_weights == (2,)
    run_job(job, silent)
    assert remaining_work(job).is_empty
    assert folder.evaluation(evaluation_id(later), 2).is_file()
    assert steps_trained(folder)[-1] == folder.end


def test_seconds_end_a_run_at_any_step_but_not_a_replay_of_it(tmp_path):
    settings = ("rl.stop_at.seconds=1e-9", "budgets=[0,4]")
    folder = run_folder(tmp_path, train(tiny(*settings, out=tmp_path)).name)
    assert folder.end == 1
    never = tiny("rl.stop_at.seconds=1e9", "budgets=[0,4]", "save.keep=1", out=tmp_path)
    folder = run_folder(tmp_path, train(never).name)
    assert (folder.end, reached_step(folder)) == (None, 4)
    folder.set_end(3, "as if it had been slower")
    job = replace(rl_job(never), budgets=(0, 2, 4))
    assert (remaining_work(job).until, remaining_work(job).missing_weights) == (3, (2,))
    run_job(job, silent)
    assert remaining_work(job).is_empty


def test_accuracy_is_that_of_validation_problems_of_the_verified_tasks():
    config = tiny(*STOPS, "tasks.held_out_difficulties=[3]")
    suite = early_end.validation_suite(config)
    assert {cell.task for cell in suite} == {"toy.symbolic"}
    assert {cell.difficulty for cell in suite} == {1, 2}
    assert {split_of(p) for cell in suite for p in cell.problems} == {"validation"}


def test_settings_of_the_evaluation_do_not_change_on_which_problems_a_run_ends():
    one, other = (early_end.validation_suite(tiny(*STOPS, *more)) for more in
                  ((), ("evaluation.problems=7", "evaluation.seed=5", "evaluation.split=test")))  # fmt: skip
    assert one == other


def test_accuracy_is_measured_at_log_spaced_steps():
    steps = [step for step in range(70) if early_end.is_checked(step)]
    assert steps == [1, 2, 3, 4, 6, 8, 11, 16, 23, 32, 45, 64]
