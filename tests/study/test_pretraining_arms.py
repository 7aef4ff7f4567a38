"""Arms that are pretrained stand in a study beside arms of RL."""

from harness.config.identity import base_id
from harness.core.files import read_json
from harness.study.execute import report_study
from harness.study.expand import is_done, pending_jobs
from harness.study.plan import Rates, cost
from harness.study.tables import build_tables, warmup_x, write_tables
from tests.study.test_expand_and_tables import launched, study
from tests.toys import printed

PRETRAINED = ["objective=pretraining", "base.schedule.name=constant", "base.steps=6", "evaluation.documents=8"]


def pretrained(tmp_path, **arms):
    return study(tmp_path, {"small": PRETRAINED, "wide": [*PRETRAINED, "model.width=32"], **arms}, base_seeds="same")


def test_a_pretrained_arm_needs_no_base_and_an_arm_of_rl_beside_it_does(tmp_path):
    found = pretrained(tmp_path, true_reward=[])
    jobs = found.jobs
    assert [(job.labels["arm"], len(job.needs)) for job in jobs] == [
        *[("base", 0)] * 2, *[("small", 0)] * 2, *[("wide", 0)] * 2, *[("true_reward", 1)] * 2
    ]  # fmt: skip
    bases = {base_id(e.config) for e in found.entries if e.arm == "true_reward"}
    assert {job.run_id for job in jobs if job.labels["arm"] == "base"} == bases


def test_a_pretrained_arm_has_rows_at_its_budgets_and_is_done_once(tmp_path):
    found = pretrained(tmp_path)
    jobs = found.jobs
    assert pending_jobs(jobs) == jobs
    launched(found)
    assert all(map(is_done, jobs))
    assert pending_jobs(jobs) == []
    table, _ = build_tables(found)
    assert sorted(table["step"].unique()) == [0, 1, 2, 4, 6]
    assert table["loss"].null_count() == 0
    assert table.group_by("run_id", "step").agg(n=table["loss"].n_unique())["n"].max()
    assert set(table["pretrain_tokens"]) == {0}
    folder = write_tables(found)
    # warm-up of the base section takes 50 steps: longer than the run
    assert warmup_x(found, table) == read_json(folder / "manifest.json")["warmup"] == 0
    assert "small" in printed(report_study, found, [])


def test_what_the_tables_hold_of_pretrained_runs_needs_no_run_folder(tmp_path):
    import shutil

    found = launched(pretrained(tmp_path))
    before = build_tables(found)[0]["loss"].to_list()
    write_tables(found)
    shutil.rmtree(tmp_path / "runs")
    again = pretrained(tmp_path)
    assert again.pending() == []
    assert build_tables(again)[0]["loss"].to_list() == before


def test_the_plan_counts_the_tokens_that_a_pretrained_run_reads(tmp_path):
    found = pretrained(tmp_path)
    job = found.jobs[0]
    planned = cost(job, Rates(1e9, 1e9))
    launched(found)
    read = build_tables(found)[0].filter(run_id=job.run_id)["tokens"].max()
    assert abs(planned.tokens / read - 1) < 0.2
    assert planned.evaluation_flops > 0
