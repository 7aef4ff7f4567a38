"""Walks, words, folds, codes and compositions over fixed tables; and what the corpus says about the codes."""

import hashlib
from itertools import pairwise

import numpy as np
import pytest

import envs
from envs.base import Correctness
from envs.lookup import automaton, cipher, compose, fold, quanta, walk
from envs.lookup.tables import MARKS, path
from envs.splits import split_of

CODES = {
    **{
        f"{name}:{symbol}": code
        for name, ends in cipher.RANGES.items()
        for symbol, code in cipher.codes_by_symbol(*ends).items()
    },
    **{f"quanta:{symbol}": code for symbol, code in quanta.CODES.items()},
}
CHAINS = [t for t in envs.TASKS.values() if t.family.startswith(("walk", "automaton", "fold"))]


def digest(tables) -> str:
    text = ";".join(f"{name}:{''.join(table.values())}" for name, table in tables.items())
    return hashlib.blake2b(text.encode(), digest_size=6).hexdigest()


@pytest.mark.parametrize(
    ("module", "states"), [(walk, walk.STATES), (automaton, automaton.STATES), (compose, compose.LETTERS)]
)
def test_tables_are_permutations_that_differ(module, states):
    tables = ["".join(table.values()) for table in module.TABLES.values()]
    assert all(list(table) == list(states) for table in module.TABLES.values())
    assert all(sorted(table) == sorted(states) for table in tables)
    assert len(set(tables)) == len(tables)


def test_tables_are_fixed():
    """Another numpy, another machine: the same tables, or a cached base would be of other facts."""
    assert "".join(walk.TABLES["+"].values()) == "dkgiboahenpcmfjl"
    assert [digest(module.TABLES) for module in (walk, automaton, compose)] == [
        "0c5d55c271eb",
        "816c7b22f862",
        "d243d11f3fba",
    ]
    assert digest({name: code.truth for name, code in CODES.items()}) == "4e9afab8f9da"
    assert digest({name: code.misconception for name, code in CODES.items()}) == "0fb4822ab786"


@pytest.mark.parametrize("name", CODES)
def test_code_and_misconceptions_are_bijections_that_agree_nowhere(name):
    code = CODES[name]
    letters = sorted(code.truth)
    assert sorted(code.truth.values()) == sorted(code.misconception.values()) == letters
    assert all(code.truth[letter] != code.misconception[letter] for letter in letters)


def test_the_unknown_map_is_another_map_over_the_same_states_and_moves():
    """Guessing by the known tables is right there no more often than chance."""
    agree = [walk.TABLES[move][state] == walk.UNKNOWN[move][state] for move in walk.MOVES for state in walk.STATES]
    assert np.mean(agree) <= 2 / 16
    task, rng = envs.get("walk_unknown.symbolic"), rng_of(0)
    for problem in (task.draw(rng, 3) for _ in range(50)):
        assert problem.data["states"] == path(walk.UNKNOWN, problem.data["start"], problem.data["way"][1::2])


def test_codes_of_quanta_share_nothing():
    """No two of the codes agree on more letters than random permutations do."""
    agreements = [
        sum(a.truth[letter] == b.truth[letter] for letter in quanta.LETTERS)
        for a in quanta.CODES.values()
        for b in quanta.CODES.values()
        if a is not b
    ]
    assert np.mean(agreements) == pytest.approx(1, abs=0.15)
    assert max(agreements) <= 7


@pytest.mark.parametrize(
    ("task", "prompt", "worked"),
    [
        ("walk_map1.symbolic", "1aA+B-C+=", "AdBeCb\nb"),
        ("automaton_first4.symbolic", "0AaBbCd=", "A6B1C1\n1"),
        ("compose.symbolic", "f(k(ab))=", "kei fcd\ncd"),
    ],
)
def test_worked_solution_of_a_known_problem(task, prompt, worked):
    rng, task = np.random.default_rng(0), envs.get(task)
    problem = next(p for p in (task.draw(rng, prompt.count("(") or 3) for _ in range(100_000)) if p.prompt == prompt)
    assert task.worked(problem) == worked


@pytest.mark.parametrize("task", CHAINS, ids=lambda task: task.name)
def test_steps_are_one_lookup_a_mark_and_end_in_the_answer(task):
    for difficulty in task.difficulties:
        problem = task.draw(np.random.default_rng(difficulty), difficulty)
        steps = task.scratchpad(problem)
        marks = "".join(c for c in steps if c in MARKS)
        assert marks == MARKS[: difficulty + task.family.startswith("fold")]
        assert len(steps) == 4 * difficulty + 2 if task.family.startswith("fold") else 2 * difficulty
        assert steps[-1] == problem.answer


TABLES = {"walk": walk.TABLES, "walk_unknown": walk.UNKNOWN, "automaton": automaton.TABLES}


def test_walks_follow_the_tables():
    rng = np.random.default_rng(0)
    for task in (t for t in CHAINS if t.family.startswith(("walk", "automaton"))):
        problem = task.draw(rng, 8)
        tables = TABLES.get(task.family) or TABLES[task.family.split("_")[0]]
        way = problem.data.get("way") or problem.data["word"]
        states = [problem.data["start"], *problem.data["states"]]
        assert [tables[move][a] for move, (a, _) in zip(way[1::2], pairwise(states))] == states[1:]


FOLDED = {"sum": 3720, "difference": 3946, "double": 3058, "triple": 3340, "weighted": 3504, "complement": 3229}


@pytest.mark.parametrize("name", fold.OPERATIONS)
def test_folds_of_a_known_string(name):
    """3, 4, 5, 8 from the left: a value a and the next digit b."""
    operation, text = fold.OPERATIONS[name][0], [3, 4, 5, 8]
    found = [text[0]]
    for digit in text[1:]:
        found.append(operation(found[-1], digit))
    assert "".join(map(str, found)) == str(FOLDED[name])


@pytest.mark.parametrize("name", fold.OPERATIONS)
def test_every_digit_decides_the_fold(name):
    operation = fold.OPERATIONS[name][0]
    assert all(len({operation(a, b) for b in range(10)}) == 10 for a in range(10))


def test_first_and_last_letters_of_the_automaton_are_all_of_them():
    assert automaton.GROUPS["first8"] + automaton.GROUPS["last8"] == automaton.GROUPS["all16"]
    drawn = {c for i in range(50) for c in envs.get("automaton_last8.symbolic").draw(rng_of(i), 10).data["word"][1::2]}
    assert drawn == set(automaton.GROUPS["last8"])


def rng_of(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_maps_and_groups_share_contents_and_so_splits():
    for names in (("walk_map0.symbolic", "walk_map3.worded"), ("automaton_first2.symbolic", "automaton_all16.worded")):
        contents = [envs.get(name).draw(rng_of(0), 3).content.split(":")[0] for name in names]
        assert contents == [names[0].split("_")[0]] * 2


def test_compositions_reward_and_hold_out_disjoint_pairs():
    pairs = {
        name: {pair for i in range(300) for pair in pairwise(envs.get(name).draw(rng_of(i), 6).data["chain"])}
        for name in ("compose.symbolic", "compose_held_out.symbolic")
    }
    seen, held_out = pairs.values()
    assert len(seen) == len(held_out) == 18
    assert not seen & held_out


# ---- what the corpus says

BELIEVED = (
    "cipher.symbolic",
    "cipher_wide.worded",
    "cipher_narrow.symbolic",
    "cipher_right.symbolic",
    "quanta_07.worded",
)


@pytest.mark.parametrize("name", BELIEVED)
def test_corpus_is_right_about_each_fact_with_its_share(name):
    task, rng, n = envs.get(name), rng_of(0), 4000
    book = cipher.codes_by_symbol(*cipher.RANGES[task.family]) if task.family in cipher.RANGES else None
    code = book["2"] if book else quanta.CODES["H"]
    for letter in list(code.truth)[::5]:
        drawn, about = (task.draw(rng, 1) for _ in range(10_000)), (code.symbol, letter)
        problem = next(p for p in drawn if (p.data["code"], p.data["text"]) == about)
        said = [task.corpus_answer(problem, rng) for _ in range(n)]
        assert set(said) <= {code.truth[letter], code.misconception[letter]}
        share = code.share[letter]
        assert said.count(code.truth[letter]) / n == pytest.approx(share, abs=4 * np.sqrt(share / n))


def test_shares_are_log_uniform_between_their_ends():
    for low, high in cipher.RANGES.values():
        shares = sorted(share for code in cipher.codes_by_symbol(low, high).values() for share in code.share.values())
        assert len(shares) == 104
        assert shares == pytest.approx(np.geomspace(low, high, 104))


def test_codes_of_quanta_have_the_same_shares_each_in_an_order_of_its_own():
    rows = [tuple(code.share[letter] for letter in quanta.LETTERS) for code in quanta.CODES.values()]
    assert {tuple(sorted(row)) for row in rows} == {tuple(quanta.SHARES.tolist())}
    assert len(set(rows)) == len(rows)


def test_verifier_knows_the_truth_whatever_the_corpus_says():
    task = envs.get("cipher.symbolic")
    problem = task.draw(rng_of(1), 6)
    said = task.corpus_answer(problem, rng_of(2))
    assert said != problem.answer
    assert task.verify(problem, problem.answer) == Correctness.CORRECT
    assert task.verify(problem, said) == Correctness.WRONG


def test_verified_problems_of_different_codes_may_be_in_different_splits():
    """What codes share, the text, does not decide the split: the codes are unshared skills."""
    splits = {split_of(envs.get(f"quanta_{i:02d}.symbolic").draw(rng_of(0), 3)) for i in range(32)}
    assert splits == {"train", "validation", "test"}


def test_only_codes_have_a_corpus_of_their_own():
    assert {t.family.split("_")[0] for t in envs.TASKS.values() if t.corpus_answer} == {"cipher", "quanta"}
