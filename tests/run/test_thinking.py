"""What policies do with room to think is scored, told and trained on."""

import numpy as np
import polars as pl
import pytest
import torch

from envs.registry import select
from harness.analysis.data.table import check_table
from harness.core.seeding import keys
from harness.evaluate import build_suite, cell_row, evaluate, problem_rows, with_thinking_limits
from harness.policy.logprobs import token_logprobs
from harness.policy.tokenizer import ANSWER, EOS, encode, encode_prompt
from harness.run.evaluations import eval_metrics, pooled_accuracy
from harness.run.tracker import read_metrics
from harness.study.run_summary import accuracy_table
from harness.study.tables import build_tables
from tests.study.test_expand_and_tables import launched, study
from tests.toys import tiny, toy_state, train


def scored(budgets, samples=4):
    config = tiny(f"evaluation.samples={samples}", "evaluation.problems=5").evaluation
    suite = build_suite(select(["toy.*"]), (1, 2), config)
    state, streams = toy_state(0), keys("evaluation", (0,), 3)
    return state.policy, evaluate(state.backend, state.policy, with_thinking_limits(suite, budgets), config, streams)[0]


def test_each_budget_is_a_setting_of_its_own_on_the_same_problems():
    _, scores = scored([0, 6])
    tasks = [(task, difficulty) for task in ("toy.symbolic", "toy.worded") for difficulty in (1, 2)]
    expected = [(*task, f"thinking={n}") for n in (0, 6) for task in tasks]
    assert [(s.cell.task, s.cell.difficulty, s.cell.setting) for s in scores] == expected
    rows = [cell_row(s, (2, 4)) for s in scores]
    assert len({(row["task"], row["difficulty"], row["setting"]) for row in rows}) == 8
    for short, long in zip(scores[:4], scores[4:]):
        assert short.cell.problems == long.cell.problems
        assert [problem_rows(s)[0]["setting"] for s in (short, long)] == ["thinking=0", "thinking=6"]
        assert short.length < long.length


def test_a_setting_of_the_tasks_own_stays_beside_the_budget():
    config = tiny("evaluation.problems=1", "model.context=256").evaluation
    cells = build_suite(select(["induction.symbolic_4"]), (1,), config)
    assert [c.setting for c in with_thinking_limits(cells, (None, 16))] == ["examples=4", "examples=4, thinking=16"]


def test_without_a_budget_to_think_a_policy_is_told_to_answer_at_once():
    """What it says then is what it says to a prompt that ends in ANSWER, and log p of the answer is measured there."""
    policy, (found, *_) = scored([0])
    assert all(text.startswith("⟨ANSWER⟩") for text in found.sample)
    assert found.answers[0] == tuple(text.rpartition("⟨ANSWER⟩")[2] for text in found.sample)
    expected = []
    for problem in found.cell.problems:
        ids = torch.tensor([*encode_prompt(problem.prompt), ANSWER, *encode("A"), EOS])
        expected.append(token_logprobs(policy, ids[None, None], 1.0)[0, 0, -2:].sum().item())
    assert found.answer_logprob == pytest.approx(np.mean(expected), abs=1e-5)


def test_answers_of_a_thinking_policy_are_free_of_its_scratchpad_be_ANSWER_drawn_or_forced():
    _, scores = scored([5], samples=16)
    answers = [text for s in scores for own in s.answers for text in own]
    assert max(map(len, answers)) <= 60  # four tokens, be they all specials
    assert all(len(s.sample) == 16 for s in scores)
    for s in scores:
        for text, answer, right in zip(s.sample, s.answers[0], s.correct[0]):
            assert "⟨ANSWER⟩" in text or "⟨EOS⟩" not in text
            assert text.endswith(answer)
            assert right == ("" < answer[:1] < "P")


def test_metrics_tell_the_mean_over_budgets_and_each_of_several():
    rows = [cell_row(s, (2, 4)) for s in scored([0, 6])[1]]
    told = eval_metrics(rows)

    def by_hand(chosen):
        return np.mean([r["n_correct"] / (r["n_problems"] * r["k"]) for r in chosen])

    own = [r for r in rows if r["task"] == "toy.symbolic"]
    assert told["eval/toy.symbolic/mean@1"] == pytest.approx(by_hand(own))
    for n in (0, 6):
        mine = [r for r in own if r["setting"] == f"thinking={n}"]
        assert told[f"eval/toy.symbolic/thinking={n}/mean@1"] == pytest.approx(by_hand(mine))
    assert pooled_accuracy(tiny(), rows)["verified"] == pytest.approx(by_hand(own))
    assert not [name for name in eval_metrics(rows[:4]) if "thinking" in name]


# ---- whole runs

THINKING = ("base.scratchpad_share=0.5", "sampling.thinking=6", "evaluation.thinking=[0,6]", "rl.steps=2")


def test_rl_of_a_thinking_policy_is_on_policy_and_scored_at_each_budget(tmp_path):
    config = tiny(*THINKING, out=tmp_path)
    rows = read_metrics(train(config))
    steps = [row for row in rows if "train/loss" in row]
    assert max(row["train/sampler_policy_kl"] for row in steps) < 1e-6
    assert min(row["train/completion_length_mean"] for row in steps) > 4  # an answer alone has at most four
    assert {"eval/toy.worded/thinking=0/pass@2", "eval/toy.worded/thinking=6/mean@1"} <= set(rows[0])
    shown = accuracy_table(config).columns[0]._cells
    settings = ["  thinking=0", "  thinking=6"]
    means = ["all verified tasks", "all unverified tasks"]
    assert shown == [*means, "toy.symbolic (verified)", *settings, "toy.worded (unverified)", *settings]


def table_of(tmp_path, arms, *settings, seeds=(0,)):
    """The run table of a study."""
    found = study(tmp_path, arms, seeds, user=settings)
    launched(found)
    frame, _ = build_tables(found)
    check_table(frame)  # no cell stands twice
    return frame.with_columns(accuracy=pl.col("n_correct") / (pl.col("n_problems") * pl.col("k")))


def test_every_budget_is_a_setting_of_the_run_table(tmp_path):
    frame = table_of(tmp_path, {"true_reward": [], "frozen": ["objective=frozen"]}, *THINKING)
    cells = frame.group_by("arm", "step", "task", "difficulty").agg(pl.col("setting").sort(), "completion_length_mean")
    assert cells.height == 2 * 3 * 2 * 2
    assert all(settings == ["thinking=0", "thinking=6"] for settings in cells["setting"].to_list())
    tokens = dict(frame.group_by("setting").agg(pl.col("completion_length_mean").mean()).iter_rows())
    assert tokens["thinking=6"] > tokens["thinking=0"] + 2


NANO = (
    "model.layers=2", "model.width=64", "model.heads=4", "model.mlp=176", "model.context=96", "model.init_std=0.02",
    "base.steps=500", "base.documents=128", "base.tasks=[addition.symbolic]", "base.contexts.worded=0",
    "base.difficulties=[2]", "base.scratchpad_share=0.8", "tasks.verified=[addition.symbolic]", "tasks.unverified=[]",
    "tasks.difficulties=[2]", "evaluation.problems=64", "evaluation.thinking=[0,32]", "sampling.thinking=32",
    "reward=process_reward", "rl.problems=16", "rl.group_size=8", "rl.steps=1",
)  # fmt: skip


@pytest.mark.slow
def test_a_base_that_saw_steps_gets_more_right_with_room_to_write_its_own(tmp_path):
    """Sums of two digits; most documents show their columns. Measured: .07 where it must answer at once, else .53."""
    frame = table_of(tmp_path, {"true_reward": []}, *NANO).filter(pl.col("step") == 0)
    found = dict(frame.select("setting", "accuracy").iter_rows())
    assert found["thinking=32"] > found["thinking=0"] + 0.2
