"""Measures what the docs quote, prints it and stores it under docs/. Examples:

python scripts/bench.py part=envs    # bench_envs.md in docs/reference: tasks beside an RL step; the sandbox
python scripts/bench.py part=all     # bench.md: rl, curves, sampling, memory (beside TRL) and more; 20 minutes
python scripts/bench.py part=rl threads=1
python scripts/bench.py part=gpu minutes=10     # docs/reference/bench_gpu.md: what fits ten minutes of one GPU
python scripts/bench.py part=gpu minutes=2 device=cpu    # its rehearsal at toy size, into outputs/bench_gpu
"""

import os
import sys
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
USAGE = "usage: python scripts/bench.py part=all|rl|curves|sampling|memory|growth|envs [threads=N]\n"
USAGE += "       python scripts/bench.py part=gpu [minutes=10] [device=cuda|cpu]"


def main(arguments: list[str]) -> None:
    given = dict(argument.partition("=")[::2] for argument in arguments)
    try:
        from benchmarks import envs, gpu, page
        from harness.core.errors import UserError
        from harness.launch.local import cores
        from harness.launch.memory import keep_freed_memory
    except ModuleNotFoundError as error:
        sys.exit(f"{error}: install the package first, with: pip install -e .   (or bash scripts/quickstart.sh)")
    if given.get("part") == "gpu":
        try:
            print(gpu.measure(**{name: value for name, value in given.items() if name != "part"}))
        except (UserError, TypeError) as error:
            sys.exit(str(error) if isinstance(error, UserError) else USAGE)
        return
    part, threads = given.pop("part", ""), given.pop("threads", str(cores()))
    if given or part not in ("all", "envs", *page.PARTS) or not threads.isdigit():
        sys.exit(USAGE)
    if part == "envs":
        text = envs.page(envs.measure(print))
        Path("docs/reference/bench_envs.md").write_text(text)
        print(text)
        return
    import torch

    torch.set_num_threads(int(threads))
    keep_freed_memory()
    try:
        for each in page.PARTS if part == "all" else (part,):
            page.measure(each, Path("docs/reference"), print)
    except UserError as error:
        sys.exit(str(error))
    print(Path("docs/reference/bench.md").read_text())


if __name__ == "__main__":
    main(sys.argv[1:])
