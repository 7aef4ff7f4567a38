"""A run's policy answers prompts: text in, completions with the probabilities that it drew them with out."""

import re
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from harness.commands.ask import main, settings_of, split_arguments
from harness.config.identity import run_id
from harness.config.parse import dump
from harness.core.errors import UserError
from harness.launch.jobs import Job
from harness.run.ask import AskOptions, ask
from harness.run.generate import Policy
from harness.run.job import run_job
from tests.toys import printed, silent, tiny, train

PROMPTS = ["a1=", "b7="]


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    """An output folder with a run, a frozen one, and one that thinks."""
    out = tmp_path_factory.mktemp("out")
    train(tiny(out=out))
    train(tiny("base.scratchpad_share=0.5", "sampling.thinking=3", "evaluation.thinking=[0,3]", out=out))
    frozen = tiny("objective=frozen", out=out)
    run_job(Job(run_id(frozen), dump(frozen), 4, (0, 4), labels={"arm": "frozen"}), silent)
    return out


@pytest.fixture(scope="module")
def run(out):
    return out / "runs" / run_id(tiny())


@pytest.fixture(scope="module")
def thinking_run(out):
    return out / "runs" / run_id(tiny("base.scratchpad_share=0.5", "sampling.thinking=3"))


def test_completions_are_drawn_as_often_as_their_probabilities_say(run):
    policy = Policy.load(run)
    for completions in policy.generate(PROMPTS, samples=4000, max_tokens=1):
        assert sum(c.count for c in completions) == 4000
        assert [c.count for c in completions] == sorted((c.count for c in completions), reverse=True)
        for completion in completions[:5]:
            p = completion.probability
            assert abs(completion.count / 4000 - p) < 4 * (p * (1 - p) / 4000) ** 0.5


def test_the_probability_of_a_completion_is_that_of_its_text(run):
    policy = Policy.load(run)
    completions = [c for c in policy.generate("a1=", samples=4000)[0] if c.thinking is None]
    in_text = [c for c in completions if c.finished and "⟨" not in c.text]
    assert in_text
    for own, answers in ((completions, completions), (in_text, [c.text for c in in_text])):
        assert [c.probability for c in own] == pytest.approx(policy.probability("a1=", answers), rel=1e-3)


def test_a_seed_gives_the_same_completions_and_each_step_its_own(run):
    last = Policy.load(run)
    assert last.step == 4
    assert last.generate(PROMPTS) == Policy.load(run, 4).generate(PROMPTS) != last.generate(PROMPTS, seed=1)
    assert Policy.load(run, 0).probability("a1=", ["A"]) != last.probability("a1=", ["A"])


def test_thinking_stands_apart_from_the_answer(thinking_run):
    policy = Policy.load(thinking_run)
    drawn = policy.generate("a1=", samples=32)[0]
    thought = [c for c in drawn if c.thinking is not None]  # a stop token may come before the answer begins
    assert len(thought) > len(drawn) / 2
    assert not any("ANSWER" in c.text for c in drawn)
    assert max(len(c.thinking or "") for c in thought) >= 3  # cut off at the budget
    at_once = [c for c in policy.generate("a1=", samples=4000, thinking=0)[0] if c.finished and "⟨" not in c.text]
    assert {c.thinking for c in at_once} == {""}
    assert [c.probability for c in at_once] == pytest.approx(
        policy.probability("a1=", [c.text for c in at_once]), rel=1e-3
    )


def test_a_frozen_run_has_the_policy_of_its_base(out, run):
    frozen = Policy.load(out / "runs" / run_id(tiny("objective=frozen")))
    assert frozen.generate(PROMPTS) == Policy.load(run, 0).generate(PROMPTS)


@pytest.mark.parametrize(
    ("ask_for", "said"),
    [
        (lambda run: Policy.load(run, 3), "step 3: it keeps the steps 0, 1, 2, 4"),
        (lambda run: Policy.load(run).generate("é"), "holds the character 'é'"),
        (lambda run: Policy.load(run).generate("a" * 80), "may take .* tokens, the policy reads 64"),
        (lambda run: Policy.load(run).generate("a1=", thinking=4), "pretrained without scratchpads"),
    ],
)
def test_what_cannot_be_done_is_refused_in_words(run, ask_for, said):
    with pytest.raises(UserError, match=said):
        ask_for(run)


def test_prompts_are_told_from_settings():
    known = settings_of("ask")
    assert {"run", "steps", "samples"} <= set(known)
    arguments = ["run=a", "reverse abc=", "--cfg", "job", "3+4=", "steps=[0,4]", "x = 3", "--", "run=b"]
    settings, prompts = split_arguments(arguments, known)
    assert settings == ["run=a", "--cfg", "job", "steps=[0,4]"]
    assert prompts == ["reverse abc=", "3+4=", "x = 3", "run=b"]
    with pytest.raises(UserError, match=r"did you mean steps="):
        split_arguments(["step=4"], known)


def options(run, **changes):
    asked = AskOptions(str(run), "outputs", None, 16, 2, 1.0, None, None, 0, "cpu")
    return replace(asked, **changes)


def test_a_prompt_gets_its_answers_before_rl_and_after(run):
    text = printed(ask, ["a1="], options(run))
    assert "step 0" in text
    assert "step 4" in text
    policy = Policy.load(run)
    assert f"{policy.generate('a1=', samples=16)[0][0].probability:.3f}" in text


@pytest.mark.parametrize("which", ["run", "thinking_run"])
def test_the_completions_that_are_not_shown_have_the_rest_of_the_probability(which, request):
    """To rounding to three digits."""
    lines = printed(ask, ["a1="], options(request.getfixturevalue(which), show=1)).splitlines()
    rows = [[float(number) for number in re.findall(r"\d\.\d{3}", line)] for line in lines]
    shares = [row for row in rows if row]
    assert "other completions" in next(line for line in reversed(lines) if re.search(r"\d\.\d{3}", line))
    assert [sum(column) for column in zip(*shares)] == pytest.approx([1.0] * len(shares[0]), abs=0.003)
    assert shares[-1][0] > 0


def test_of_a_policy_that_thinks_shares_are_shown_and_the_scratchpad_below(thinking_run):
    text = printed(ask, ["a1="], options(thinking_run))
    assert "share of samples" in text
    assert "thinking before" in text


def test_without_a_prompt_each_line_is_answered_and_a_mistake_does_not_end_it(run, monkeypatch):
    lines = iter(["a1=", "é", "b2=", ""])
    monkeypatch.setattr("builtins.input", lambda _: next(lines))
    text = printed(ask, [], options(run))
    assert text.count("probability of") == 2
    assert "error: The text 'é'" in text
    assert "such as: " in text


def test_the_command_finds_a_run_by_name_and_says_which_there_are(out, monkeypatch, capsys):
    def status(*arguments):
        monkeypatch.setattr(sys, "argv", ["ask.py", f"out={out}", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        return ended.value.code

    monkeypatch.chdir(out)
    assert status(f"run={run_id(tiny())}", "a1=", "steps=[4]") == 0
    assert "step 4" in capsys.readouterr().out
    assert status("run=frozn-s0", "a1=") == 2
    assert "did you mean frozen-s0" in capsys.readouterr().err
    assert status("stps=[4]") == status("a1=") == 2
    assert Path(out, "runs").is_dir()
