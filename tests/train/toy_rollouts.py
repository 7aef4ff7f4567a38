"""Hand-made rollouts, and rollouts of untrained policies with rewards that carry signal."""

import torch
from torch import Tensor

import tests.toy_task  # noqa: F401  (registers the task)
from envs import Problem, Verdict, get
from envs.splits import distinct_problems
from envs.vector import TextVectorEnv
from harness.core.seeding import Key, keys
from harness.core.types import RewardInputs, Rewards, Rollouts, VerifierResults
from harness.train.rollout import Sampling, rollout


def hand_made(
    verdicts: list[list[int]], tokens: int = 4, seeds: int = 1, well_formed: list | None = None
) -> RewardInputs:
    """Rows of one prompt token and `tokens` - 1 drawn ones; verdicts [S·P][G]."""
    verdict = torch.tensor(verdicts)
    (groups, g), b = verdict.shape, verdict.numel()
    mask = torch.ones(b, tokens, dtype=torch.bool)
    mask[:, 0] = False
    count = lambda n: torch.arange(n)  # noqa: E731
    rollouts = Rollouts(
        ids=torch.zeros(b, tokens, dtype=torch.int64),
        loss_mask=mask,
        sampler_logprobs=torch.zeros(b, tokens),
        turn=torch.zeros(b, tokens, dtype=torch.int64),
        length=torch.full((b,), tokens),
        prompt_length=torch.ones(b, dtype=torch.int64),
        stop_reason=torch.zeros(b, dtype=torch.int64),
        problem=count(groups).repeat_interleave(g),
        seed_index=count(seeds).repeat_interleave(b // seeds),
        seeds=seeds,
        group_size=g,
    )
    form = torch.tensor(well_formed).flatten() if well_formed else torch.ones(b, dtype=torch.bool)
    checked, steps = VerifierResults(verdict.flatten(), form), torch.zeros(b, tokens)
    return RewardInputs(rollouts, checked, [], keys("reward", range(seeds), 0), steps=steps)


def credit_of(rewards: list[list[float]] | Tensor) -> Rewards:
    flat = torch.as_tensor(rewards, dtype=torch.float32).flatten()
    return Rewards(base=flat, outcome=flat)


def toy_problems(n: int, context: str = "symbolic") -> list[Problem]:
    return list(distinct_problems(get(f"toy.{context}"), 2, "train", n, 0))


def played(
    policy, problems: list[Problem], seeds=(0,), group_size=4, tokens=4, first=0
) -> tuple[Rollouts, VerifierResults]:
    """Completions of toy problems, the same for each stacked seed."""
    env = TextVectorEnv(len(seeds) * len(problems) * group_size, problems[0].task)
    sampling = Sampling(group_size, tokens, 1.0)
    streams = tuple(Key("sampling", seed) for seed in seeds)
    return rollout(policy, env, problems * len(seeds), sampling, streams, torch.arange(len(problems)) + first)


CORRECT, WRONG, UNSCORABLE = int(Verdict.CORRECT), int(Verdict.WRONG), int(Verdict.UNSCORABLE)
