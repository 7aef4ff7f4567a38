"""Splits by content, fixed lists of distinct problems."""

from collections import Counter

import numpy as np
import pytest

import envs
from envs.base import Problem
from envs.splits import SPLITS, EmptySplit, distinct_problems, draw_in_split, has_problems, split_of

SYMBOLIC, WORDED = envs.get("addition.symbolic"), envs.get("addition.worded")


def test_shares_are_seven_one_two_tenths():
    splits = Counter(split_of(Problem("t", "", "", 1, str(i))) for i in range(20_000))
    assert [round(splits[split] / 20_000, 2) for split in SPLITS] == [0.7, 0.1, 0.2]


def test_hash_is_the_same_in_every_process():
    assert Problem("t", "", "", 1, "addition:1,2").hash == 4169604499162263926


def test_drawn_problem_is_in_the_asked_split():
    rng = np.random.default_rng(0)
    for split in SPLITS:
        assert {split_of(draw_in_split(WORDED, 2, split, rng)) for _ in range(50)} == {split}


def test_contexts_get_the_same_contents_in_the_same_order():
    pairs = zip(distinct_problems(SYMBOLIC, 3, "test", 64, 0), distinct_problems(WORDED, 3, "test", 64, 0))
    assert all(a.content == b.content and a.answer == b.answer and a.data == b.data for a, b in pairs)


def test_distinct_problems_are_distinct_fixed_and_depend_on_the_seed():
    first = distinct_problems(WORDED, 3, "test", 64, 0)
    assert first == distinct_problems(WORDED, 3, "test", 64, 0)
    assert len({p.content for p in first}) == 64
    assert {p.content for p in first} != {p.content for p in distinct_problems(WORDED, 3, "test", 64, 1)}


def test_shorter_list_is_a_prefix_of_the_longer():
    assert distinct_problems(WORDED, 3, "test", 64, 0)[:10] == distinct_problems(WORDED, 3, "test", 10, 0)


def test_small_difficulty_gives_all_it_has():
    """One-digit addition has 55 contents: the three splits together list each once."""
    lists = [distinct_problems(SYMBOLIC, 1, split, 512, 0) for split in SPLITS]
    assert sum(map(len, lists)) == len({p.content for problems in lists for p in problems}) == 55


def test_empty_split_unknown_split_and_unknown_difficulty_are_named():
    from dataclasses import replace

    one = Problem("one.symbolic", "p", "a", 1, "only")
    task = replace(SYMBOLIC, name="one.symbolic", family="one", draw=lambda rng, d: one, difficulties=(1,))
    empty = next(split for split in SPLITS if split != split_of(one))
    rng = np.random.default_rng(0)
    assert not has_problems(task, 1, empty)
    with pytest.raises(EmptySplit, match=rf"one\.symbolic has no problem of difficulty 1 in split '{empty}'"):
        draw_in_split(task, 1, empty, rng)
    with pytest.raises(ValueError, match="no split is called 'dev'"):
        draw_in_split(task, 1, "dev", rng)
    with pytest.raises(ValueError, match="has no difficulty 99"):
        draw_in_split(task, 99, "train", rng)
