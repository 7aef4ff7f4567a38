"""The plan of a launch, and its progress lines."""

import io
import re
from dataclasses import replace

import pytest
from rich.console import Console

from harness.config.identity import base_id
from harness.config.parse import dump
from harness.launch.jobs import JobResult
from harness.run.job import run_job
from harness.study.expand import Entry, expand_to_jobs, pending_jobs
from harness.study.plan import Rates, cost, format_gb, plan_table
from harness.study.progress import ProgressView, job_name, progress_summary
from tests.policy.conftest import needs_compiler
from tests.toys import base_job, printed, rl_job, tiny, train

RATES = Rates(update=1e9, sampling=1e9)


def test_the_plan_counts_a_run_as_rl_also_when_its_base_is_there_already(tmp_path):
    config = tiny(out=tmp_path)
    jobs = expand_to_jobs([Entry("a", config)], {})
    before = cost(jobs[1], RATES)
    run_job(jobs[0], lambda row: None)
    (left,) = pending_jobs(jobs)
    assert cost(left, RATES) == before
    assert not before.is_base
    assert cost(jobs[0], RATES).is_base


def test_the_plan_of_a_longer_run_counts_only_what_is_missing(tmp_path):
    train(tiny(out=tmp_path))
    longer, other = tiny("rl.steps=12", out=tmp_path), tiny("evaluation.samples=8", out=tmp_path)
    fresh = tiny("rl.steps=12", "seed=7", out=tmp_path)
    rest, whole = cost(rl_job(longer), RATES), cost(rl_job(fresh), RATES)
    assert rest.tokens == pytest.approx(whole.tokens * 8 / 12)
    # Scored at 0, 1, 2 and 4; 8 and 12 are missing.
    assert rest.evaluation_flops == pytest.approx(whole.evaluation_flops * 2 / 6)
    scored_anew = cost(rl_job(other), RATES)
    assert scored_anew.tokens == 0
    assert scored_anew.evaluation_flops > 0


def test_the_plan_times_sampling_and_updates_each_at_its_own_rate(tmp_path):
    def seconds(config, *rates):
        return cost(rl_job(config), Rates(*rates)).seconds

    config, never = tiny(out=tmp_path), float("inf")
    updates, sampling = seconds(config, 1e9, never), seconds(config, never, 1e9)
    assert min(updates, sampling) > 0
    assert seconds(config, 1e9, 1e9) == pytest.approx(updates + sampling)
    assert seconds(tiny("objective=frozen", out=tmp_path), 1e9, never) == 0
    # As many completions with half of the prompts.
    assert seconds(tiny("rl.problems=2", "rl.group_size=8", out=tmp_path), 1e9, never) < updates


def planned(config):
    jobs = expand_to_jobs([Entry("a", config)], {})
    return printed(lambda console: console.print(plan_table(jobs, jobs, 2, {})))


def test_the_plan_is_written_before_anything_is_spent(tmp_path):
    text = planned(tiny(out=tmp_path))
    assert "2 to do, 0 done; 2 at once" in text
    assert all(word in text for word in ("policy", "tokens", "FLOPs", "time", "disk"))
    assert list(tmp_path.iterdir()) == []


@needs_compiler
@pytest.mark.parametrize(
    ("override", "reason"), [("model.mlp=40", "model.mlp of 16"), ("model.norm=layernorm", "model.norm=rmsnorm")]
)
def test_the_plan_says_what_makes_steps_slower(tmp_path, override, reason):
    assert "eager" not in planned(tiny(out=tmp_path))
    assert f"{reason} " in planned(tiny(override, out=tmp_path)).partition("backend")[2]


def test_the_plan_says_that_a_compiler_is_missing(tmp_path, monkeypatch):
    monkeypatch.setattr("harness.policy.backends.native.library", lambda: None)
    monkeypatch.setattr("harness.policy.backends.native.missing_reason", lambda: "no C compiler (cc)")
    assert "no C compiler (cc)" in planned(tiny(out=tmp_path)).partition("backend")[2]


def test_progress_shows_accuracy_zero_advantage_groups_and_speed(tmp_path):
    rows = []
    train(tiny(out=tmp_path), rows.append)
    lines = [progress_summary(row) for row in rows if "train/loss" in row]
    assert any(line.startswith("loss") for line in lines)
    assert any(all(word in line for word in ("accuracy", "zero-advantage", "tokens/s")) for line in lines)
    assert progress_summary({"step": 3}) == ""


def test_in_a_log_file_each_end_is_one_plain_line_and_a_failure_is_said():
    out = Console(file=io.StringIO(), width=200)
    config = tiny()
    jobs = expand_to_jobs([Entry("true_reward", config)], {})
    with ProgressView(jobs, out) as view:
        view.update(jobs[0], {"step": 1, "until": 3, "train/loss": 2.0})
        view.update(jobs[0], {"alarm": "planted [/here]"})
        view.update(jobs[1], {"alarm": "planted [/here]"})
        view.finish(JobResult(jobs[0], "done", 2.0))
        view.finish(JobResult(jobs[1], "failed", error="Traceback\nZeroDivisionError: planted"))
    text = out.file.getvalue()
    assert "base seed 0 done in 2 s" in text
    assert "alarm base seed 0: planted [/here]" in text
    assert "alarm true_reward seed 0: as base seed 0" in text  # many runs of one base have the same
    assert "failed true_reward seed 0: ZeroDivisionError: planted" in text


def test_start_up_does_not_count_in_the_time_left(monkeypatch):
    """100 s of start-up before the first of 40 steps: at a step a second 20 are left, not four times as many."""
    out, clock = Console(file=io.StringIO(), width=200), [0.0]
    monkeypatch.setattr("harness.study.progress.time.monotonic", lambda: clock[0])
    (job, _) = expand_to_jobs([Entry("true_reward", tiny())], {})
    job = replace(job, until=40)
    with ProgressView([job], out) as view:
        for step, at in ((1, 100.0), (20, 119.0), (40, 139.0)):
            clock[0] = at
            view.update(job, {"step": step, "until": 40, "train/loss": 2.0})
    first, later, last = out.file.getvalue().splitlines()
    assert "left" not in first
    assert "about 20 s left" in later
    assert "left" not in last


def test_a_job_is_called_by_its_arm_and_seed():
    base, run = expand_to_jobs([Entry("true_reward", tiny("base.seed=4", "seed=2"))], {"study": "x"})
    assert (job_name(base), job_name(run)) == ("base seed 4", "true_reward seed 2")
    assert base.run_id == base_id(tiny("base.seed=4"))
    assert base.run == dump(tiny("base.seed=4", "seed=2"))


def test_the_plan_counts_what_is_thought_before_answers():
    config = tiny("base.scratchpad_share=0.5")
    thinking = tiny("base.scratchpad_share=0.5", "sampling.thinking=20", "evaluation.thinking=[0,20]")
    short, long = (cost(rl_job(c), RATES) for c in (config, thinking))
    assert long.tokens > 2 * short.tokens
    assert long.evaluation_flops > 3 * short.evaluation_flops
    bases = [cost(base_job(c), RATES).tokens for c in (tiny(), config)]
    assert bases[0] < bases[1]


def test_runs_of_one_stack_share_the_cores_in_the_plans_time(monkeypatch):
    """Twelve runs in a stack are no quicker on two cores than two at a time."""
    monkeypatch.setattr("harness.study.plan.cores", lambda: 2)
    monkeypatch.setattr("harness.study.plan.measured_rates", lambda config: Rates(1e8, 1e8))
    jobs = [rl_job(tiny("launcher=stacked", f"seed={seed}", "rl.steps=4096")) for seed in range(12)]

    def minutes(parallel):
        text = printed(lambda console: console.print(plan_table(jobs, jobs, parallel, {})))
        return float(re.search(r"about ([\d.]+) min", text)[1])

    assert minutes(12) == minutes(2) > 0


def test_the_memory_of_a_small_job_is_not_said_to_be_nothing():
    assert [format_gb(gb) for gb in (0.0002, 0.0141, 1.0, 1234.5)] == ["1 MB", "14 MB", "1.0 GB", "1,234.5 GB"]
