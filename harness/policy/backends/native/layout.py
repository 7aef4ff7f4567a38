"""What a pass is of: flat tokens, with nothing between them, and which of them see which."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from harness.policy.backends.native.calls import whole

OUT_OF_RANGE = 2**64 - 1  # of lay_out: -1, without its sign


@dataclass(frozen=True)
class Spans:
    """Rows of tokens that lie one after the other, with nothing between them.

    Row r [S, rows, 4] of a seed's tokens: (context_start, context_end, start, end). Its tokens see their row, causally,
    and all of its context: for completions the row of their prompt. Tokens of no row see nothing. position [S, N] is a
    token's place in its sequence.
    """

    rows: Tensor
    position: Tensor


def rows_of_equal_length(seeds: int, rows: int, tokens: int) -> Spans:
    """Rows of so many tokens each, none with a context."""
    ends = torch.arange(1, rows + 1) * tokens
    none = torch.zeros_like(ends)
    row = torch.stack((none, none, ends - tokens, ends), dim=1)
    return Spans(row.repeat(seeds, 1, 1), torch.arange(tokens).repeat(seeds, rows))


def packed_documents(corpora: Sequence[Sequence[np.ndarray]]) -> tuple[Tensor, Spans, Tensor]:
    """Each seed's documents, none of them empty, as rows: ids [S, N] of all but their last tokens, the rows, and what
    follows each token, target [S, N]. A seed with fewer than another ends in ids 0 of no row, targets -1."""
    length = np.zeros((len(corpora), max(map(len, corpora))), dtype=np.int64)
    for of_seed, documents in zip(length, corpora):
        of_seed[: len(documents)] = [len(document) - 1 for document in documents]
    end = length.cumsum(1)
    start, none = end - length, np.zeros_like(end)
    ids, target, position = np.zeros((3, len(corpora), end.max(initial=0)), dtype=np.int64)
    target.fill(-1)
    for i, documents in enumerate(corpora):
        n = length[i].sum()
        if n:
            ids[i, :n] = np.concatenate([document[:-1] for document in documents])
            target[i, :n] = np.concatenate([document[1:] for document in documents])
            position[i, :n] = np.arange(n) - start[i].repeat(length[i])
    rows = np.stack((none, none, start, end), axis=2)
    ids, rows, position, target = map(torch.from_numpy, (ids, rows, position, target))
    return ids, Spans(rows, position), target


@dataclass(frozen=True)
class Layout:
    """The flat tokens [S, N] that a policy has to see for the laws of completions' tokens."""

    ids: Tensor
    spans: Spans
    target: Tensor  # what follows each and is asked for; -1 where nothing is
    place: Tensor  # where among its seed's R·C tokens of completions it is asked for; R·C where nowhere

    def put(self, x: Tensor, completions: Tensor) -> Tensor:
        """x [S, N, ...] -> [S, R, C, ...], of `completions` [S, R, C]; 0 where nothing was computed."""
        room = x.new_zeros((len(x), completions[0].numel() + 1, *x.shape[2:]))
        place = self.place.view(*self.place.shape, *[1] * (x.dim() - 2)).expand_as(x)
        return room.scatter(1, place, x)[:, :-1].unflatten(1, completions.shape[1:])


def laid_out(prompts: Tensor, length: Tensor, completions: Tensor, mask: Tensor) -> Layout:
    """Of completions [S, R, C], as far as `mask` [S, R, C] asks, after prompts [S, P, T] of length [S, P] (at least 2).
    A prompt is seen once but for its last token, which goes with each completion, whose first token it predicts."""
    given = [x.contiguous() for x in (prompts.long(), length.long(), completions.long(), mask.bool())]
    (s, p, t), (r, c) = prompts.shape, completions.shape[1:]
    if r % max(p, 1) or length.shape != (s, p) or mask.shape != completions.shape or len(completions) != s:
        raise ValueError(f"completions {[*completions.shape]}, mask {[*mask.shape]}, prompts {[*prompts.shape]}")
    ids, position, target, place = torch.zeros((4, s, p * t + r * c), dtype=torch.int64)
    target.fill_(-1)
    place.fill_(r * c)
    rows, n = torch.empty((s, p + r, 4), dtype=torch.int64), 0
    for i in range(s):
        of_prompts, of_length, of_completions, of_mask = (x[i] for x in given)
        filled = (ids[i], position[i], target[i], place[i], rows[i])
        found = whole("lay_out", of_prompts, of_length, p, t, of_completions, of_mask, r, c, *filled)
        if found == OUT_OF_RANGE:
            raise IndexError(f"prompts of {of_length.min()} to {of_length.max()} tokens in {t} places")
        n = max(n, found)
    return Layout(ids[:, :n].contiguous(), Spans(rows, position[:, :n].contiguous()), target[:, :n], place[:, :n])
