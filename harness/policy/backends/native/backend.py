"""The C of this package as a backend."""

from collections.abc import Callable, Hashable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

import harness.policy.backends.native as native
from harness.core.types import Batch, Completions, GroupedCompletions, SampleRequest
from harness.policy.backends.eager import even_slices, predicted_tokens, split_groups
from harness.policy.backends.native.layout import (
    CompletionLayout,
    Spans,
    equal_rows,
    layout_completions,
    pack_documents,
)
from harness.policy.logprobs import completion_logprobs
from harness.policy.sampler import completions_of
from harness.policy.tokenizer import ANSWER, EOS
from harness.policy.transformer import Transformer

# Tokens of one pass, of all seeds: the activations saved for the backward pass take memory.
PASS_TOKENS = 4096


@dataclass(frozen=True)
class PackedDocuments:
    """Documents of each seed, one after the other without padding."""

    ids: Tensor  # [S, N]
    spans: Spans
    target: Tensor  # [S, N]
    denominator: Tensor  # [S]


class NativeBackend:
    """See `Backend`. For policies in float32 on the CPU that `native.unsupported_reason` does not exclude."""

    name, batches_seeds = "native", False

    def sample(self, policy: Transformer, request: SampleRequest) -> Completions:
        return completions_of(*native.sample(policy, request, EOS, ANSWER))

    def hidden(self, policy: Transformer, ids: Tensor) -> Tensor:
        spans = equal_rows(*ids.shape)
        return native.hidden(policy, ids.flatten(1), spans).unflatten(1, ids.shape[1:])

    def completion_hidden(self, policy: Transformer, grouped: GroupedCompletions) -> Tensor:
        layout = _layout(grouped)
        return layout.scatter(native.hidden(policy, layout.ids, layout.spans), grouped.completions)

    def token_logprobs(self, policy: Transformer, ids: Tensor, temperature: float) -> Tensor:
        context, target = ids[..., :-1], ids[..., 1:]
        spans = equal_rows(*context.shape)
        logprobs = native.token_logprobs(policy, context.flatten(1), spans, target.flatten(1), temperature)
        return F.pad(logprobs.view(target.shape), (1, 0))

    def completion_logprobs(
        self, policy: Transformer, grouped: GroupedCompletions, temperature: float, with_entropy: bool = False
    ) -> tuple[Tensor, Tensor | None]:
        if with_entropy:
            return completion_logprobs(policy, self.completion_hidden(policy, grouped), grouped, temperature, True)
        layout = _layout(grouped)
        logprobs = native.token_logprobs(policy, layout.ids, layout.spans, layout.target, temperature)
        return layout.scatter(logprobs, grouped.completions), None

    def document_batches(self, policy: Transformer, corpora: Sequence[Sequence[np.ndarray]]) -> list[PackedDocuments]:
        count, tokens = max(map(len, corpora)), max(sum(map(len, corpus)) for corpus in corpora)
        parts = even_slices(count, min(count, -(-tokens * policy.seeds // PASS_TOKENS)))
        packed = (pack_documents([corpus[part] for corpus in corpora]) for part in parts)
        denominator = predicted_tokens(corpora, policy)
        return [PackedDocuments(*fields, denominator) for fields in packed]

    def document_loss(self, policy: Transformer, documents: PackedDocuments) -> Tensor:
        return -native.token_logprobs(policy, documents.ids, documents.spans, documents.target, 1.0).sum(1)

    def microbatches(self, policy: Transformer, batch: Batch, groups: int) -> list[Batch]:
        return split_groups(batch, groups, PASS_TOKENS)

    def gradients(self, policy: Transformer, key: Hashable, function: Callable[[Any], Any], inputs: Any) -> Any:
        return function(inputs)

    def num_threads(self, n: int) -> AbstractContextManager[None]:
        return native.num_threads(n * torch.get_num_threads())


def _layout(grouped: GroupedCompletions) -> CompletionLayout:
    return layout_completions(grouped.prompts, grouped.prompt_length, grouped.completions, grouped.mask)
