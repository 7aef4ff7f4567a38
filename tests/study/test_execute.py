"""What is said of jobs that did not end well, and of those that wait in a queue."""

import pytest

from harness.core.errors import UserError
from harness.launch.jobs import Job, JobResult
from harness.study.execute import print_failures, print_queued, queued_run_ids, require_done
from tests.toys import printed


def result(run_id, status, needs=(), error=None, output=""):
    job = Job(run_id, {"out": "outputs", "seed": 0, "base": {"seed": 0}}, 1, needs=tuple(needs))
    return JobResult(job, status, error=error, output=output)


def test_a_job_in_the_queue_and_what_waits_for_it_are_no_failures_and_it_is_said_how_to_collect_them():
    results = [
        result("base", "submitted"),
        result("a", "skipped", ["base"]),
        result("branch", "skipped", ["a"]),
        result("other", "done", ["finished-before"]),
    ]
    require_done(results)
    assert printed(print_failures, results) == ""
    text = printed(print_queued, results)
    assert "1 jobs are in the queue, 2 more need one of them" in text
    assert "launcher.wait=true" in text


def test_a_job_that_needs_a_failed_one_is_a_failure_even_beside_a_queue():
    failed = result("bad", "failed", error="ValueError")
    results = [result("base", "submitted"), failed, result("both", "skipped", ["base", "bad"])]
    assert queued_run_ids(results) == {"base"}
    with pytest.raises(UserError, match="2 of 3 jobs did not finish"):
        require_done(results)


def test_without_a_queue_nothing_is_said_of_one():
    assert printed(print_queued, [result("a", "done")]) == ""


def test_the_last_words_of_a_killed_job_are_shown_and_not_said_twice():
    killed = result("a", "killed", error="its process was killed by SIGSEGV", output="Fatal [x]\n")
    assert all(words in printed(print_failures, [killed]) for words in ("SIGSEGV", "Fatal [x]"))
    raised = result("a", "failed", error="Traceback\nValueError: no", output="ValueError: no\n")
    assert printed(print_failures, [raised]).count("ValueError: no") == 1
