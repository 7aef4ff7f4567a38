"""Advantages and losses agree with TRL's own code on the same tensors (extra `bench`; skipped without it).

TRL divides by a sample deviation plus 1e-4 where this project divides by the deviation itself, as GRPO's equation does;
that one factor is taken out. Its rloo weighs a completion by the product of its tokens' ratios, not token by token as
here, so the two agree where they are meant to be used: on policy, where all ratios are 1.
"""

import copy
from dataclasses import replace

import pytest
import torch

from harness.train.algorithms import ALGORITHMS
from harness.train.batch import ScoredRollouts, training_batches
from harness.train.losses import LossInputs, regularisers
from tests.toys import algo, tiny
from tests.train.toy_rollouts import hand_made, rewards_of

pytest.importorskip("trl", minversion="1.16")
pytestmark = pytest.mark.slow

NAN = float("nan")
GROUPS, G, LONGEST = 3, 4, 5
REWARDS = [[1.0, 0.0, 0.0, 0.0], [1.0, 1.0, 0.0, 0.5], [0.0, 1.0, 0.25, 1.0]]
UNSCORABLE = [[1.0, NAN, 0.0, 0.0], [1.0, 1.0, NAN, NAN], [1.0, NAN, NAN, NAN]]
LENGTHS = [5, 3, 1, 2, 4, 4, 5, 1, 2, 5, 3, 3]


def unused(**_):
    """A reward function that TRL wants to be given."""


def trainer_of(kind, folder):
    """A TRL trainer of a random model, whose completions have the lengths above."""
    import trl
    from datasets import Dataset
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

    words = Tokenizer(models.WordLevel({"<pad>": 0, "<eos>": 1, "a": 2}, unk_token="a"))
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="<pad>", eos_token="<eos>", padding_side="left"
    )
    sizes = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "head_dim": 8}
    heads = {"num_attention_heads": 1, "num_key_value_heads": 1}
    model = Qwen3ForCausalLM(Qwen3Config(vocab_size=3, pad_token_id=0, eos_token_id=1, **sizes, **heads))
    settings = getattr(trl, f"{kind}Config")(
        output_dir=str(folder),
        per_device_train_batch_size=GROUPS * G,
        num_generations=G,
        max_completion_length=LONGEST,
        beta=0.0,
        report_to=[],
        use_cpu=True,
        bf16=False,
    )
    data = Dataset.from_dict({"prompt": ["a"] * GROUPS})
    trainer = getattr(trl, f"{kind}Trainer")(model, unused, settings, data, processing_class=tokenizer)
    trainer.current_gradient_accumulation_steps = 1
    trainer.model.train()
    trainer.ref_model = trainer.model  # it is never called
    trainer.args.use_bias_correction_kl = True  # a KL term weighted by the ratio, as ours always is
    prompts, completions = [[2]] * GROUPS * G, [[2] * n for n in LENGTHS]
    played = (prompts, completions, ["a"] * len(LENGTHS))
    trainer._generate = lambda _: played if kind == "RLOO" else (*played[:2], None, played[2], None, {}, None, [])
    return trainer


@pytest.fixture(scope="module")
def trainers(tmp_path_factory):
    return {kind: trainer_of(kind, tmp_path_factory.mktemp(kind)) for kind in ("GRPO", "RLOO")}


def judged_by_trl(trainer, rewards, **settings):
    """What TRL makes of these rewards, its settings changed in a copy; (trainer, inputs of its loss)."""
    trainer = copy.copy(trainer)
    vars(trainer).update(settings)
    of_rows = [None if r != r else r for group in rewards for r in group]
    trainer._calculate_rewards = lambda *_: torch.tensor([[NAN if r is None else r] for r in of_rows])
    trainer._get_per_token_logps_and_entropies = lambda *_, **__: (torch.zeros(len(LENGTHS), LONGEST), None, None)
    return trainer, trainer._generate_and_score_completions([{"prompt": "a"}] * len(LENGTHS))


def rollouts_of_lengths():
    rollouts = hand_made([[0] * G] * GROUPS, tokens=1 + LONGEST).rollouts
    column, length = torch.arange(1 + LONGEST), torch.tensor(LENGTHS)
    mask = (column > 0) & (column <= length[:, None])
    return replace(rollouts, loss_mask=mask, length=length + 1)


def advantages(name, rewards, **changes):
    """[B] of ours."""
    rollouts = rollouts_of_lengths()
    return ALGORITHMS[name].advantage(rewards_of(rewards), None, rollouts, algo(name, **changes))[:, 1]


def deviation_factor(centred, count):
    """What TRL's division is short of ours by: population over sample deviation plus 1e-4."""
    deviation = (centred**2).sum(-1, keepdim=True) / count
    return deviation.sqrt() / ((deviation * count / (count - 1)).sqrt() + 1e-4)


@pytest.mark.parametrize("rewards", [REWARDS, UNSCORABLE], ids=["all scorable", "some unscorable"])
def test_group_advantages_agree(trainers, rewards):
    theirs = lambda scale: judged_by_trl(trainers["GRPO"], rewards, scale_rewards=scale)[1]["advantages"]  # noqa: E731
    centred = advantages("dr_grpo", rewards)
    torch.testing.assert_close(centred, theirs("none"))
    count = (~torch.tensor(rewards).isnan()).sum(1, keepdim=True)
    factor = deviation_factor(centred.view(GROUPS, G), count).nan_to_num().expand(-1, G).flatten()
    for name in ("grpo", "dapo", "cispo", "gspo"):
        torch.testing.assert_close(advantages(name, rewards) * factor, theirs("group"))


@pytest.mark.parametrize("rewards", [REWARDS, UNSCORABLE], ids=["all scorable", "some unscorable"])
def test_leave_one_out_advantages_agree(trainers, rewards):
    theirs = lambda scaled: judged_by_trl(trainers["RLOO"], rewards, normalize_advantages=scaled)[1]["advantages"]  # noqa: E731
    plain = advantages("rloo", rewards, scale="none")
    torch.testing.assert_close(plain, theirs(False))
    if rewards is REWARDS:  # with a group of one TRL's deviation leaves it out, ours counts its zero
        factor = deviation_factor(plain, torch.tensor(float(len(LENGTHS))))
        torch.testing.assert_close(advantages("rloo", rewards, scale="batch") * factor, theirs(True))


def log_probs(spread):
    """[B, LONGEST] in float64: of the policy, with gradient, and of the sampler and the reference beside it."""
    generator = torch.Generator().manual_seed(0)
    random = lambda scale: scale * torch.randn(len(LENGTHS), LONGEST, generator=generator, dtype=torch.float64)  # noqa: E731
    policy = random(1.0) - 2
    return policy.requires_grad_(), policy.detach() + random(spread), policy.detach() + random(0.3)


def our_loss(name, given, spread, **changes):
    """Loss, its gradient on each token, and how many are clipped, under these advantages [B]."""
    policy, sampler, reference = log_probs(spread)
    config, rollouts = algo(name, **changes), rollouts_of_lengths()
    wide = lambda x: torch.nn.functional.pad(x, (1, 0))  # noqa: E731  (the prompt's token)
    rollouts = replace(rollouts, sampler_logprobs=wide(sampler))
    keep = torch.ones(1, GROUPS, dtype=torch.bool)
    scored = ScoredRollouts(
        rollouts,
        given[:, None].double() * rollouts.loss_mask,
        torch.ones(len(LENGTHS), dtype=torch.bool),
        ~keep,
        keep,
        wide(reference),
    )
    (batch,) = training_batches(scored, config, tiny().optim, LONGEST, ())
    inputs = LossInputs(
        policy[None], batch.sampler_logprobs, batch.advantages, batch.mask, batch.weight, batch.ref_logprobs
    )
    of_policy, metrics = ALGORITHMS[name].loss(inputs, config)
    loss = (of_policy + regularisers(inputs, config)[0]) / batch.denominator
    loss.sum().backward()
    return loss.item(), policy.grad, metrics["ratio_clipped"].item()


def their_loss(trainer, inputs, spread, beta=0.0):
    policy, sampler, reference = log_probs(spread)
    mask = inputs["completion_mask"]
    inputs |= {"old_per_token_logps": sampler, "old_logps": (sampler * mask).sum(1), "ref_per_token_logps": reference}
    trainer._get_per_token_logps_and_entropies = lambda *_, **__: (policy, torch.zeros_like(policy), None)
    loss = trainer._compute_loss(trainer.model, inputs)
    loss.backward()
    return loss.item(), policy.grad * mask


CASES = [
    ("grpo", {"loss_type": "grpo"}, {}),
    ("grpo", {"loss_type": "grpo", "beta": 0.3}, {"kl": "k3", "kl_coefficient": 0.3}),
    ("dr_grpo", {"loss_type": "dr_grpo"}, {}),
    ("dapo", {"loss_type": "dapo", "epsilon_high": 0.28}, {}),
    ("cispo", {"loss_type": "cispo", "epsilon_high": 1.28}, {}),  # TRL's bound is on the ratio, ours on its excess
    ("gspo", {"loss_type": "grpo", "importance_sampling_level": "sequence", "epsilon_low": 0.1, "epsilon_high": 0.1},
     {"clip_low": 0.1, "clip_high": 0.1}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "settings", "changes"), CASES, ids=lambda x: x if isinstance(x, str) else "")
def test_losses_and_their_gradients_agree(trainers, name, settings, changes):
    """Ratios of e^±.3 or so, many of them clipped."""
    settings = {"epsilon_low": 0.2, "epsilon_high": 0.2, "importance_sampling_level": "token", "beta": 0.0} | settings
    trainer, inputs = judged_by_trl(trainers["GRPO"], REWARDS, **settings)
    loss, gradient = their_loss(trainer, inputs, 0.3)
    ours, our_gradient, clipped = our_loss(name, inputs["advantages"], 0.3, **changes)
    assert ours == pytest.approx(loss, rel=1e-6)
    torch.testing.assert_close(our_gradient, gradient, rtol=1e-6, atol=1e-9)
    assert clipped > 5


def test_rloo_agrees_on_policy(trainers):
    trainer, inputs = judged_by_trl(trainers["RLOO"], REWARDS, normalize_advantages=False)
    _, gradient = their_loss(trainer, inputs, 0.0)
    _, ours, _ = our_loss("rloo", inputs["advantages"], 0.0, aggregation="constant")
    torch.testing.assert_close(ours * LONGEST, gradient, rtol=1e-6, atol=1e-9)
