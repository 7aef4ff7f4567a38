"""One file of RL on a language model: sample, verify, advantage, loss, step. Run it: python examples/minimal_rl.py

Read this page first. It computes the same weights as harness/train/rl.py (tests/train/test_minimal_rl.py), for one
seed, one device and one update a step, with the plainest code. Left out, and where to find it:

- a KL to a reference, an entropy bonus, a critic, clipping of the ratio: with one update a step the ratio is 1, so that
  clipping never acts; harness/train/losses.py, critic.py
- several turns, scratchpads and process rewards: harness/train/rollout.py, rewards.py
- stacked seeds, several ranks, micro-batches, groups of zero advantage left out (here they are computed, and add
  nothing), each prompt computed once for its group (here once a row): harness/train/batch.py, update.py
- checkpoints, evaluation, tracking: harness/run/
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_

from envs.base import Problem
from envs.mixture import Mixture
from envs.registry import select
from envs.vector import TextVectorEnv
from harness.config.schema import ModelConfig
from harness.core.seeding import Key, uniforms
from harness.core.types import Completions, SampleRequest
from harness.policy.backends.eager import pad_rows
from harness.policy.logprobs import token_logprobs
from harness.policy.sampler import sample
from harness.policy.tokenizer import PAD, answer_texts, encode_prompt
from harness.policy.transformer import Transformer
from harness.train.pretrain import draw_documents


def sample_group(policy: Transformer, problems: Sequence[Problem], group_size: int, new_tokens: int, key: Key):
    """Prompts [P, T], their lengths [P], and group_size completions of each, P·G rows of `new_tokens` tokens."""
    encoded = [torch.from_numpy(encode_prompt(problem.prompt)) for problem in problems]
    prompts = torch.nn.utils.rnn.pad_sequence(encoded, batch_first=True, padding_value=PAD)
    length = torch.tensor([len(ids) for ids in encoded])
    rows = torch.arange(len(problems) * group_size)
    # Token t of a row is drawn from a number that depends on (key, row, t) alone: runs repeat whatever the batch.
    numbers = uniforms((key,), rows, torch.arange(new_tokens))
    active = torch.ones((1, len(rows)), dtype=torch.bool)
    request = SampleRequest(prompts[None], length[None], numbers, active, group_size, new_tokens, temperature=1.0)
    return prompts, length, sample(policy, request)


def verify(problems: Sequence[Problem], completions: Completions, group_size: int) -> Tensor:
    """1 for each correct completion, 0 for each wrong one, [P, G]: a Gymnasium environment judges the text."""
    env = TextVectorEnv(len(problems) * group_size, problems[0].task)
    env.reset(options={"problems": [problem for problem in problems for _ in range(group_size)]})
    texts = answer_texts(completions.ids[0].numpy(), completions.length[0].numpy())
    _, rewards, *_ = env.step(texts)
    return torch.from_numpy(rewards).float().view(-1, group_size)


def grpo_advantages(reward: Tensor) -> Tensor:
    """Reward minus the group's mean, over the group's standard deviation (arXiv 2402.03300); 0 where all are equal."""
    centred = reward - reward.mean(1, keepdim=True)
    deviation = reward.std(1, correction=0, keepdim=True)
    return torch.where(deviation > 0, centred / deviation.clamp(min=1e-6), 0.0)


def rloo_advantages(reward: Tensor) -> Tensor:
    """Reward minus the mean of the others of its group (arXiv 2402.14740), over the step's standard deviation."""
    group_size = reward.shape[1]
    advantage = (reward - reward.mean(1, keepdim=True)) * group_size / (group_size - 1)
    deviation = advantage.square().mean().sqrt()
    return advantage / deviation if deviation > 0 else torch.zeros_like(reward)


def whole_rows(prompts: Tensor, length: Tensor, completions: Completions) -> tuple[Tensor, Tensor]:
    """Prompt and completion without a gap, [P·G, T + C], and the mask of the tokens that the policy drew."""
    group_size, new_tokens = completions.ids.shape[1] // len(prompts), completions.ids.shape[2]
    start = length.repeat_interleave(group_size)[:, None]
    ids = torch.nn.functional.pad(prompts, (0, new_tokens), value=PAD).repeat_interleave(group_size, dim=0)
    column = torch.arange(ids.shape[1])
    mask = (column >= start) & (column < start + completions.length[0][:, None])
    ids[mask] = completions.ids[0][torch.arange(new_tokens) < completions.length[0][:, None]]
    return ids, mask


def policy_loss(logprobs: Tensor, mask: Tensor, advantage: Tensor, aggregation: str) -> Tensor:
    """-advantage · log p, a mean over all tokens ("token"), or over completions of their token means ("sample").

    The gradient of the clipped surrogate min(ratio·A, clip(ratio)·A) at ratio 1, where this step always is.
    """
    per_token = torch.where(mask, -advantage.flatten()[:, None] * logprobs, 0.0)
    if aggregation == "token":
        return per_token.sum() / mask.sum()
    return (per_token.sum(1) / mask.sum(1)).mean()


def rl_step(policy: Transformer, optimizer, mixture: Mixture, key: Key, sizes=(4, 4), algorithm: str = "rloo") -> float:
    """One step of sizes[0] problems x sizes[1] completions; returns the mean reward."""
    problems = mixture.draw(sizes[0], Key("problems", key.seed, key.step).generator())
    new_tokens = (
        max(task.max_lengths([difficulty])[1] for task, difficulty, _ in mixture.cells()) + 1
    )  # and the stop token
    prompts, length, completions = sample_group(policy, problems, sizes[1], new_tokens, key)
    reward = verify(problems, completions, sizes[1])
    advantage = grpo_advantages(reward) if algorithm == "grpo" else rloo_advantages(reward)
    ids, mask = whole_rows(prompts, length, completions)
    logprobs = token_logprobs(policy, ids[None], temperature=1.0)[0]
    loss = policy_loss(logprobs, mask, advantage, aggregation="sample" if algorithm == "grpo" else "token")
    optimizer.zero_grad()
    loss.backward()
    clip_grad_norm_(policy.parameters(), 1.0)
    optimizer.step()
    return reward.mean().item()


def pretrain_step(policy: Transformer, optimizer, mixture: Mixture, key: Key) -> None:
    """Next-token loss on 64 documents, half of them with a wrong answer: RL then has something to improve."""
    ids, mask = pad_rows(draw_documents(mixture, 64, 0.5, key.generator()))
    logprobs = token_logprobs(policy, ids[None], temperature=1.0)[0]
    optimizer.zero_grad()
    (-(logprobs * mask)[:, 1:].sum() / mask[:, 1:].sum()).backward()
    optimizer.step()


def main() -> None:
    model = ModelConfig("example", 2, 64, 4, 192, 64, "rmsnorm", "pre", False, 10000.0, 0.05, None, 112)
    policy = Transformer(model).initialise((Key("init", 0),))
    mixture = Mixture(select(["maximum.symbolic"]), difficulties=(1, 2))
    optimizer = torch.optim.AdamW(policy.parameters(), lr=2e-3, weight_decay=0.0)
    for step in range(300):
        pretrain_step(policy, optimizer, mixture, Key("documents", 0, step))
    optimizer = torch.optim.AdamW(policy.parameters(), lr=3e-4, betas=(0.9, 0.95), weight_decay=0.0)
    for step in range(200):
        reward = rl_step(policy, optimizer, mixture, Key("sampling", 0, step), sizes=(16, 8))
        if step % 20 == 0:
            print(f"step {step:3d}  mean reward {reward:.2f}")


if __name__ == "__main__":
    main()
