"""A policy's forward, backward and sampling on a CPU in compiled C, one call each (policy.c).

PyTorch runs dozens of operations a layer for a few short rows, and each costs more to start than to compute. Where the
C cannot be compiled, with RL_SCALING_NATIVE=0, and for policies of another kind, the eager path does the work, to
which everything here is tested equal.
"""

import ctypes
import functools
from collections.abc import Generator, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from harness.config.schema import ModelConfig
from harness.core.types import Batch, Completions, GroupedCompletions, SampleRequest
from harness.policy.backends.eager import EagerBackend, even_slices, predicted_tokens, split_groups
from harness.policy.backends.native.build import library, missing_reason
from harness.policy.backends.native.calls import (
    CCompletions,
    CGradients,
    CSampleArgs,
    CTokens,
    c_function,
    call,
    call_int,
    data_pointer,
    pointer_array,
)
from harness.policy.backends.native.layout import (
    CompletionLayout,
    Spans,
    equal_rows,
    layout_completions,
    pack_documents,
)
from harness.policy.backends.native.weights import PolicyHandle, policy_handle, policy_weights, seed_pointers
from harness.policy.sampler import completions_of
from harness.policy.tokenizer import ANSWER, EOS
from harness.policy.transformer import Transformer

LANES = 16  # widths must be a multiple of it
TILE_K = 32  # the same for the width in bfloat16
# Tokens of one pass, of all seeds: the activations saved for the backward pass take memory.
PASS_TOKENS = 4096


@contextmanager
def num_threads(n: int) -> Generator[None]:
    """Within it each call runs on n threads. Their number changes no bit of the results."""
    if library() is None:
        yield
        return
    before = c_function("set_num_threads")(n)
    try:
        yield
    finally:
        c_function("set_num_threads")(before)


def unsupported_reason(config: ModelConfig, precision: str) -> str:
    """Why policies of this kind are not computed here; "" if they are."""
    multiple = TILE_K if precision == "bf16" else LANES
    if config.norm != "rmsnorm" or config.norm_position != "pre" or config.qk_norm:
        return "only model.norm=rmsnorm model.norm_position=pre model.qk_norm=false is compiled"
    if config.width % multiple or config.mlp % LANES or config.vocab % LANES:
        return f"only model.width in multiples of {multiple} and model.mlp of {LANES} is compiled"
    if library() is None:
        return missing_reason()
    return "" if precision == "fp32" or has_amx() else "only with AMX is precision=bf16 compiled"


@functools.cache
def has_amx() -> bool:
    """Whether the library multiplies bfloat16 by AMX tiles on this CPU."""
    return bool(c_function("has_amx")())


@functools.cache
def has_avx512() -> bool:
    """Whether the library was compiled with AVX-512."""
    return bool(c_function("has_avx512")())


@dataclass(frozen=True)
class _Pass:
    """A forward pass over packed tokens: to the log-probabilities of `target`, or without one to hidden states. `save`:
    whether it saves activations for the backward pass."""

    handle: PolicyHandle
    ids: Tensor
    spans: Spans
    save: bool
    target: Tensor | None
    temperature: float

    @property
    def name(self) -> str:
        return "hidden" if self.target is None else "logprobs"

    def seeds(self) -> Iterator[tuple[int, tuple[Any, ...]]]:
        """Each seed, and the first arguments of the C's functions: policy, tokens, and what is wanted of them."""
        n, r = self.ids.shape[1], self.spans.rows.shape[1]
        for i, policy in enumerate(self.handle.seeds):
            tokens = CTokens(n, r, *map(data_pointer, (self.ids[i], self.spans.position[i], self.spans.rows[i])))
            wanted = () if self.target is None else (self.target[i], ctypes.c_float(self.temperature))
            yield i, (policy, tokens, *wanted)


def _check_ids(policy: Transformer, ids: Tensor) -> None:
    weight = policy.embedding
    if weight.dtype != torch.float32 or weight.is_inference():
        kind = "made in inference mode" if weight.is_inference() else f"in {weight.dtype}"
        raise ValueError(f"weights {kind}: the C reads float32 weights with version counters; use backend=eager")
    if len(ids) != policy.seeds or not ids.is_cpu:
        raise ValueError(f"tokens [{len(ids)}, ...] on {ids.device} for {policy.seeds} policies on the CPU")


class _Run(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, of: _Pass, *weights: Tensor) -> Tensor:
        width = weights[0].shape[-1:] if of.target is None else ()
        out = weights[0].new_empty((*of.ids.shape, *width))
        size = call_int("saved_bytes", of.handle.seeds[0], of.ids.shape[1], int(of.save))
        saved = torch.empty((len(of.ids), size), dtype=torch.uint8)
        for i, given in of.seeds():
            call(f"{of.name}_forward", *given, saved[i], int(of.save), out[i])
        ctx.of = of
        ctx.save_for_backward(saved, *weights)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> Any:
        of, (saved, *weights), g = ctx.of, ctx.saved_tensors, g.contiguous()
        grads = [torch.empty_like(x) for x in weights]
        for i, given in of.seeds():
            embedding, head, final_norm, *layers = seed_pointers(grads, i)
            out = CGradients(embedding, head, final_norm, pointer_array(layers))
            call(f"{of.name}_backward", *given, saved[i], g[i], out)
        if of.target is None:  # then head and final norm take no part
            return None, grads[0], None, None, *grads[3:]
        return None, *grads


def _run(policy: Transformer, ids: Tensor, spans: Spans, target: Tensor | None = None, temperature: float = 1.0) -> Any:
    _check_ids(policy, ids)
    weights = policy_weights(policy)
    save = torch.is_grad_enabled() and any(x.requires_grad for x in weights)
    handle = policy_handle(policy, weights)
    return _Run.apply(_Pass(handle, ids.long().contiguous(), spans, save, target, temperature), *weights)


def hidden(policy: Transformer, ids: Tensor, spans: Spans) -> Tensor:
    """Packed tokens ids [S, N] -> [S, N, width], normalised, before the head."""
    return _run(policy, ids, spans)


def token_logprobs(policy: Transformer, ids: Tensor, spans: Spans, target: Tensor, temperature: float) -> Tensor:
    """log p(target) [S, N] after each of the packed tokens ids [S, N] at this temperature; 0, and no logits computed,
    where a target is negative."""
    return _run(policy, ids, spans, target.long().contiguous(), temperature)


@dataclass(frozen=True)
class PackedDocuments:
    """Documents of each seed, one after the other without padding."""

    ids: Tensor  # [S, N]
    spans: Spans
    target: Tensor  # [S, N]
    denominator: Tensor  # [S]


class NativeBackend(EagerBackend):
    """For policies in float32 on the CPU that `unsupported_reason` does not exclude."""

    name, batches_seeds = "native", False

    @torch.no_grad()
    def sample(self, policy: Transformer, request: SampleRequest) -> Completions:
        handle = policy_handle(policy, policy_weights(policy))
        prompts, length = request.prompts.long().contiguous(), request.length.long().contiguous()
        active, uniforms = request.active.bool().contiguous(), request.uniforms.float().contiguous()
        group_size, thinking = request.group_size, -1 if request.thinking is None else request.thinking
        rows = (len(prompts), prompts.shape[1] * group_size)
        if active.shape != rows or uniforms.shape[:2] != rows or length.shape != prompts.shape[:2]:
            raise ValueError(f"prompts {[*prompts.shape]} x {group_size}, uniforms {[*uniforms.shape]}")
        _check_ids(policy, prompts)
        ids, logprobs, valid, sampled = (
            torch.zeros(uniforms.shape, dtype=dtype) for dtype in (torch.int64, torch.float32, torch.bool, torch.bool)
        )
        limits = (request.max_answer_tokens, thinking, EOS, ANSWER, request.temperature)
        for i, c_policy in enumerate(handle.seeds):
            sizes = (*prompts.shape[1:], group_size)
            randomness = (data_pointer(uniforms[i]), data_pointer(active[i]), uniforms.shape[-1])
            args = CSampleArgs(data_pointer(prompts[i]), data_pointer(length[i]), *sizes, *randomness, *limits)
            out = CCompletions(*(data_pointer(x[i]) for x in (ids, logprobs, valid, sampled)))
            call("sample", c_policy, args, out)
        return completions_of(ids, logprobs, valid, sampled)

    def hidden(self, policy: Transformer, ids: Tensor) -> Tensor:
        spans = equal_rows(*ids.shape)
        return hidden(policy, ids.flatten(1), spans).unflatten(1, ids.shape[1:])

    def completion_hidden(self, policy: Transformer, grouped: GroupedCompletions) -> Tensor:
        layout = _layout(grouped)
        return layout.scatter(hidden(policy, layout.ids, layout.spans), grouped.completions)

    def token_logprobs(self, policy: Transformer, ids: Tensor, temperature: float) -> Tensor:
        context, target = ids[..., :-1], ids[..., 1:]
        spans = equal_rows(*context.shape)
        logprobs = token_logprobs(policy, context.flatten(1), spans, target.flatten(1), temperature)
        return F.pad(logprobs.view(target.shape), (1, 0))

    def completion_logprobs(
        self, policy: Transformer, grouped: GroupedCompletions, temperature: float, with_entropy: bool = False
    ) -> tuple[Tensor, Tensor | None]:
        if with_entropy:
            return super().completion_logprobs(policy, grouped, temperature, True)
        layout = _layout(grouped)
        logprobs = token_logprobs(policy, layout.ids, layout.spans, layout.target, temperature)
        return layout.scatter(logprobs, grouped.completions), None

    def document_batches(self, policy: Transformer, corpora: Sequence[Sequence[np.ndarray]]) -> list[Any]:
        count, tokens = max(map(len, corpora)), max(sum(map(len, corpus)) for corpus in corpora)
        parts = even_slices(count, min(count, -(-tokens * policy.seeds // PASS_TOKENS)))
        packed = (pack_documents([corpus[part] for corpus in corpora]) for part in parts)
        denominator = predicted_tokens(corpora, policy)
        return [PackedDocuments(*fields, denominator) for fields in packed]

    def document_loss(self, policy: Transformer, documents: Any) -> Tensor:
        return -token_logprobs(policy, documents.ids, documents.spans, documents.target, 1.0).sum(1)

    def microbatches(self, policy: Transformer, batch: Batch, groups: int) -> list[Batch]:
        return split_groups(batch, groups, PASS_TOKENS)

    def num_threads(self, n: int) -> AbstractContextManager[None]:
        return num_threads(n * torch.get_num_threads())


def _layout(grouped: GroupedCompletions) -> CompletionLayout:
    return layout_completions(grouped.prompts, grouped.prompt_length, grouped.completions, grouped.mask)
