"""Samples show the same problems before RL and after it."""

import json

from harness.core.samples import before_and_after, read_samples, sample_rows, samples_path
from tests.toys import tiny, train


def write(run_dir, step, completions):
    path = samples_path(run_dir, step)
    path.parent.mkdir(exist_ok=True)
    sample = {"task": "maximum", "difficulty": 2, "setting": "", "prompt": "max 3 9=", "answer": "9"}
    path.write_text(json.dumps({**sample, "completions": completions}) + "\n")


def test_rows_count_the_most_frequent_completions_beside_that_before_rl(tmp_path):
    write(tmp_path, 64, ["9", "3", "9", "1", "3", "9", "7"])
    about = ["maximum", 2, "", "max 3 9=", "9"]
    assert sample_rows(tmp_path, 64, most=2) == [[64, *about, "", "9", 3], [64, *about, "", "3", 2]]
    write(tmp_path, 0, ["3", "3", "1"])
    assert sample_rows(tmp_path, 64, most=1) == [[64, *about, "3", "9", 3]]
    assert sample_rows(tmp_path, 0, most=1) == [[0, *about, "3", "3", 2]]
    assert sample_rows(tmp_path, 128) == read_samples(samples_path(tmp_path, 128)) == []


def test_without_a_step_the_last_sampled_budget_stands_beside_that_before_rl(tmp_path):
    write(tmp_path, 0, ["3"])
    assert list(before_and_after(tmp_path)) == []
    for step in (64, 128):
        write(tmp_path, step, [str(step)])
    ((before, after),) = before_and_after(tmp_path)
    assert (before.completions, after.completions) == (("3",), ("128",))


def test_a_run_shows_each_of_its_problems_before_and_after(tmp_path):
    pairs = list(before_and_after(train(tiny(out=tmp_path)), step=4))
    assert [before.place[:2] for before, _ in pairs] == [
        (f"toy.{context}", difficulty) for context in ("symbolic", "worded") for difficulty in (1, 2)
    ]
    for before, after in pairs:
        assert (before.prompt, before.answer) == (after.prompt, after.answer)
        assert len(before.completions) == len(after.completions) == 4
