"""Hand-made rollouts, rollouts of untrained policies with rewards that carry signal, and documents."""

import numpy as np
import torch
from torch import Tensor

import tests.toy_task  # noqa: F401  (registers the task)
from envs import Correctness, Problem, get
from envs.splits import distinct_problems
from envs.vector import TextVectorEnv
from harness.core.seeding import Key, keys
from harness.core.types import RewardInputs, Rewards, Rollouts, VerifierResults
from harness.policy.tokenizer import ANSWER, TURN, answer_text, decode
from harness.train.algorithms import ALGORITHMS
from harness.train.batch import score_rollouts
from harness.train.pretrain import corpus_of, draw_documents
from harness.train.rollout import SamplingParams, rollout
from harness.train.state import TrainState
from tests.toys import algo, tiny


def hand_made(
    checks: list[list[int]], tokens: int = 4, seeds: int = 1, well_formed: list | None = None
) -> RewardInputs:
    """Rows of one prompt token and `tokens` - 1 drawn ones; checks [S·P][G]."""
    correctness = torch.tensor(checks)
    b = correctness.numel()
    mask = torch.ones(b, tokens, dtype=torch.bool)
    mask[:, 0] = False
    rollouts = Rollouts(
        ids=torch.zeros(b, tokens, dtype=torch.int64),
        loss_mask=mask,
        sampler_logprobs=torch.zeros(b, tokens),
        turn=torch.zeros(b, tokens, dtype=torch.int64),
        length=torch.full((b,), tokens),
        prompt_length=torch.ones(b, dtype=torch.int64),
        stop_reason=torch.zeros(b, dtype=torch.int64),
        seeds=seeds,
        group_size=correctness.shape[1],
    )
    form = torch.tensor(well_formed).flatten() if well_formed else torch.ones(b, dtype=torch.bool)
    results, lines = VerifierResults(correctness.flatten(), form), torch.zeros(b, tokens)
    return RewardInputs(rollouts, results, [], keys("reward", range(seeds), 0), line_rewards=lines)


def rewards_of(rewards: list[list[float]] | Tensor) -> Rewards:
    flat = torch.as_tensor(rewards, dtype=torch.float32).flatten()
    return Rewards(base=flat, outcome=flat)


def zero_advantage(name: str, rewards: Rewards, rollouts: Rollouts, values: Tensor | None = None) -> list[list[bool]]:
    """[S, P]: whether a group has zero advantage under this algorithm."""
    advantage = ALGORITHMS[name].advantage
    return score_rollouts(advantage, rewards, values, rollouts, algo(name), None).zero_advantage.tolist()


def documents(n: int, *settings: str, wrong: float = 0.0, worked: float = 0.0, seed: int = 0) -> list[np.ndarray]:
    """n documents of the corpus under these settings."""
    return draw_documents(corpus_of(tiny(*settings).base), n, wrong, Key("documents", seed).generator(), worked)


def parts(document: np.ndarray) -> tuple[str, str | None, str]:
    """Prompt, scratchpad (None without ANSWER) and answer."""
    ids = document.tolist()
    turn = ids.index(TURN)
    scratchpad = decode(ids[turn + 1 : ids.index(ANSWER)]) if ANSWER in ids else None
    return decode(ids[1:turn]), scratchpad, answer_text(ids[turn + 1 :])


def toy_problems(n: int, context: str = "symbolic") -> list[Problem]:
    return list(distinct_problems(get(f"toy.{context}"), 2, "train", n, 0))


def played(
    state: TrainState, problems: list[Problem], group_size=4, tokens=4, first=0, turns=1, thinking=None
) -> tuple[Rollouts, VerifierResults]:
    """Completions of problems, the same for each stacked seed."""
    seeds = state.seeds
    env = TextVectorEnv(len(seeds) * len(problems) * group_size, problems[0].task)
    sampling = SamplingParams(group_size, tokens, 1.0, turns, thinking)
    streams = tuple(Key("sampling", seed) for seed in seeds)
    stream_ids = torch.arange(len(problems)) + first
    return rollout(state.backend, state.policy, env, problems * len(seeds), sampling, streams, stream_ids)


CORRECT, WRONG, UNSCORABLE = int(Correctness.CORRECT), int(Correctness.WRONG), int(Correctness.UNSCORABLE)
