"""An exported policy is the same policy to transformers, and comes back as it was."""

import json

import pytest
import torch

from harness.config.identity import base_id, run_id
from harness.core.errors import UserError
from harness.policy.export import from_hugging_face, read_folder, to_hugging_face, write_folder
from harness.policy.tokenizer import encode_prompt
from harness.run.checkpoint import export_run
from tests.policy.test_native import policy_of
from tests.toys import tiny, train

MODELS = {"llama": {}, "qwen3": {"qk_norm": True}, "muP": {"base_width": 8}}


def exported(folder, **changes):
    policy = policy_of(layers=2, **changes)
    write_folder(folder, policy.state_dict(), policy.config, {"run_id": "rl-0"})
    return policy


@pytest.fixture(params=MODELS.values(), ids=MODELS.keys())
def changes(request):
    return request.param


def test_the_way_out_and_back_changes_no_bit(changes, tmp_path):
    policy = exported(tmp_path, **changes)
    back = read_folder(tmp_path, policy.state_dict(), policy.config)
    assert back.keys() == policy.state_dict().keys()
    assert all(torch.equal(back[name], weight) for name, weight in policy.state_dict().items())


def test_every_weight_goes_out_once():
    policy = policy_of(layers=2, qk_norm=True)
    out = to_hugging_face(policy.state_dict(), policy.config)
    assert sum(x.numel() for x in out.values()) == sum(x.numel() for x in policy.parameters())
    shapes = {name: torch.zeros_like(x) for name, x in policy.state_dict().items()}
    assert from_hugging_face(out, shapes, policy.config).keys() == shapes.keys()


@pytest.mark.parametrize(
    ("change", "said"),
    [({"norm": "layernorm"}, "norm=layernorm"), ({"norm": "none"}, "norm=none"), ({"norm_position": "post"}, "post")],
)
def test_what_no_stock_architecture_expresses_is_refused_by_name(change, said, tmp_path):
    with pytest.raises(UserError, match=said):
        exported(tmp_path / "out", **change)
    assert not (tmp_path / "out").exists()


def test_a_folder_of_something_else_is_not_overwritten(tmp_path):
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(UserError, match="not empty"):
        exported(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


# ---- bases from folders


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished run, and its last budget as a folder."""
    folder = train(tiny("rl.steps=2", out=tmp_path_factory.mktemp("run")))
    out = folder.parent / "exported"
    assert export_run(folder, None, out) == 2
    return folder, out


def test_a_run_starts_from_an_exported_policy_as_from_a_base(run, tmp_path):
    """Its weights before RL are those that were exported; where they lie does not name the run, what they are does."""
    from safetensors.torch import load_file

    folder, exported_to = run
    config = tiny("rl.steps=2", f"base.folder={exported_to}", out=tmp_path)
    start = load_file(train(config) / "budgets" / "step-00000000" / "policy.safetensors")
    end = load_file(folder / "budgets" / "step-00000002" / "policy.safetensors")
    assert all(torch.equal(start[name], end[name]) for name in end)
    copy = tmp_path / "elsewhere"
    export_run(folder, 2, copy)
    assert run_id(tiny("rl.steps=2", f"base.folder={copy}")) == run_id(config)
    export_run(folder, 1, copy)
    other = tiny(f"base.folder={copy}")
    assert run_id(other) != run_id(config)
    assert base_id(other) != base_id(tiny())


def test_continued_pretraining_of_an_exported_policy_is_named_by_its_corpus_too(run):
    of = lambda *more: run_id(tiny("objective=continued_pretraining", f"base.folder={run[1]}", *more))  # noqa: E731
    assert of("base.label_noise=0.5") != of()
    assert of("base.steps=7") == of()


@pytest.mark.parametrize("kind", ["foreign", "nowhere", "no JSON"])
def test_a_foreign_folder_is_refused_with_the_reason(kind, tmp_path):
    if kind != "nowhere":
        content = "{" if kind == "no JSON" else json.dumps({"model_type": "llama"})
        (tmp_path / "config.json").write_text(content)
    with pytest.raises(UserError, match="not exported from here"):
        tiny(f"base.folder={tmp_path / 'nothing' if kind == 'nowhere' else tmp_path}")


def test_a_folder_of_another_shape_is_refused_with_the_settings_that_fit(run):
    with pytest.raises(UserError, match=r"set model\.layers=1"):
        tiny(f"base.folder={run[1]}", "model.layers=2")


def test_weights_that_were_changed_are_refused(tmp_path):
    policy = exported(tmp_path)
    data = bytearray((tmp_path / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (tmp_path / "model.safetensors").write_bytes(bytes(data))
    with pytest.raises(UserError, match="not the file that was exported"):
        read_folder(tmp_path, policy.state_dict(), policy.config)


def test_a_run_that_does_not_exist_is_refused_with_the_nearest_one_that_does(run, tmp_path):
    with pytest.raises(UserError, match=rf"there is no such folder\n  did you mean {run[0].name}"):
        export_run(run[0].with_name(run[0].name[:-2]), None, tmp_path)
    with pytest.raises(UserError, match=r"there is no such folder\n  name a folder of a run"):
        export_run(tmp_path / "runs" / "nope", None, tmp_path)


def test_a_step_that_was_not_kept_is_refused_with_those_that_were(run, tmp_path):
    with pytest.raises(UserError, match="it keeps the steps 0, 1, 2"):
        export_run(run[0], 5, tmp_path / "out")


# ---- transformers (extra `bench`)


def loaded(folder):
    transformers = pytest.importorskip("transformers")
    return (
        transformers.AutoModelForCausalLM.from_pretrained(folder).eval(),
        transformers.AutoTokenizer.from_pretrained(folder),
    )


@pytest.mark.slow
def test_transformers_loads_it_and_agrees_in_logits_and_greedy_text(changes, tmp_path):
    policy = exported(tmp_path, **changes)
    model, _ = loaded(tmp_path)
    assert model.config.model_type == ("qwen3" if policy.config.qk_norm else "llama")
    ids = torch.randint(16, 112, (4, 30), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        ours, theirs = policy(ids[None])[0], model(ids).logits
    assert ours.std() > 0.3
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-4)

    prompt = torch.from_numpy(encode_prompt("12+34="))[None]
    with torch.no_grad():
        made = model.generate(prompt, max_new_tokens=12, do_sample=False)[0]
        here = prompt[0]
        while len(here) < len(made):
            here = torch.cat((here, policy(here[None, None])[0, 0, -1].argmax()[None]))
    assert torch.equal(made, here)


@pytest.mark.slow
def test_the_exported_tokenizer_is_ours(tmp_path):
    exported(tmp_path)
    _, tokenizer = loaded(tmp_path)
    text = "\n" + "".join(map(chr, range(32, 127))) + "  two  spaces\n\n"
    ids = tokenizer(text)["input_ids"]
    assert ids == encode_prompt(text).tolist()
    assert tokenizer.decode(ids, skip_special_tokens=True) == text
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id) == (1, 2, 0)
