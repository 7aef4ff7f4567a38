"""The policy of a run, to put prompts to: text in, completions with their probabilities out."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from envs.registry import select
from harness.config.identity import base_id
from harness.config.parse import parse
from harness.config.run_names import find_run, name_of
from harness.config.schema import Config
from harness.core.errors import UserError
from harness.core.files import read_json
from harness.core.seeding import Key, uniforms
from harness.core.types import GroupedCompletions, SampleRequest
from harness.policy.backends.eager import EagerBackend, pad_rows
from harness.policy.tokenizer import ANSWER, EOS, decode, encode_completion, encode_prompt
from harness.policy.transformer import Transformer
from harness.run.checkpoint import kept_step, load_weights
from harness.run.mixture import training_mixture

_BACKEND = EagerBackend()


@dataclass(frozen=True)
class Completion:
    """A completion, drawn `count` times.

    text: the answer. thinking: the scratchpad before it, None without one. probability: of the
    whole completion, stop token and scratchpad included, at the temperature it was drawn at; a forced end of thinking
    counts as certain. finished: whether it ends with the stop token, rather than at the token limit.
    """

    text: str
    thinking: str | None
    probability: float
    count: int
    finished: bool
    ids: tuple[int, ...] = field(repr=False)


@dataclass(frozen=True)
class Policy:
    """The policy of a run at a step: `Policy.load("outputs/runs/rl-…").generate(["reverse abc="])`."""

    name: str
    step: int
    config: Config = field(repr=False)
    transformer: Transformer = field(repr=False)

    @staticmethod
    def load(run: str | Path, step: int | None = None, out: str | Path = "outputs", device: str = "cpu") -> "Policy":
        """The weights of a run (a folder, or the name or id of a run in `out`) at one of the budgets that it keeps, by
        default the last; of a frozen run those of its base. Raises UserError where there is no such run or step."""
        folder = find_run(run, out)
        plain = read_json(folder / "config.json")
        config = parse({**plain, "device": device, "backend": "eager", "plan": False})
        if config.objective == "frozen":
            folder, step = folder.parent / base_id(config), None
        step = kept_step(folder, step)
        transformer = Transformer(config.model, 1, config.precision).to(torch.device(device))
        load_weights([folder / "budgets"], transformer, step)
        return Policy(name_of(folder), step, config, transformer.eval())

    def generate(
        self,
        prompts: str | Sequence[str],
        samples: int = 32,
        temperature: float = 1.0,
        max_tokens: int | None = None,
        thinking: int | None = None,
        seed: int = 0,
    ) -> list[list[Completion]]:
        """For each prompt its distinct completions among `samples`, the most frequent first.

        max_tokens: of an answer, stop token included; by default the longest answer of the verified tasks. thinking:
        budget of tokens before it, by default the largest that the run was evaluated at. Raises UserError for a
        character outside the vocabulary, a prompt that is too long, and thinking without scratchpads.
        """
        rows = [encode_prompt(prompt) for prompt in ([prompts] if isinstance(prompts, str) else prompts)]
        answer_tokens, budget = max_tokens or self._longest_answer, self._thinking(thinking)
        new_tokens = answer_tokens + (0 if budget is None else budget + 1)
        self._check_length(max(map(len, rows)) + new_tokens)
        device = self.transformer.embedding.device
        ids, real = pad_rows(rows)
        request = SampleRequest(
            prompts=ids[None].to(device),
            length=real.sum(1)[None].to(device),
            uniforms=uniforms(
                [Key("generation", seed)],
                torch.arange(len(rows) * samples, device=device),
                torch.arange(new_tokens, device=device),
            ),
            active=torch.ones((1, len(rows) * samples), dtype=torch.bool, device=device),
            group_size=samples,
            max_answer_tokens=answer_tokens,
            temperature=temperature,
            thinking=budget,
        )
        drawn = _BACKEND.sample(self.transformer, request)
        texts = [tuple(row[:n]) for row, n in zip(drawn.ids[0].tolist(), drawn.length[0].tolist())]
        probabilities = drawn.logprobs[0].sum(-1).double().exp().tolist()
        groups = range(0, len(texts), samples)
        return [_distinct(texts[i : i + samples], probabilities[i : i + samples]) for i in groups]

    def probability(self, prompt: str, answers: Sequence[str | Completion], temperature: float = 1.0) -> list[float]:
        """p(answer and stop token | prompt) of each answer, or of a completion as it was drawn; of a policy that
        thinks, where it must answer at once."""
        opening = np.array([ANSWER] if self.config.has_scratchpad else [], dtype=np.int64)
        ids = [np.array(a.ids) if isinstance(a, Completion) else encode_completion(a) for a in answers]
        prompts, real = pad_rows([np.append(encode_prompt(prompt), opening)])
        completions, mask = pad_rows(ids)
        self._check_length(prompts.shape[1] + completions.shape[1])
        tensors = (x[None].to(self.transformer.embedding.device) for x in (prompts, real.sum(1), completions, mask))
        with torch.no_grad():
            logprobs, _ = _BACKEND.completion_logprobs(self.transformer, GroupedCompletions(*tensors), temperature)
        return logprobs[0].sum(-1).double().exp().tolist()

    def example_prompts(self, seed: int = 0) -> list[str]:
        """A prompt of each task that the run verifies."""
        rng = Key("problems", seed).generator()
        return [task.draw(rng, task.difficulties[0]).prompt for task in select(self.config.tasks.verified)]

    @cached_property
    def _longest_answer(self) -> int:
        cells = training_mixture(self.config).cells()
        return self.config.sampling.max_new_tokens or max(task.max_lengths([d])[1] for task, d, _ in cells) + 1

    def _thinking(self, asked: int | None) -> int | None:
        if asked is not None and not self.config.has_scratchpad:
            fix = "leave it out, or take a run whose base has base.scratchpad_share above 0"
            raise UserError(f"thinking={asked}", f"{self.name} was pretrained without scratchpads", fix)
        budgets = self.config.evaluated_thinking
        return max((b for b in budgets if b is not None), default=None) if asked is None else asked

    def _check_length(self, tokens: int) -> None:
        if tokens > self.config.model.context:
            reason = f"prompt and answer may take {tokens} tokens, the policy reads {self.config.model.context}"
            raise UserError("the prompt is too long", reason, "shorten it, or lower max_tokens or thinking")


def _distinct(drawn: Sequence[tuple[int, ...]], probabilities: Sequence[float]) -> list[Completion]:
    """The distinct ones among the ids of completions, the most frequent first."""
    probability = dict(zip(drawn, probabilities))
    found = [_completion(ids, probability[ids], count) for ids, count in Counter(drawn).items()]
    return sorted(found, key=lambda completion: (-completion.count, -completion.probability))


def _completion(ids: tuple[int, ...], probability: float, count: int) -> Completion:
    finished = ids[-1] == EOS
    text = ids[:-1] if finished else ids
    if ANSWER not in text:
        return Completion(decode(text), None, probability, count, finished, ids)
    end = len(text) - text[::-1].index(ANSWER)
    return Completion(decode(text[end:]), decode(text[: end - 1]), probability, count, finished, ids)
