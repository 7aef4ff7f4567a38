"""The reference backend: plain PyTorch, on any device."""

from collections.abc import Callable, Hashable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import pairwise, zip_longest
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from harness.core.types import Batch, Completions, GroupedCompletions, SampleRequest
from harness.policy.logprobs import completion_hidden, entropy_from_logits, selective_log_softmax, token_logprobs
from harness.policy.sampler import sample
from harness.policy.tokenizer import PAD
from harness.policy.transformer import Transformer

# Padded tokens of one pass over documents. On a CPU more would leave the cache, and fewer would be all overhead.
DOCUMENT_TOKENS = {"cpu": 768, "cuda": 1 << 16}
# Tokens of one pass of the update, of all seeds: the activations saved for the backward pass take memory.
UPDATE_TOKENS = {"cpu": 4096, "cuda": 1 << 18}


@dataclass(frozen=True)
class PaddedDocuments:
    """Documents of each seed, one a row."""

    ids: Tensor  # [S, R, T] right-padded
    mask: Tensor  # [S, R, T] bool: tokens that are not padding
    denominator: Tensor  # [S]


class EagerBackend:
    """Computes for policies of one shape on one device. The other backends are made from it, and override what they
    compute faster. Every method but `gradients` may be differentiated through.

    A stack's passes are cut by the tokens of all its seeds and summed together, so each seed has the numbers of its
    plain run to rounding.
    """

    name = "eager"
    batches_seeds = True  # whether a stack's seeds share operations; else one takes as long as its seeds one by one

    def sample(self, policy: Transformer, request: SampleRequest) -> Completions:
        """Draws the completions requested."""
        return sample(policy, request)

    def hidden(self, policy: Transformer, ids: Tensor) -> Tensor:
        """Hidden states of right-padded rows, ids [S, R, T] -> [S, R, T, width]."""
        return policy.hidden(ids)

    def completion_hidden(self, policy: Transformer, grouped: GroupedCompletions) -> Tensor:
        """Hidden states from which completion tokens are predicted, [S, R, C, width]."""
        return completion_hidden(policy, grouped)

    def token_logprobs(self, policy: Transformer, ids: Tensor, temperature: float) -> Tensor:
        """log p(ids[t] | ids[:t]) of right-padded rows ids [S, R, T], [S, R, T]; 0 at t = 0."""
        return token_logprobs(policy, ids, temperature)

    def completion_logprobs(
        self, policy: Transformer, grouped: GroupedCompletions, temperature: float, with_entropy: bool = False
    ) -> tuple[Tensor, Tensor | None]:
        """log p of the masked completion tokens, [S, R, C], 0 elsewhere; with the entropy at each, if requested."""
        logits = policy.logits(self.completion_hidden(policy, grouped))
        logprobs = selective_log_softmax(logits, grouped.completions, temperature).where(grouped.mask, 0.0)
        return logprobs, entropy_from_logits(logits, temperature) if with_entropy else None

    def document_batches(self, policy: Transformer, corpora: Sequence[Sequence[np.ndarray]]) -> list[Any]:
        """Each seed's documents, [S] lists of token ids, as the batches of one pass each, in this backend's layout;
        each has a `denominator` [S], the tokens predicted in all of them."""
        device, denominator = policy.embedding.device, predicted_tokens(corpora, policy)
        ordered = [sorted(corpus, key=len) for corpus in corpora]
        at_once = DOCUMENT_TOKENS[device.type] // (policy.seeds if device.type == "cuda" else 1)
        parts = length_batches(ordered, at_once)
        return [pad_documents([corpus[part] for corpus in ordered], denominator) for part in parts]

    def document_loss(self, policy: Transformer, documents: Any) -> Tensor:
        """Summed next-token loss of one of `document_batches`, [S]."""
        logprobs = token_logprobs(policy, documents.ids, 1.0)[..., 1:]
        return -(logprobs * documents.mask[..., 1:]).flatten(1).sum(1)

    def microbatches(self, policy: Transformer, batch: Batch, groups: int) -> list[Batch]:
        """The batch in parts of so many groups; 0: of as many as memory allows."""
        return split_groups(batch, groups, UPDATE_TOKENS[policy.embedding.device.type])

    def gradients(self, policy: Transformer, key: Hashable, function: Callable[[Any], Any], inputs: Any) -> Any:
        """function(inputs): nested tensors, computed from a dataclass of tensors and the policy's weights. `key` and
        the shapes of the inputs must determine everything else that the function depends on."""
        return function(inputs)

    def num_threads(self, n: int) -> AbstractContextManager[None]:
        """Within it each call may use n threads; their number changes no bit. Here PyTorch's own setting stays, for
        another number of them would change the last bits."""
        return nullcontext()


def even_slices(count: int, parts: int) -> list[slice]:
    """`count` items in contiguous parts, sizes within one of each other."""
    return [slice(i * count // parts, (i + 1) * count // parts) for i in range(parts)]


def split_groups(batch: Batch, groups: int, max_tokens: int) -> list[Batch]:
    """The batch in parts of so many groups; 0: in as few parts of at most about max_tokens, all seeds together, as
    that takes."""
    count = batch.n_groups
    if groups:
        parts = [slice(i, min(i + groups, count)) for i in range(0, count, groups)]
    else:
        tokens = batch.prompts.numel() + batch.completions.numel()
        parts = even_slices(count, min(count, -(-tokens // max_tokens)))
    return [batch.select_groups(part) for part in parts]


def predicted_tokens(corpora: Sequence[Sequence[np.ndarray]], policy: Transformer) -> Tensor:
    """[S]: all tokens of each seed's documents but their first ones."""
    counts = [sum(len(document) - 1 for document in corpus) for corpus in corpora]
    return torch.tensor(counts, device=policy.embedding.device)


def length_batches(corpora: Sequence[Sequence[np.ndarray]], tokens: int) -> list[slice]:
    """Cuts corpora, each sorted by length, into batches of one document, or of several and at most so many tokens when
    padded: little padding is computed, and the activations of a batch stay in the cache."""
    width = [max(map(len, documents)) for documents in zip_longest(*corpora, fillvalue=())]
    cuts = [0]
    for i, longest in enumerate(width):
        if i > cuts[-1] and (i + 1 - cuts[-1]) * longest > tokens:
            cuts.append(i)
    return [slice(*ends) for ends in pairwise([*cuts, len(width)] if width else [])]


def pad_rows(documents: Sequence[np.ndarray]) -> tuple[Tensor, Tensor]:
    """ids [n, longest], right-padded, and the mask of tokens that are not padding."""
    length = np.array([len(d) for d in documents], dtype=np.int64)
    ids = np.full((len(documents), length.max(initial=1)), PAD, dtype=np.int64)
    for i, d in enumerate(documents):
        ids[i, : len(d)] = d
    return torch.from_numpy(ids), torch.from_numpy(np.arange(ids.shape[1]) < length[:, None])


def pad_documents(corpora: Sequence[Sequence[np.ndarray]], denominator: Tensor) -> PaddedDocuments:
    """Each seed's documents as rows of one width, on the denominator's device."""
    padded = [pad_rows(documents) for documents in corpora]
    rows, width = (max(ids.shape[axis] for ids, _ in padded) for axis in (0, 1))

    def stack(parts: Sequence[Tensor]) -> Tensor:
        filled = [F.pad(x, (0, width - x.shape[1], 0, rows - x.shape[0])) for x in parts]
        return torch.stack(filled).to(denominator.device)

    return PaddedDocuments(stack([ids for ids, _ in padded]), stack([mask for _, mask in padded]), denominator)
