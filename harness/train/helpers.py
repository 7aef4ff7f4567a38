"""Work shared out among threads of one process. Results come in order, so that no bit depends on how many there are."""

from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import torch

from harness.policy.backends import cuda_graphs as graphs
from harness.policy.backends import native
from harness.policy.transformer import Transformer, parameter_count

# Products of a weight and a token that are worth a part of their own, and the most parts that a batch is cut into.
# Nothing here depends on the number of threads: sums in another order have other last bits.
WORTH_A_PART, MOST_PARTS = 2e7, 4
# About as many tokens, of all seeds, in one compiled pass: what it leaves for the backward pass takes memory.
TOKENS_AT_ONCE = 4096

Each = Callable[[Callable[[Any], Any], Iterable[Any]], Iterator[Any]]  # as `map`


def parts_of(count: int, tokens: int, most: int, policy: Transformer) -> list[range]:
    """Cuts `count` things that hold so many tokens of each seed into at most `most` contiguous parts: fewer where a
    part would not be worth it, one where `helpers` has nothing to share out."""
    work = 0 if _by_itself(policy) else tokens * policy.seeds * parameter_count(policy.config, embedding=False)
    return cut(count, max(1, min(count, most, MOST_PARTS, int(work // WORTH_A_PART))))


def _by_itself(policy: Transformer) -> bool:
    return policy.embedding.is_cuda or graphs.serves(policy) or native.supports(policy)


def cut(count: int, n: int) -> list[range]:
    """`count` things in n contiguous parts, sizes within one of each other."""
    return [range(i * count // n, (i + 1) * count // n) for i in range(n)]


def passes_of(count: int, tokens: int, policy: Transformer) -> list[range]:
    """Cuts `count` things that hold so many tokens of each seed into as few contiguous parts as memory asks for."""
    return cut(count, min(count, -(-tokens * policy.seeds // TOKENS_AT_ONCE)))


@contextmanager
def helpers(threads: int, policy: Transformer) -> Generator[Each]:
    """A `map` over so many threads, in each of which products run on as many cores as in this one; over this one alone
    where there is nothing to share out: on a GPU, and where each call shares itself out (backends.native)."""
    if threads == 1 or _by_itself(policy):
        yield map
        return
    cores = torch.get_num_threads()
    with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(cores,)) as pool:
        yield pool.map
