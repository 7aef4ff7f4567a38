"""Scores: unbiased, per task and difficulty, on fixed held-out problems."""

from itertools import combinations

import numpy as np
import pytest
import torch

import tests.toy_task  # noqa: F401  (registers the task)
from envs import get
from envs.base import Correctness
from envs.splits import distinct_problems, split_of
from harness.evaluate import (
    Cell,
    CellResult,
    _chunks,
    _gold_logprobs,
    _graded,
    build_suite,
    cell_row,
    edit_distance,
    majority_votes,
    pass_at_k,
    problem_rows,
    small_cells,
)
from harness.policy.backends.eager import pad_rows
from harness.policy.logprobs import token_logprobs
from harness.policy.tokenizer import EOS, TURN, encode, encode_prompt
from tests.policy.conftest import BACKENDS, backend_named
from tests.toys import tiny, toy_state

TASKS = tuple(get(name) for name in ("toy.symbolic", "toy.worded"))


@pytest.mark.parametrize("n", [1, 2, 5, 7])
def test_pass_at_k_is_the_share_of_all_choices_of_k_samples_that_hold_a_right_one(n):
    for k in range(1, n + 1):
        for c in range(n + 1):
            samples = [i < c for i in range(n)]
            brute = np.mean([any(choice) for choice in combinations(samples, k)])
            assert pass_at_k(np.array([c]), n, k)[0] == pytest.approx(brute, abs=1e-12)


def test_pass_at_1_is_the_mean_and_more_samples_do_not_bias_it():
    rng = np.random.default_rng(0)
    correct = rng.random((20_000, 8)) < 0.2
    estimates = [pass_at_k(correct[:, :n].sum(1), n, 2).mean() for n in (2, 4, 8)]
    assert estimates == pytest.approx([1 - 0.8**2] * 3, abs=0.01)
    assert pass_at_k(correct.sum(1), 8, 1).mean() == pytest.approx(correct.mean())


def test_k_above_n_is_refused():
    with pytest.raises(ValueError, match="pass@3 needs at least 3 samples"):
        pass_at_k(np.array([1]), 2, 3)


def scored(answers, right, scorable=None):
    problems = build_suite(TASKS[:1], (1,), tiny("evaluation.problems=9").evaluation)[0].problems[: len(answers)]
    correct = np.array([[a == right for a in row] for row in answers])
    scorable = np.ones_like(correct) if scorable is None else np.array(scorable)
    cell = Cell("toy.symbolic", 1, problems)
    return CellResult(cell, correct, scorable, tuple(map(tuple, answers)), -1.5, 2.0, tuple(answers[0]))


def test_majority_takes_the_most_frequent_of_the_first_k_and_the_earliest_of_a_tie():
    found = scored([["A", "B", "B", "A", "A"], ["B", "A", "A", "B", "B"], ["C", "D", "A", "A", "A"]], "A")
    assert [column.tolist() for column in majority_votes(found, 3)] == [[2, 2, 1], [False, True, False]]
    assert [column.tolist() for column in majority_votes(found, 4)] == [[2, 2, 2], [True, False, True]]
    assert [column.tolist() for column in majority_votes(found, 5)] == [[3, 3, 3], [True, False, True]]


def test_a_row_of_the_table_counts_what_was_seen():
    found = scored([["A", "B", "B", "A"], ["B", "B", "B", "B"]], "A", [[True, False, True, True], [True] * 4])
    row = cell_row(found, (2, 4))
    assert (row["n_problems"], row["k"], row["n_correct"], row["n_correct_sq"], row["n_scorable"]) == (2, 4, 2, 4, 7)
    assert (row["task"], row["family"], row["context"], row["difficulty"]) == ("toy.symbolic", "toy", "symbolic", 1)
    assert row["pass_at_2"] == pytest.approx((1 - 1 / 6) / 2)
    assert row["majority_at_4"] == 0.5
    assert row["distinct_answers"] == (2 / 4 + 1 / 4) / 2
    assert "majority_at_2" not in row
    pairs = problem_rows(found)
    assert [(p["k"], p["n_correct"]) for p in pairs] == [(4, 2), (4, 0)]
    assert [(p["n_majority"], p["majority_correct"]) for p in pairs] == [(2, 1), (4, 0)]
    assert len({p["problem"] for p in pairs}) == 2


@pytest.mark.parametrize(
    ("a", "b", "distance"),
    [("", "", 0), ("", "abc", 3), ("abc", "abc", 0), ("abc", "axc", 1), ("abcd", "bcd", 1), ("kitten", "sitting", 3)],
)
def test_edit_distance_is_the_fewest_edits_of_a_letter(a, b, distance):
    assert edit_distance(a, b) == edit_distance(b, a) == distance


def test_the_edit_distance_of_a_cell_is_a_share_of_the_longer_answer_as_a_mean_over_samples():
    gold = scored([["A"]], "A").cell.problems[0].answer
    spoiled = "#" + gold[1:]
    row = cell_row(scored([[gold, spoiled, gold * 2, ""]], gold), (2,))
    assert row["answer_edit_distance"] == pytest.approx((0 + 1 / len(gold) + 1 / 2 + 1) / 4)


def test_problems_are_fixed_held_out_and_shared_by_the_contexts_of_a_skill():
    settings = tiny("evaluation.problems=20").evaluation
    suite, again = (build_suite(TASKS, (1, 2), settings) for _ in range(2))
    assert suite == again
    assert [(cell.task, cell.difficulty) for cell in suite] == [(t.name, d) for t in TASKS for d in (1, 2)]
    assert all(split_of(p) == "test" for cell in suite for p in cell.problems)

    def contents(cell):
        return [p.content for p in cell.problems]

    assert contents(suite[1]) == contents(suite[3])
    assert contents(suite[1]) != contents(build_suite(TASKS, (2,), tiny("evaluation.seed=1").evaluation)[0])


def test_a_difficulty_with_fewer_problems_than_asked_gives_all_it_has_and_is_named():
    suite = build_suite(TASKS[:1], (1, 2), tiny("evaluation.problems=100").evaluation)
    (small,) = small_cells(suite, 100)
    assert small.difficulty == 1
    assert 20 < len(small.problems) < 100


def test_a_grader_scores_what_no_verifier_checks_and_is_not_called_otherwise(monkeypatch):
    """The gold text of a free-form task is correct, any other text wrong; checked tasks never reach a grader."""
    task = get("describe.symbolic")
    problem = distinct_problems(task, 1, "test", 1, 0)[0]
    texts = np.array([[[problem.answer, "no"]]], dtype=object)
    unchecked = np.full((1, 1, 2), int(Correctness.UNSCORABLE))
    assert _graded(unchecked, [problem], texts).tolist() == [[[int(Correctness.CORRECT), int(Correctness.WRONG)]]]
    monkeypatch.setattr("harness.evaluate.grade", lambda problem, text: pytest.fail("asked"))
    checked = distinct_problems(get("addition.symbolic"), 2, "test", 1, 0)[0]
    assert _graded(np.zeros((1, 1, 2), dtype=int), [checked], texts).tolist() == [[[0, 0]]]


def test_every_problem_is_in_one_chunk_among_prompts_of_like_length():
    problems = [
        p for cell in build_suite(TASKS, (1, 2), tiny("evaluation.problems=9").evaluation) for p in cell.problems
    ]
    chunks = _chunks(problems, 30, 4)
    assert sorted(np.concatenate(chunks)) == list(range(len(problems)))
    assert max(map(len, chunks)) == 7
    lengths = [len(problems[i].prompt) for chunk in chunks for i in chunk]
    assert lengths == sorted(lengths)


@pytest.mark.parametrize("name", BACKENDS)
def test_the_log_probability_of_an_answer_is_that_of_whole_rows(name):
    policy = toy_state(0, 1).policy
    problems = [p for cell in build_suite(TASKS, (1, 2), tiny().evaluation) for p in cell.problems]
    whole = [np.concatenate((encode_prompt(p.prompt), encode(p.answer), [EOS])) for p in problems]
    ids, real = pad_rows(whole)
    after = real & ((ids == TURN).cumsum(1) - (ids == TURN).long() > 0)
    plain = token_logprobs(policy, ids.expand(2, -1, -1), 1.0).detach()
    expected = torch.where(after, plain, 0.0).sum(-1)
    np.testing.assert_allclose(
        _gold_logprobs(backend_named(name), policy, problems, None), expected.numpy(), rtol=0, atol=1e-5
    )
