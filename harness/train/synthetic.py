"""Pretraining documents whose completions an earlier base has sampled, filtered by the verifier, mixed with the corpus.

Prompts are drawn as in the corpus. What a filter leaves is not: it keeps more of what the sampling policy does well.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import cycle, islice

import numpy as np
import torch

from envs.base import Correctness
from envs.mixture import Mixture
from envs.vector import TextVectorEnv
from harness.config.schema import BaseConfig, SyntheticConfig
from harness.config.task_checks import longest_scratchpad
from harness.core.seeding import Key
from harness.policy.backends.backend import Backend
from harness.policy.transformer import Transformer
from harness.train.rollout import SamplingParams, rollout

MOST_DRAWN = 32  # completions of a step for each document wanted


@dataclass(frozen=True)
class Teacher:
    """The bases of the generation before, by their seeds."""

    policies: Mapping[int, Transformer]
    backend: Backend


def corpus_sampling(cfg: BaseConfig, corpus: Mixture) -> SamplingParams:
    """How a teacher writes: one completion of each problem, no longer than the longest gold one of the corpus."""
    cells = [(task, difficulty) for task, difficulty, _ in corpus.cells()]
    return SamplingParams(
        group_size=1,
        max_answer_tokens=max(task.max_lengths([difficulty])[1] for task, difficulty in cells) + 1,
        temperature=1.0,
        max_turns=max(task.max_turns for task in corpus.tasks),
        thinking=max(longest_scratchpad(task.name, d) for task, d in cells) if cfg.has_scratchpad else None,
        check_format=False,
    )


def kept(options: SyntheticConfig, correct: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """[n] bool: which completions the filter keeps, given which are right; it errs on each with filter_error."""
    if options.filter == "none":
        return np.ones(len(correct), dtype=bool)
    return correct ^ (rng.random(len(correct)) < options.filter_error)


def synthetic_documents(cfg: BaseConfig, corpus: Mixture, n: int, teacher: Teacher, key: Key) -> list[np.ndarray]:
    """n documents by the teacher of key.seed, drawn in rounds until the filter has kept enough. After MOST_DRAWN * n
    completions those kept are repeated; where none is right, as of a policy that has collapsed, the last are read as
    they are, so that its seed stays in a study. Seed and step of the key name the streams."""
    if n == 0 or cfg.synthetic is None:
        return []
    names = ("synthetic_problems", "synthetic_sampling", "synthetic_filter")
    problem_key, sampling_key, filter_key = (Key(name, key.seed, key.step) for name in names)
    problem_rng, filter_rng = problem_key.generator(), filter_key.generator()
    policy, sampling = teacher.policies[key.seed], corpus_sampling(cfg, corpus)
    documents: list[np.ndarray] = []
    written, drawn = documents, 0
    while len(documents) < n and drawn < MOST_DRAWN * n:
        # As many as are missing at the share kept so far, n at most.
        size = min(n, math.ceil((n - len(documents)) * drawn / len(documents))) if documents else n
        env, problems = TextVectorEnv(size, corpus.tasks[0]), corpus.draw(size, problem_rng)
        streams = torch.arange(drawn, drawn + size)
        rollouts, results = rollout(teacher.backend, policy, env, problems, sampling, (sampling_key,), streams)
        correct = (results.correctness == int(Correctness.CORRECT)).cpu().numpy()
        written = [ids[:length] for ids, length in zip(rollouts.ids.cpu().numpy(), rollouts.length.cpu().numpy())]
        documents += [each for each, keep in zip(written, kept(cfg.synthetic, correct, filter_rng)) if keep]
        drawn += size
    return list(islice(cycle(documents or written), n))
