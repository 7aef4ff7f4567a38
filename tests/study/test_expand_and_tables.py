"""A study is arms x bases x seeds, shares what can be shared, and puts every row at the right x."""

import shutil
from dataclasses import replace

import polars as pl
import pytest
from hydra import initialize_config_module

from harness.config.compose import Composer
from harness.config.identity import base_id
from harness.core.errors import UserError
from harness.run.job import run_job
from harness.study.execute import report_study
from harness.study.expand import Entry, expand, expand_to_jobs, is_done, pending_jobs
from harness.study.tables import build_tables, runs_left_out, warmup_x, write_tables
from tests.toys import container, printed, run_all, silent, tiny

ARMS = {"true_reward": [], "shuffled_within_group": ["reward=shuffled_within_group"], "frozen": ["objective=frozen"]}


def study(tmp_path, arms=ARMS, seeds=(0, 1), base_seeds=(0,), axis="flops_convention", user=(), reuse=None, **more):
    def compose(overrides):
        whole = container(*overrides)
        about = {"name": "toy", "question": "?", "axis": axis, "arms": arms}
        about |= {"seeds": list(seeds), "base_seeds": base_seeds, **more}
        return {**whole, "out": str(tmp_path), "study": about, "reuse": reuse}

    return expand(compose, list(user))


def launched(found):
    run_all(found.jobs)
    return found


def test_a_study_is_arms_times_bases_times_seeds(tmp_path):
    found = study(tmp_path, base_seeds=(0, 7))
    assert [(e.arm, e.config.base.seed, e.config.seed) for e in found.entries] == [
        (arm, base, seed) for arm in ARMS for base in (0, 7) for seed in (0, 1)
    ]
    assert len({e.run_id for e in found.entries}) == 12
    shuffled = {e.config.reward.name for e in found.entries if e.arm == "shuffled_within_group"}
    assert shuffled == {"shuffled_within_group"}


def test_overrides_of_the_user_reach_every_arm_but_an_arm_stays_what_it_is(tmp_path):
    found = study(tmp_path, user=["rl.steps=8", "reward=format_reward"])
    assert {e.config.rl.steps for e in found.entries} == {8}
    rewards = {e.arm: e.config.reward.name for e in found.entries}
    assert rewards["shuffled_within_group"] == "shuffled_within_group"
    assert rewards["true_reward"] == "format_reward"


def test_a_choice_that_does_not_exist_is_refused_with_the_name_of_its_arm():
    with (
        initialize_config_module("configs", version_base="1.3"),
        pytest.raises(UserError, match=r"study\.arms\.mine: algo=nope: there is no such choice\n  .*There are: cispo"),
    ):
        expand(Composer("study"), ['+study.arms.mine=["algo=nope"]'])


def test_jobs_share_bases_and_runs_and_come_in_order(tmp_path):
    twice = {"a": [], "again": [], "longer": ["rl.steps=8"], "other": ["optim.lr=1e-3"]}
    entries = [Entry(arm, tiny(*changes, out=tmp_path)) for arm, changes in twice.items()]
    jobs = expand_to_jobs(entries, {"study": "toy"})
    assert [job.labels["arm"] for job in jobs] == ["base", "a", "other"]
    assert jobs[0].run_id == base_id(entries[0].config)
    assert all(job.needs == (jobs[0].run_id,) for job in jobs[1:])
    assert (jobs[1].until, jobs[1].budgets) == (8, (0, 1, 2, 4, 8))


def test_what_is_done_is_not_done_again_and_a_longer_budget_is_and_no_deleted_base_is_needed_for_it(tmp_path):
    jobs = expand_to_jobs([Entry("a", tiny(out=tmp_path))], {})
    assert pending_jobs(jobs) == jobs
    run_job(jobs[0], silent)
    assert [(job.run_id, job.needs) for job in pending_jobs(jobs)] == [(jobs[1].run_id, ())]
    run_job(jobs[1], silent)
    assert pending_jobs(jobs) == []
    (longer,) = pending_jobs(expand_to_jobs([Entry("a", tiny("rl.steps=8", out=tmp_path))], {}))
    assert (longer.run_id, longer.until) == (jobs[1].run_id, 8)
    (rescored,) = pending_jobs(expand_to_jobs([Entry("a", tiny("evaluation.samples=8", out=tmp_path))], {}))
    assert rescored.run_id == jobs[1].run_id
    shutil.rmtree(tmp_path / "runs" / jobs[0].run_id)
    assert not is_done(jobs[0])
    assert pending_jobs(jobs) == []


def test_the_run_table_holds_every_measurement_at_its_budget(tmp_path):
    found = launched(study(tmp_path))
    folder = write_tables(found)
    table = pl.read_parquet(folder / "table.parquet")
    # 3 arms x 2 seeds x budgets 0 1 2 4 x 2 tasks x 2 difficulties
    assert table.height == 3 * 2 * 4 * 2 * 2
    assert set(table["role"].unique()) == {"verified", "unverified"}
    assert (table.filter(pl.col("step") == 0)["x"] == 0).all()
    by_arm = table.filter(pl.col("step") > 0).group_by("arm").agg(pl.col("x").min())
    assert (by_arm["x"] > 0).all()
    problems = pl.read_parquet(folder / "problems.parquet")
    joined = problems.group_by("run_id", "x", "task", "difficulty").agg(pl.col("n_correct").sum().alias("sum"))
    both = table.join(joined, on=["run_id", "x", "task", "difficulty"])
    assert both.height == table.height
    assert (both["n_correct"] == both["sum"]).all()


def gathered(found):
    """Rows of the run table and of the problems table."""
    return [frame.to_dicts() for frame in build_tables(found)]


def test_the_frozen_arm_stands_at_the_budgets_of_the_first_arm(tmp_path):
    found = launched(study(tmp_path, seeds=(0, 1)))
    rows, _ = gathered(found)
    at = {arm: {(r["seed"], r["step"], r["x"]) for r in rows if r["arm"] == arm} for arm in ARMS}
    assert at["frozen"] == at["true_reward"] != at["shuffled_within_group"]


def test_a_frozen_row_whose_counterpart_is_not_there_yet_is_left_out_rather_than_put_at_zero(tmp_path):
    found = study(tmp_path, {"true_reward": [], "frozen": ["objective=frozen"]}, seeds=(0,))
    base, trained, frozen = found.jobs
    run_job(base, silent)
    run_job(replace(trained, until=1, budgets=(0, 1)), silent)
    run_job(frozen, silent)
    rows, _ = gathered(found)
    assert {row["step"] for row in rows if row["arm"] == "frozen"} == {0, 1}
    assert all((row["x"] == 0) == (row["step"] == 0) for row in rows)


@pytest.mark.parametrize(
    ("arms", "message"),
    [
        ({"a": [], "again": []}, "a and again are the same run"),
        ({"a": [], "again": ["rl.steps=8"]}, "a and again are the same run"),
        ({"a": [["rl.steps=4"], ["rl.steps=8"]]}, "two variants of a are the same run"),
        ({"base": []}, r"\.base: this is what the runs of pretrained bases"),
    ],
)
def test_arms_or_variants_that_are_one_run_and_an_arm_called_base_are_refused(tmp_path, arms, message):
    with pytest.raises(UserError, match=rf"study\.arms.*{message}"):
        study(tmp_path, arms, seeds=(0,))


def test_a_study_of_which_nothing_was_measured_says_so(tmp_path):
    with pytest.raises(UserError, match="nothing was measured"):
        write_tables(study(tmp_path))


def metrics_of(folder):
    return {path.parent.name: path.read_text() for path in folder.glob("runs/*/metrics.jsonl")}


@pytest.mark.parametrize(
    ("changes", "new_runs"),
    [
        ({"seeds": (0, 1, 2)}, 3),  # one more of each arm
        ({"arms": {**ARMS, "random_reward": ["reward=random_reward"]}}, 2),
        ({"base_seeds": (0, 7)}, 1 + 6),  # a base, and all runs that start from it
    ],
    ids=["seeds", "arms", "bases"],
)
def test_what_is_added_to_a_finished_study_is_all_that_runs(tmp_path, changes, new_runs):
    launched(study(tmp_path))
    before = metrics_of(tmp_path)
    grown = study(tmp_path, **changes)
    jobs = pending_jobs(grown.jobs)
    assert len(jobs) == new_runs
    assert not before.keys() & {job.run_id for job in jobs}
    run_all(jobs)
    assert before.items() <= metrics_of(tmp_path).items()
    assert pending_jobs(grown.jobs) == []


def test_budgets_added_to_a_finished_study_extend_its_runs_and_repeat_no_step(tmp_path):
    launched(study(tmp_path))
    before = metrics_of(tmp_path)
    longer = study(tmp_path, user=["rl.steps=8"])
    jobs = pending_jobs(longer.jobs)
    assert {job.run_id for job in jobs} == {entry.run_id for entry in longer.entries} < before.keys()
    run_all(jobs)
    trained = [entry.run_id for entry in longer.entries if entry.arm != "frozen"]
    after = metrics_of(tmp_path)
    assert all(after[run_id].startswith(before[run_id]) for run_id in trained)
    assert all(len(after[run_id]) > len(before[run_id]) for run_id in trained)


def reported(found):
    return printed(report_study, found, []), (found.folder / "report.html").read_text()


@pytest.mark.slow
def test_the_report_of_a_half_finished_study_says_so_and_that_of_a_finished_one_does_not(tmp_path):
    found = study(tmp_path)
    jobs = found.jobs
    half = [*jobs[:2], replace(jobs[2], until=2, budgets=(0, 1, 2)), jobs[5]]
    run_all(half)
    for text in reported(found):
        assert "4 of 6 runs are not done: this covers what was measured so far." in text
    launched(found)
    for text in reported(found):
        assert "runs are not done" not in text


def test_runs_that_a_study_no_longer_asks_for_are_said_and_never_lost(tmp_path):
    """They leave its tables; where their folders are gone, new tables are refused."""
    both, one = study(tmp_path), study(tmp_path, seeds=(0,))
    launched(both)
    write_tables(both)
    held = pl.read_parquet(both.folder / "table.parquet")
    assert runs_left_out(study(tmp_path)) == set()
    assert runs_left_out(one) == {entry.run_id for entry in both.entries if entry.config.seed == 1}
    write_tables(one)
    write_tables(study(tmp_path))
    without_runs(tmp_path)
    with pytest.raises(UserError, match="hold scores of 3 runs that this command does not include"):
        write_tables(study(tmp_path, seeds=(0,)))
    assert pl.read_parquet(both.folder / "table.parquet").sort(pl.all()).equals(held.sort(pl.all()))


@pytest.mark.parametrize("fewer", ["rl.steps=2", "evaluation.samples=8"])
def test_budgets_and_evaluations_that_a_study_no_longer_has_are_never_lost(tmp_path, fewer):
    """Where run folders hold the scores new tables are written without them; where the tables alone do, none are."""
    launched(found := study(tmp_path, seeds=(0,)))
    write_tables(found)
    held = pl.read_parquet(found.folder / "table.parquet")
    launched(other := study(tmp_path, seeds=(0,), user=[fewer]))
    write_tables(other)
    write_tables(study(tmp_path, seeds=(0,)))
    without_runs(tmp_path)
    launched(other := study(tmp_path, seeds=(0,), user=[fewer]))
    with pytest.raises(UserError, match="hold scores of 3 runs"):
        write_tables(other)
    assert pl.read_parquet(found.folder / "table.parquet").sort(pl.all()).equals(held.sort(pl.all()))


@pytest.mark.parametrize(
    ("last_steps", "counts"),
    [((8, 8), False), ((16, 16), False), ((32, 32), True), ((32, 4), False)],
    ids=["over before the window", "one budget in it", "two budgets in it", "one arm is too young"],
)
def test_warm_up_is_cut_off_where_every_arm_has_two_budgets_after_it(tmp_path, last_steps, counts):
    """A step of the second arm costs 2% less, so that its budgets lie a little before those of the first."""
    found = study(tmp_path, {"a": ["schedule.warmup=4"], "b": ["schedule.warmup=4", "optim.lr=1e-3"]})
    rows = [
        {"arm": arm, "step": step, "x": each * step}
        for arm, each, last in (("a", 100.0, last_steps[0]), ("b", 98.0, last_steps[1]))
        for step in (0, 1, 2, 4, 8, 16, 32)
        if step <= last
    ]
    assert warmup_x(found, pl.DataFrame(rows)) == (pytest.approx(4 * 99.0) if counts else 0.0)


def test_an_arm_of_several_lists_is_as_many_runs_of_each_seed(tmp_path):
    sizes = {"true_reward": [[], ["model.width=32"]], "decay": [["schedule=linear", f"rl.steps={n}"] for n in (2, 4)]}
    found = study(tmp_path, sizes, seeds=(0,))
    assert [e.config.model.width for e in found.entries] == [16, 32, 16, 16]
    assert len({e.run_id for e in found.entries}) == 4
    launched(found)
    rows, _ = gathered(found)
    decayed = {(r["step"], r["budgets_mode"]) for r in rows if r["arm"] == "decay" and r["step"] > 1}
    assert decayed == {(2, "decay"), (4, "decay")}


def test_rows_name_what_a_step_of_rl_draws(tmp_path):
    arms = {"a": [], "wide": ["rl.problems=3", "rl.group_size=5"], "not": ["objective=frozen"]}
    found = launched(study(tmp_path, arms, seeds=(0,)))
    rows, _ = gathered(found)
    drawn = {r["arm"]: (r["problems_per_step"], r["group_size"]) for r in rows}
    rl = found.entries[0].config.rl
    assert drawn == {"a": (rl.problems, rl.group_size), "wide": (3, 5), "not": (None, None)}


def test_each_seed_can_have_its_own_base(tmp_path):
    found = study(tmp_path, {"a": []}, seeds=(3, 4), base_seeds="same")
    assert [(e.config.base.seed, e.config.seed) for e in found.entries] == [(3, 3), (4, 4)]


def without_runs(tmp_path):
    shutil.rmtree(tmp_path / "runs")


def test_what_the_tables_of_a_study_hold_needs_neither_run_folders_nor_weights(tmp_path, monkeypatch):
    folder = str(tmp_path / "studies" / "toy")
    asked = {"user": ["tasks.held_out_difficulties=[3]"]}
    first = study(tmp_path, **asked)
    monkeypatch.setattr("harness.run.evaluations.code_version", lambda: "first")
    launched(first)
    write_tables(first)
    before = [pl.read_parquet(f"{folder}/{name}.parquet") for name in ("table", "problems")]
    without_runs(tmp_path)
    again = study(tmp_path, **asked)
    assert again.pending() == []
    write_tables(again)
    for old, name in zip(before, ("table", "problems")):
        new = pl.read_parquet(f"{folder}/{name}.parquet")
        assert new.select(sorted(new.columns)).equals(old.select(sorted(old.columns)))
    # One seed more: its runs and their base are all that is missing, and the table keeps what it had.
    more = study(tmp_path, seeds=(0, 1, 2), **asked)
    monkeypatch.setattr("harness.run.evaluations.code_version", lambda: "later")
    jobs = more.pending()
    assert [job.labels["arm"] for job in jobs] == ["base", *ARMS]
    run_all(jobs)
    write_tables(more)
    table = pl.read_parquet(f"{folder}/table.parquet")
    assert table.height == before[0].height * 3 // 2
    assert table["pretrain_tokens"].null_count() == 0
    # Each row says what measured it, whatever writes the table.
    assert table["code_version"].eq("first").to_list() == table["seed"].lt(2).to_list()
    assert set(table["code_version"]) == {"first", "later"}
    # A longer budget, or another evaluation, is not in the tables.
    for user in (["rl.steps=8"], ["evaluation.samples=8"]):
        other = study(tmp_path, user=[*asked["user"], *user])
        assert len(other.pending()) == 6  # the base is there again


def test_difficulties_that_are_only_evaluated_are_unverified_tasks_of_their_own(tmp_path):
    found = launched(study(tmp_path, {"a": []}, seeds=(0,), user=["tasks.held_out_difficulties=[3]"]))
    rows, problems = gathered(found)
    longer = {"toy.symbolic longer", "toy.worded longer"}
    assert {(r["task"], r["role"]) for r in rows if r["difficulty"] == 3} == {(task, "unverified") for task in longer}
    assert {r["task"] for r in problems if r["difficulty"] == 3} == longer
    plainly = study(tmp_path, {"a": []}, seeds=(0,))
    assert [e.run_id for e in plainly.entries] == [e.run_id for e in found.entries]


def test_rows_of_a_sequence_hold_the_phase_of_their_task_and_how_many_have_ended(tmp_path):
    phases = ["tasks.sequence=true", "tasks.verified=[toy.symbolic,reversal.symbolic]", "rl.steps=3", "budgets=[0]"]
    found = launched(study(tmp_path, {"plain": ["rl.steps=1"], "sequence": phases}, seeds=(0,)))
    table, _ = build_tables(found)
    own = table.filter(pl.col("arm") == "sequence")
    phase_of = dict(own.select("task", "phase").unique().rows())
    assert phase_of == {"toy.symbolic": 1, "reversal.symbolic": 2, "toy.worded": None}
    assert set(own.select("step", "phases_ended").rows()) == {(0, 0), (1, 1), (3, 2)}
    assert table.filter(pl.col("arm") == "plain")["phase"].null_count() == (table["arm"] == "plain").sum()
