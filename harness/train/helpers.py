"""Work shared out among threads of one process. Results come in order, so that no bit depends on how many there are."""

from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import torch

Each = Callable[[Callable[[Any], Any], Iterable[Any]], Iterator[Any]]  # as `map`


@contextmanager
def helpers(threads: int) -> Generator[Each]:
    """A `map` over so many threads, in each of which products run on as many cores as in this one."""
    if threads == 1:
        yield map
        return
    cores = torch.get_num_threads()
    with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(cores,)) as pool:
        yield pool.map
