"""The order of jobs and what follows from each end."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.config.schema import LocalConfig
from harness.core.errors import UserError
from harness.launch.jobs import Event, Job, Schedule
from harness.launch.launch import launch
from tests.launch.works import act

LOCAL = LocalConfig("local", 1, 1, 1.0, 1, 5.0)


def job(run_id, *needs):
    return Job(run_id, {}, until=1, needs=needs)


def finish(schedule, run_id, kind="done", retries=0):
    return [(r.job.run_id, r.status) for r in schedule.record_end(Event(run_id, kind), retries)]


def taken(schedule, most=99):
    return [job.run_id for job in schedule.start_ready(most)]


@given(st.integers(1, 30), st.data())
def test_every_job_ends_once_and_never_before_its_needs(n, data):
    """Random acyclic needs, every third job fails: done, failed and skipped partition the jobs."""
    pairs = data.draw(st.lists(st.tuples(st.integers(0, n), st.integers(0, n))))
    needs = {i: {min(a, b) for a, b in pairs if max(a, b) == i and a != b} for i in range(n + 1)}
    schedule = Schedule([job(str(i), *map(str, sorted(needs[i]))) for i in reversed(range(n + 1))])
    ended: dict[str, str] = {}
    while schedule.unfinished:
        for run_id in taken(schedule, 2):
            assert all(ended[str(need)] == "done" for need in needs[int(run_id)])
            for other, status in finish(schedule, run_id, "failed" if int(run_id) % 3 == 2 else "done"):
                assert other not in ended
                ended[other] = status
    assert set(ended) == {str(i) for i in range(n + 1)}
    for i, status in ((int(run_id), status) for run_id, status in ended.items()):
        assert (status == "skipped") == any(ended[str(need)] != "done" for need in needs[i])


def test_a_failure_skips_all_that_follow_and_says_why():
    schedule = Schedule([job("base"), job("rl", "base"), job("decay", "rl"), job("other")])
    taken(schedule)
    results = schedule.record_end(Event("base", "failed", "Traceback …"), retries=3)
    assert [(r.job.run_id, r.status) for r in results] == [("base", "failed"), ("rl", "skipped"), ("decay", "skipped")]
    assert results[1].error == "it needs base, which was failed"
    assert schedule.unfinished == {"other"}


def test_only_a_killed_job_is_retried_and_only_as_often_as_told():
    schedule = Schedule([job("a")])
    assert taken(schedule) == ["a"]
    assert finish(schedule, "a", "killed", retries=1) == []
    assert taken(schedule) == ["a"]
    (result,) = schedule.record_end(Event("a", "killed", "SIGKILL"), retries=1)
    assert (result.status, result.attempts, result.error) == ("killed", 2, "SIGKILL")


def test_a_circle_of_needs_is_named_before_anything_starts():
    with pytest.raises(UserError, match=r"a needs b needs a|b needs a needs b"):
        launch([job("a", "b"), job("b", "a")], LOCAL, act)


def test_an_unknown_need_is_named_with_the_nearest_job():
    with pytest.raises(UserError, match=r"job rl needs base-8x: there is no such job\n.*base-81"):
        launch([job("rl", "base-8x"), job("base-81")], LOCAL, act)


def test_two_jobs_must_not_share_a_run_folder():
    with pytest.raises(UserError, match="given twice"):
        launch([job("a"), job("b"), job("a")], LOCAL, act)


def test_a_function_that_workers_cannot_import_is_refused_before_anything_starts():
    with pytest.raises(ValueError, match="define it at the top of a module"):
        launch([job("a")], LOCAL, lambda job, report: None)


def test_no_jobs_are_no_work():
    assert list(launch([], LOCAL, act)) == []


def test_a_hundred_thousand_jobs_on_a_thousand_bases_each_run_once():
    jobs = [job(f"base{i}") for i in range(1000)] + [job(f"r{i}", f"base{i % 1000}") for i in range(99_000)]
    schedule = Schedule(jobs)
    settled = 0
    while batch := schedule.start_ready(64):
        settled += sum(len(schedule.record_end(Event(job.run_id, "done"), 0)) for job in batch)
    assert settled == len(jobs)
    assert not schedule.unfinished
