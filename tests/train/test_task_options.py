"""What the corpus does otherwise for some tasks, and weights of RL's tasks by a distribution."""

import numpy as np
import pytest
from pydantic import ValidationError

from harness.config.identity import base_id, run_id
from harness.config.parse import parse
from harness.config.schema import Config
from harness.core.errors import UserError
from harness.core.seeding import Key
from harness.policy.tokenizer import ENV, TURN, decode
from harness.run.mixture import training_mixture
from harness.train.pretrain import corpus_of, document_shares, draw_documents
from tests.toys import container, tiny
from tests.train.toy_rollouts import parts

MAPS = ("base.tasks=[walk_map0.symbolic,walk_map1.symbolic]", "base.contexts.worded=0", "base.difficulties=[3]")
TOOLS = (
    "base.tasks=[store.symbolic,translate.symbolic]",
    "base.contexts.worded=0",
    "base.difficulties=[3]",
    "model.context=128",
)
QUANTA = ("tasks.verified=[quanta_0*.symbolic]", "tasks.unverified=[]", "tasks.difficulties=[3]")


def with_options(options, *overrides) -> Config:
    whole = container(*overrides)
    whole["base"]["task_options"] = options
    return parse(whole)


def distribution(name, decades) -> str:
    return f"tasks.weight_distribution={{name: {name}, decades: {decades}}}"


def documents(config, n=2000):
    base, corpus = config.base, corpus_of(config.base)
    return draw_documents(corpus, n, rng=Key("documents", 0).generator(), **document_shares(base, corpus))


def test_a_task_shows_its_steps_with_a_share_of_its_own():
    options = {"walk_map0.*": {"scratchpad_share": 1.0}, "walk_*": {"scratchpad_share": 0.1}}
    found = [parts(held) for held in documents(with_options(options, *MAPS))]
    shown = {name: np.mean([steps != "" for prompt, steps, _ in found if prompt[0] == name]) for name in "01"}
    assert shown["0"] == 1
    assert shown["1"] == pytest.approx(0.1, abs=0.03)


def test_the_weight_of_a_task_is_its_exposure_within_its_context():
    config = with_options({"walk_map0.*": {"weight": 3.0, "scratchpad_share": 0.5}}, *MAPS)
    share = np.mean([parts(held)[0][0] == "0" for held in documents(config)])
    assert share == pytest.approx(0.75, abs=0.03)
    without = with_options({"walk_map0.*": {"weight": 0.0}}, *MAPS)
    assert [task.name for task in corpus_of(without.base).tasks] == ["walk_map1.symbolic"]


def test_a_task_has_wrong_answers_with_a_share_of_its_own():
    settings = ("base.tasks=[addition.symbolic,subtraction.symbolic]", "base.contexts.worded=0", "base.label_noise=0")
    config = with_options({"addition.*": {"label_noise": 0.5}}, *settings, "base.difficulties=[3]")
    right: dict[str, list[bool]] = {"+": [], "-": []}
    for prompt, _, answer in map(parts, documents(config)):
        right["+" if "+" in prompt else "-"].append(eval(prompt.rstrip("=")) == int(answer))
    assert np.mean(right["+"]) == pytest.approx(0.5, abs=0.05)
    assert all(right["-"])


def test_a_tool_shows_its_calls_with_a_share_of_its_own():
    """In the other documents the right answer stands at once."""
    config = with_options({"store.*": {"calls_share": 0.1}}, *TOOLS, "base.label_noise=0")
    calls = {"hop": [], "code": []}
    for document in (document.tolist() for document in documents(config)):
        prompt = decode(document[1 : document.index(TURN)])
        calls[prompt.split()[0]].append(document.count(ENV))
    assert np.mean(np.array(calls["hop"]) == 3) == pytest.approx(0.1, abs=0.03)
    assert set(calls["hop"]) == {0, 3}
    assert set(calls["code"]) == {3}


def test_hidden_calls_change_nothing_else_of_a_corpus():
    def ends(config):
        """Prompts and answers."""
        found = [document.tolist() for document in documents(config, 200)]
        return [(ids[: ids.index(TURN)], decode(ids).rsplit("⟨TURN⟩", 1)[-1]) for ids in found]

    noisy = (*TOOLS, "base.label_noise=0.3", "base.scratchpad_share=0")
    assert ends(tiny(*noisy)) == ends(tiny(*noisy, "base.calls_share=0"))


def test_options_that_are_those_of_the_corpus_change_no_document_and_no_identity():
    settings = ("base.scratchpad_share=0.3", "base.label_noise=0.1", *MAPS)
    plain, spelled = tiny(*settings), with_options({"walk_*": {"scratchpad_share": 0.3}}, *settings)
    both = zip(documents(plain, 200), documents(spelled, 200))
    assert all(np.array_equal(a, b) for a, b in both)
    assert (base_id(plain), run_id(plain)) == (base_id(spelled), run_id(spelled))


def test_shares_by_task_draw_the_documents_of_one_share_where_all_are_alike():
    config = tiny("base.scratchpad_share=0.3", "base.label_noise=0.1", *MAPS)
    alike = draw_documents(corpus_of(config.base), 200, 0.1, Key("documents", 0).generator(), 0.3)
    assert all(np.array_equal(a, b) for a, b in zip(alike, documents(config, 200)))


def test_an_identity_goes_by_the_options_of_tasks_not_by_the_patterns():
    by_name = {name: {"weight": 2.0} for name in ("walk_map0.symbolic", "walk_map1.symbolic")}
    first, second = with_options({"walk_*": {"weight": 2.0}}, *MAPS), with_options(by_name, *MAPS)
    assert base_id(first) == base_id(second) != base_id(tiny(*MAPS))
    continued = "objective=continued_pretraining"
    assert run_id(with_options(by_name, continued, *MAPS)) != run_id(tiny(continued, *MAPS))


def test_the_first_entry_that_stands_for_a_task_counts():
    entries = {"walk_map0.*": {"weight": 2.0}, "walk_*": {"weight": 5.0}}
    shares = [with_options(dict(order), *MAPS) for order in (entries.items(), reversed(entries.items()))]
    assert [config.base.options("walk_map0.symbolic").weight for config in shares] == [2.0, 5.0]
    assert base_id(shares[0]) != base_id(shares[1])


def test_a_policy_has_a_scratchpad_if_any_task_shows_steps():
    assert not tiny(*MAPS).has_scratchpad
    assert with_options({"walk_map0.*": {"scratchpad_share": 0.01}}, *MAPS).has_scratchpad


@pytest.mark.parametrize(
    ("entry", "options", "error"),
    [
        ("walk_map7.*", {"weight": 2.0}, r"base\.task_options names walk_map7\.\*"),
        ("walk_*", {"weight": 0.0}, "at least one task"),
        ("walk_map0.*", {"scratchpad_share": 1.5}, "scratchpad_share"),
        ("walk_map0.*", {"weight": -1.0}, "weight"),
        ("walk_map0.*", {"worked": 0.5}, "worked"),
    ],
)
def test_options_without_a_task_without_weight_out_of_range_or_unknown_are_refused(entry, options, error):
    with pytest.raises((UserError, ValidationError), match=error):
        with_options({entry: options}, *MAPS)


def test_a_distribution_of_weights_is_over_the_tasks_that_patterns_stand_for():
    config = tiny(*QUANTA, distribution("log_uniform", 3.0))
    shares = np.array([p for *_, p in training_mixture(config).cells()])
    assert len(shares) == 10
    assert shares[1:] / shares[:-1] == pytest.approx(10 ** (-3 / 9))
    alike = tiny(*QUANTA, distribution("uniform", 3.0))
    assert [p for *_, p in training_mixture(alike).cells()] == [p for *_, p in training_mixture(tiny(*QUANTA)).cells()]


def test_another_distribution_of_weights_is_another_run():
    spread = [(name, decades) for name in ("log_uniform", "two_clusters") for decades in (1, 3)]
    ids = {run_id(tiny(*QUANTA, distribution(*values))) for values in spread}
    assert len(ids) == 4


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ((distribution("uniform", 1), "tasks.weights=[1.0]"), "both give the weights"),
        ((*QUANTA, distribution("zipf", 3)), "zipf"),
        ((*QUANTA, distribution("log_uniform", -1)), "decades"),
        ((*QUANTA, "tasks.weight_distribution={name: log_uniform}"), "decades"),
    ],
)
def test_weights_that_are_given_twice_unknown_or_incomplete_are_refused(settings, error):
    with pytest.raises((UserError, ValidationError), match=error):
        tiny(*settings)
