"""Logs of other trainers become run tables that the analysis reads.

tests/logs/trl_trainer_state.json was written by TRL 1.16 (make_trl_log.py beside it). The logs of verl were written by
hand, after its file logger and its console (verl/utils/tracking.py, verl/utils/logger/aggregate_logger.py).
"""

import json
from pathlib import Path

import polars as pl
import pytest

from harness.analysis.data.table import load_table
from harness.core.errors import UserError
from harness.tracking.convert import ConvertConfig, convert, write

LOGS = Path(__file__).parents[1] / "logs"
TRL = {
    "source": "trl",
    "log": str(LOGS / "trl_trainer_state.json"),
    "out": "unused.csv",
    "arm": "true_reward",
    "seed": 3,
    "run_id": "trl-3",
    "verified": ("near",),
    "unverified": ("far",),
    "problems": {"near": 16, "far": 8},
    "samples": 4,
    "score": "correct",
    "x": "tokens",
    "model_params": None,
    "flops_per_token": 8,
}
VERL = TRL | {
    "source": "verl",
    "log": str(LOGS / "verl.jsonl"),
    "verified": ("openai/gsm8k",),
    "unverified": ("math",),
    "problems": {"openai/gsm8k": 10, "math": 20},
    "samples": None,
    "score": "acc",
}


def rows(settings, **changes):
    return convert(ConvertConfig(**(settings | changes)))


def curve(found, task):
    return [(r["step"], r["tokens"], r["k"], r["n_correct"]) for r in found if r["task"] == task]


def test_evaluations_of_trl_become_counts_at_the_tokens_trained_so_far():
    found = rows(TRL)
    history = json.loads(Path(TRL["log"]).read_text())["log_history"]
    means = [row["eval_rewards/correct/mean"] for row in history if "eval_far_runtime" in row]
    assert [n for *_, n in curve(found, "far")] == [round(mean * 8 * 4) for mean in means]
    assert [(step, k) for step, _, k, _ in curve(found, "near")] == [(0, 4), (4, 4), (8, 4)]
    trained = {row["step"]: row["num_tokens"] for row in history if "num_tokens" in row}
    assert [x for _, x, *_ in curve(found, "near")] == [0, trained[4], trained[8]]
    assert {(r["task"], r["role"]) for r in found} == {("near", "verified"), ("far", "unverified")}


def test_a_single_evaluation_set_of_trl_is_called_eval(tmp_path):
    log = tmp_path / "trainer_state.json"
    row = {"step": 0, "eval_runtime": 1.0, "eval_reward": 0.5, "eval_rewards/correct/mean": 0.5}
    log.write_text(json.dumps({"log_history": [row, {"step": 1, "loss": 0.1}]}))
    found = rows(TRL, log=str(log), verified=("eval",), unverified=(), problems=4, x="step")
    assert [(r["task"], r["n_correct"]) for r in found] == [("eval", 8)]


def test_validations_of_verl_become_counts_at_the_tokens_summed_over_steps():
    found = rows(VERL)
    assert curve(found, "openai/gsm8k") == [(0, 0.0, 4, 10), (2, 2500.0, 4, 15)]
    assert curve(found, "math") == [(0, 0.0, 1, 2), (2, 2500.0, 1, 4)]


def test_the_console_of_verl_is_read_through_prefixes_colours_and_numpy_numbers():
    log = str(LOGS / "verl_console.txt")
    found = rows(VERL, log=log, unverified=(), problems=3)
    assert curve(found, "openai/gsm8k") == [(0, 0.0, 1, 1), (2, 2500.0, 1, 2)]


def test_flops_follow_the_convention_and_are_refused_without_the_models_size():
    assert [r["x"] for r in rows(VERL, model_params=1000, x="flops_convention")][-1] == 8 * 1000 * 2500
    with pytest.raises(UserError, match=r"x=flops_convention.*\n.*model_params"):
        rows(VERL, x="flops_convention")


@pytest.mark.parametrize(("settings", "ending"), [(TRL, ".csv"), (VERL, ".parquet")])
def test_what_is_converted_is_a_run_table(settings, ending, tmp_path):
    found = rows(settings)
    path = write(found, str(tmp_path / f"runs{ending}"))
    table = load_table(path)
    assert table.frame.height == len(found)
    assert any("noise taken as binomial" in note for note in table.notes)
    assert pl.DataFrame(found)["n_correct"].to_list() == table.frame["n_correct"].to_list()


@pytest.mark.parametrize(
    ("settings", "changes", "message"),
    [
        (TRL, {"log": "nowhere.json"}, "no such file"),
        (TRL, {"log": str(LOGS / "verl.jsonl")}, "no trainer state"),
        (TRL, {"score": "corect"}, r"holds no evaluation of it\n.*correct"),
        (VERL, {"score": "score"}, r"holds no evaluation of it\n.*acc, reward"),
        (TRL, {"verified": ("nera",)}, r"evaluation set nera.*\n.*near"),
        (TRL, {"verified": ("near", "far")}, "both verified and unverified"),
        (TRL, {"verified": (), "unverified": ()}, "no evaluation set has a role"),
        (TRL, {"samples": None}, "samples=…"),
        (TRL, {"problems": {"near": 16}}, "problems.far"),
        (TRL, {"problems": 17}, "not a whole number"),
        (VERL, {"score": "reward", "unverified": (), "problems": 9}, "not a whole number"),
    ],
)
def test_a_mistake_is_named_with_its_fix(settings, changes, message):
    with pytest.raises(UserError, match=message):
        rows(settings, **changes)


def test_a_reward_that_is_no_share_is_refused(tmp_path):
    log = tmp_path / "metrics.jsonl"
    log.write_text('{"step": 0, "data": {"val-core/a/acc/mean@1": -0.5}}\n')
    with pytest.raises(UserError, match="not a share of correct completions"):
        rows(VERL, log=str(log), verified=("a",), unverified=(), problems=4)
    log.write_text('{"step": 0, "da\n')
    with pytest.raises(UserError, match="line 1"):
        rows(VERL, log=str(log))
