"""Packed token layouts: the tokens of all rows one after the other, without padding, and what each attends to."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from harness.policy.backends.native.calls import call_int

OUT_OF_RANGE = -1  # of layout_completions in layout.h


@dataclass(frozen=True)
class Spans:
    """Rows of packed tokens.

    Row r [S, rows, 4] of a seed's tokens: (context_start, context_end, start, end). Its tokens attend causally within
    their row and to all of its context: for completions the row of their prompt. Tokens in no row attend to nothing.
    position [S, N] is a token's index in its sequence.
    """

    rows: Tensor
    position: Tensor


def equal_rows(seeds: int, rows: int, tokens: int) -> Spans:
    """Rows of `tokens` tokens each, without a context."""
    ends = torch.arange(1, rows + 1) * tokens
    zeros = torch.zeros_like(ends)
    row = torch.stack((zeros, zeros, ends - tokens, ends), dim=1)
    return Spans(row.repeat(seeds, 1, 1), torch.arange(tokens).repeat(seeds, rows))


def pack_documents(corpora: Sequence[Sequence[np.ndarray]]) -> tuple[Tensor, Spans, Tensor]:
    """Packs each seed's documents, none of them empty, as rows: ids [S, N] of all but their last tokens, spans, and
    target [S, N], the token after each. Seeds with fewer tokens end in ids 0 of no row with target -1."""
    length = np.zeros((len(corpora), max(map(len, corpora))), dtype=np.int64)
    for seed_length, documents in zip(length, corpora):
        seed_length[: len(documents)] = [len(document) - 1 for document in documents]
    end = length.cumsum(1)
    start, zeros = end - length, np.zeros_like(end)
    ids, target, position = np.zeros((3, len(corpora), end.max(initial=0)), dtype=np.int64)
    target.fill(-1)
    for i, documents in enumerate(corpora):
        n = length[i].sum()
        if n:
            ids[i, :n] = np.concatenate([document[:-1] for document in documents])
            target[i, :n] = np.concatenate([document[1:] for document in documents])
            position[i, :n] = np.arange(n) - start[i].repeat(length[i])
    rows = np.stack((zeros, zeros, start, end), axis=2)
    ids, rows, position, target = map(torch.from_numpy, (ids, rows, position, target))
    return ids, Spans(rows, position), target


@dataclass(frozen=True)
class CompletionLayout:
    """The packed tokens [S, N] that the log-probabilities of completion tokens need."""

    ids: Tensor
    spans: Spans
    target: Tensor  # the token after each whose log-probability is wanted; -1 for none
    index: Tensor  # of the target among its seed's R·C completion tokens; R·C for none

    def scatter(self, x: Tensor, completions: Tensor) -> Tensor:
        """x [S, N, ...] -> [S, R, C, ...] for completions [S, R, C]; 0 where nothing was computed."""
        out = x.new_zeros((len(x), completions[0].numel() + 1, *x.shape[2:]))
        index = self.index.view(*self.index.shape, *[1] * (x.dim() - 2)).expand_as(x)
        return out.scatter(1, index, x)[:, :-1].unflatten(1, completions.shape[1:])


def layout_completions(prompts: Tensor, length: Tensor, completions: Tensor, mask: Tensor) -> CompletionLayout:
    """Lays out completions [S, R, C], each up to its last token in mask [S, R, C], after prompts [S, P, T] of length
    [S, P] (at least 2). A prompt is computed once except for its last token, which begins each of its completions.
    Raises ValueError and IndexError."""
    tensors = [x.contiguous() for x in (prompts.long(), length.long(), completions.long(), mask.bool())]
    (s, p, t), (r, c) = prompts.shape, completions.shape[1:]
    if r % max(p, 1) or length.shape != (s, p) or mask.shape != completions.shape or len(completions) != s:
        raise ValueError(f"completions {[*completions.shape]}, mask {[*mask.shape]}, prompts {[*prompts.shape]}")
    ids, position, target, index = torch.zeros((4, s, p * t + r * c), dtype=torch.int64)
    target.fill_(-1)
    index.fill_(r * c)
    rows, n = torch.empty((s, p + r, 4), dtype=torch.int64), 0
    for i in range(s):
        seed_prompts, seed_length, seed_completions, seed_mask = (x[i] for x in tensors)
        out = (ids[i], position[i], target[i], index[i], rows[i])
        inputs = (seed_prompts, seed_length, p, t, seed_completions, seed_mask, r, c)
        count = call_int("layout_completions", *inputs, *out)
        if count == OUT_OF_RANGE:
            raise IndexError(f"prompts of {seed_length.min()} to {seed_length.max()} tokens in {t} places")
        n = max(n, count)
    return CompletionLayout(
        ids[:, :n].contiguous(), Spans(rows, position[:, :n].contiguous()), target[:, :n], index[:, :n]
    )
