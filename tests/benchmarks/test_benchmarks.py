"""The bench times what it says: alike work on both sides, the plain path equal to ours, half of the groups silent."""

import importlib.util
import json
import time
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
import torch

from benchmarks import curves, growth, memory, page, rl, sampling, timing
from benchmarks.ours import PlainBackend, Shape, config_of, request_of, stepper
from benchmarks.task import FRAME, draw, is_right
from harness.core.errors import UserError
from harness.core.seeding import keys
from harness.core.types import GroupedCompletions
from harness.policy.backends.eager import EagerBackend
from harness.policy.transformer import Transformer

TINY = Shape("nano", 6, 8, 4, ("model.layers=1", "model.width=16", "model.heads=2", "model.mlp=32"))
SILENT = lambda *_: None  # noqa: E731
needs_trl = pytest.mark.skipif(importlib.util.find_spec("trl") is None, reason="extra `bench`")


def test_works_are_timed_in_turn_and_each_round_begins_with_another():
    called = []
    works = {name: lambda name=name: called.append(name) for name in "abc"}
    seconds = timing.in_turn(works, 3, SILENT, warm=1)
    assert "".join(called) == "abc" + "abc" + "bca" + "cab"
    assert {name: len(values) for name, values in seconds.items()} == dict.fromkeys("abc", 3)


def test_seconds_are_those_of_the_work():
    seconds = timing.in_turn({"slow": lambda: time.sleep(0.02), "fast": lambda: None}, 2, SILENT, warm=0)
    assert min(seconds["slow"]) >= 0.02 > max(seconds["fast"])


@pytest.mark.parametrize(("task", "silent"), [("bench.half", (0.3, 0.7)), ("bench.full", (0.0, 0.05))])
def test_of_the_task_half_of_the_groups_are_silent_or_none(task, silent):
    one = stepper(config_of(Shape("nano", 6, 32, 16), task))
    shares = [float(one.step().metrics["zero_advantage_groups"]) for _ in range(4)]
    assert silent[0] <= np.mean(shares) <= silent[1]


def test_a_verdict_of_the_task_asks_no_skill():
    problems = [draw("half", np.random.default_rng(seed), 4) for seed in range(200)]
    silent = [p for p in problems if is_right("half", p.prompt, "a") == is_right("half", p.prompt, "b")]
    assert 60 < len(silent) < 140
    assert all(is_right("full", p.prompt, "b") and not is_right("full", p.prompt, "a") for p in problems)
    assert not is_right("full", "x", "")


@pytest.mark.parametrize("prompt", [0, 9])
def test_prompts_and_completions_have_the_lengths_of_the_shape(prompt):
    report = stepper(config_of(replace(TINY, prompt=prompt))).step()
    rollouts = report.rollouts
    assert (rollouts.prompt_length == (prompt or TINY.tokens)).all()
    assert int((rollouts.length - rollouts.prompt_length).max()) == TINY.tokens
    assert rollouts.rows == TINY.rows
    assert len(draw("half", np.random.default_rng(0), 4).prompt) + FRAME == 6


def test_the_plain_path_gives_the_logits_and_the_tokens_of_ours():
    config = config_of(TINY)
    policy = Transformer(config.model).initialise(keys("init", (0,), 0))
    request = request_of(TINY)
    length = torch.randint(2, TINY.tokens + 1, request.length.shape, generator=torch.Generator().manual_seed(1))
    request = replace(request, length=length)
    fast, slow = (backend.sample(policy, request) for backend in (EagerBackend(), PlainBackend()))
    assert torch.equal(fast.ids, slow.ids)
    torch.testing.assert_close(fast.logprobs, slow.logprobs, atol=1e-5, rtol=0)
    grouped = GroupedCompletions(request.prompts, length, fast.ids, fast.sampled)
    (ours, _), (plain, _) = (b.completion_logprobs(policy, grouped, 1.0) for b in (EagerBackend(), PlainBackend()))
    torch.testing.assert_close(ours, plain, atol=1e-5, rtol=0)


def test_a_plain_step_leaves_the_policy_that_ours_leaves():
    one, other = (stepper(config_of(TINY, "bench.full")) for _ in range(2))
    other.state.backend = PlainBackend()
    one.step()
    other.step()
    for mine, its in zip(one.state.policy.parameters(), other.state.policy.parameters()):
        torch.testing.assert_close(mine, its, atol=1e-5, rtol=1e-3)


def test_the_flops_of_a_step_are_what_its_tokens_cost():
    one = stepper(config_of(TINY, "bench.full"))
    computed, convention = one.flops()
    assert 0 < computed < convention  # prompts are computed once a group


@pytest.fixture(scope="module")
def grown():
    label, _, made = growth.CURVES["group size"]
    with patch.dict(growth.CURVES, {"group size": (label, (2, 4), made)}):
        return growth.measure(SILENT, ("group size",), rounds=2)


def test_growth_is_measured_along_a_curve_and_drawn(grown, tmp_path):
    points = grown["curves"]["group size"]["points"]
    assert [point["x"] for point in points] == [2, 4]
    assert points[0]["flops"] < points[1]["flops"] < 3 * points[0]["flops"]
    growth.draw(grown, tmp_path / "images" / "growth.png")
    assert (tmp_path / "images" / "growth.png").stat().st_size > 10_000
    assert "| group size |" in growth.section(grown)


def test_a_curve_ends_where_a_step_takes_too_long():
    found = growth.measure(SILENT, ("completion length",), rounds=1, enough=0.0)
    assert len(found["curves"]["completion length"]["points"]) == 1


@pytest.fixture
def held(monkeypatch):
    """What the part of the memory is said to have measured."""
    found = {"model": "m", "tokens": 8, "rows": 4, "sides": {s: {"before": 1, "peak": 3} for s in memory.SIDES}}
    monkeypatch.setattr(memory, "measure", lambda progress: found)


def test_parts_measured_one_by_one_share_a_page(grown, held, tmp_path, monkeypatch):
    monkeypatch.setattr(growth, "measure", lambda progress: grown)
    for part in ("memory", "growth"):
        page.measure(part, tmp_path, SILENT)
    text = (tmp_path / "bench.md").read_text()
    assert text.index("## Memory") < text.index("## Growth")
    assert set(json.loads((tmp_path / "bench.json").read_text())[page.cpu_label()]) == {"memory", "growth"}


def test_a_run_on_another_cpu_adds_to_the_page_and_replaces_nothing(held, tmp_path, monkeypatch):
    for cpu in ("A (AVX-512, AMX)", "B (AVX2)"):
        monkeypatch.setattr(page, "cpu_label", lambda cpu=cpu: cpu)
        page.measure("memory", tmp_path, SILENT)
    assert list(json.loads((tmp_path / "bench.json").read_text())) == ["A (AVX-512, AMX)", "B (AVX2)"]
    text = (tmp_path / "bench.md").read_text()
    assert text.index("## A (AVX-512, AMX)") < text.index("### Memory") < text.index("## B (AVX2)")
    assert text.count("### Memory") == text.count("Load average before it: ") == 2


def test_a_cpu_is_named_with_the_instructions_that_matter(monkeypatch):
    has = {"cpu_name": "C", "avx2": True, "avx512_f": True, "amx_bf16": True}
    for missing, label in (
        ([], "C (AVX-512, AMX)"),
        (["amx_bf16"], "C (AVX-512)"),
        (["amx_bf16", "avx512_f"], "C (AVX2)"),
    ):
        found = {name: value for name, value in has.items() if name not in missing}
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda found=found: found)
        assert page.cpu_label() == label


def test_the_committed_page_is_that_of_the_committed_records():
    docs = Path(__file__).parents[2] / "docs" / "reference"
    assert page.text(json.loads((docs / "bench.json").read_text())) == (docs / "bench.md").read_text()


def test_the_ratios_of_a_page_are_of_medians():
    seconds = {name: [value, value, 9e9] for name, value in {"ours, fp32": 1.0, "ours, bf16": 2.0}.items()}
    seconds |= {"ours, no filter": [2.0] * 3, "ours, plain": [6.0] * 3, "TRL, fp32": [8.0] * 3, "TRL, bf16": [5.0] * 3}
    shape = {"model": "nano", "tokens": 8, "rows": 256, "flops": 1e9, "flops_convention": 2e9, "ceiling": 1e9}
    text = rl.section({"threads": 2, "shapes": [shape | {"seconds": seconds}]})
    assert "| nano, 8 | 256, 51 | 5.0x | 8.0x | 4.0x | 3.0x | 2.0x | 1.0x |" in text


def test_learning_curves_are_compared_seed_by_seed():
    accuracy = {"ours": [[0.2] * 4 + [0.5] * 4, [0.3] * 4 + [0.6] * 4], "TRL": [[0.2] * 8, [0.3] * 8]}
    text = curves.section({"settings": ["model=micro"], "problems": 32, "accuracy": accuracy})
    assert "| ours | 0.250 (-0.385 to 0.885) | 0.550 (-0.085 to 1.185) | 0.300 (0.300 to 0.300) |" in text
    assert "| apart | 0.000 (0.000 to 0.000) | 0.300 (0.300 to 0.300) | 0.300 (0.300 to 0.300) |" in text


@pytest.mark.parametrize("part", [rl, curves, sampling, memory])
def test_without_trl_a_part_says_what_to_install(part, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install -e '.\[bench\]'"):
        part.measure(SILENT)


@needs_trl
@pytest.mark.slow
def test_beside_trl_all_parts_measure_a_tiny_step():
    found = rl.measure(SILENT, (TINY,), 2, ("TRL, fp32",))
    (one,) = found["shapes"]
    assert all(len(values) == 2 and min(values) > 0 for values in one["seconds"].values())
    found = sampling.measure(SILENT, (TINY,), 2)
    assert len(found["shapes"][0]["seconds"]) == 4
    assert "best against best" in sampling.section(found)
    found = memory.measure(SILENT, TINY)
    assert all(side["before"] <= side["peak"] for side in found["sides"].values())


@needs_trl
@pytest.mark.slow
def test_both_sides_learn_from_the_same_base():
    """The first step samples before any update: both sides have the same weights and tasks, so the same accuracy but
    for luck, which 1,024 completions leave little of."""
    settings = [s for s in curves.SETTINGS if not s.startswith("rl.steps")]
    small = ["rl.steps=2", "rl.problems=128", "base.steps=250", "base.tasks=[reversal.*,sorting.*]"]
    found = curves.measure(SILENT, (*settings, "tasks.difficulties=[1,2]", *small), seeds=1)
    (mine,), (its,) = (found["accuracy"][side] for side in curves.SIDES)
    assert len(mine) == len(its) == 2
    assert 0.1 < mine[0] < 0.95
    assert abs(mine[0] - its[0]) < 0.12
