"""A policy's forward, backward and sampling on a CPU in compiled C, one call each (policy.c).

PyTorch runs dozens of operations a layer for a few short rows, and each costs more to start than to compute. Where the
C cannot be compiled, with RL_SCALING_NATIVE=0, and for policies of another kind, the eager path does the work, to
which everything here is tested equal.
"""

import ctypes
import functools
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, cast

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
class _ForwardArgs:
    """Arguments of a forward pass. `save`: whether it saves activations for the backward pass."""

    handle: PolicyHandle
    ids: Tensor
    spans: Spans
    save: bool

    def seeds(self) -> Iterator[tuple[int, Any, Any]]:
        """Each seed, and its C structs of the policy and of the tokens."""
        n, r = self.ids.shape[1], self.spans.rows.shape[1]
        for i, policy in enumerate(self.handle.seeds):
            tensors = (self.ids[i], self.spans.position[i], self.spans.rows[i])
            yield i, policy, CTokens(n, r, *map(data_pointer, tensors))

    def empty_saved(self) -> Tensor:
        """An uninitialised buffer for the saved activations, [S, bytes]."""
        size = call_int("saved_bytes", self.handle.seeds[0], self.ids.shape[1], int(self.save))
        return torch.empty((len(self.ids), size), dtype=torch.uint8)


def _forward_args(policy: Transformer, weights: Sequence[Tensor], ids: Tensor, spans: Spans) -> _ForwardArgs:
    _check_ids(policy, ids)
    save = torch.is_grad_enabled() and any(x.requires_grad for x in weights)
    return _ForwardArgs(policy_handle(policy, weights), ids.long().contiguous(), spans, save)


def _check_ids(policy: Transformer, ids: Tensor) -> None:
    weight = policy.embedding
    if weight.dtype != torch.float32 or weight.is_inference():
        kind = "made in inference mode" if weight.is_inference() else f"in {weight.dtype}"
        raise ValueError(f"weights {kind}: the C reads float32 weights with version counters; use backend=eager")
    if len(ids) != policy.seeds or not ids.is_cpu:
        raise ValueError(f"tokens [{len(ids)}, ...] on {ids.device} for {policy.seeds} policies on the CPU")


def _empty_gradients(weights: Sequence[Tensor]) -> tuple[list[Tensor], Callable[[int], Any]]:
    """Uninitialised gradients of these weights, and the C struct of one seed's."""
    grads = [torch.empty_like(x) for x in weights]

    def seed_gradients(seed: int) -> Any:
        embedding, head, final_norm, *layers = seed_pointers(grads, seed)
        return CGradients(embedding, head, final_norm, pointer_array(layers))

    return grads, seed_gradients


class _Hidden(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, args: _ForwardArgs, *weights: Tensor) -> Tensor:
        out, saved = weights[0].new_empty((*args.ids.shape, weights[0].shape[-1])), args.empty_saved()
        for i, policy, tokens in args.seeds():
            call("hidden_forward", policy, tokens, saved[i], int(args.save), out[i])
        ctx.args = args
        ctx.save_for_backward(saved, *weights)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> Any:
        (saved, *weights), g = ctx.saved_tensors, g.contiguous()
        grads, seed_gradients = _empty_gradients(weights)
        for i, policy, tokens in ctx.args.seeds():
            call("hidden_backward", policy, tokens, saved[i], g[i], seed_gradients(i))
        return None, grads[0], None, None, *grads[3:]


class _TokenLogprobs(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, args: _ForwardArgs, target: Tensor, temperature: float, *weights: Tensor) -> Tensor:
        out, saved = weights[0].new_empty(target.shape), args.empty_saved()
        c_temperature = ctypes.c_float(temperature)
        for i, policy, tokens in args.seeds():
            call("logprobs_forward", policy, tokens, target[i], c_temperature, saved[i], int(args.save), out[i])
        ctx.args = args, target, c_temperature
        ctx.save_for_backward(saved, *weights)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> Any:
        (args, target, temperature), (saved, *weights), g = ctx.args, ctx.saved_tensors, g.contiguous()
        grads, seed_gradients = _empty_gradients(weights)
        for i, policy, tokens in args.seeds():
            call("logprobs_backward", policy, tokens, target[i], temperature, saved[i], g[i], seed_gradients(i))
        return None, None, None, *grads


def hidden(policy: Transformer, ids: Tensor, spans: Spans) -> Tensor:
    """Packed tokens ids [S, N] -> [S, N, width], normalised, before the head."""
    weights = policy_weights(policy)
    return cast(Tensor, _Hidden.apply(_forward_args(policy, weights, ids, spans), *weights))


def token_logprobs(policy: Transformer, ids: Tensor, spans: Spans, target: Tensor, temperature: float) -> Tensor:
    """log p(target) [S, N] after each of the packed tokens ids [S, N] at this temperature; 0, and no logits computed,
    where a target is negative."""
    weights = policy_weights(policy)
    args = _forward_args(policy, weights, ids, spans)
    return cast(Tensor, _TokenLogprobs.apply(args, target.long().contiguous(), temperature, *weights))


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
