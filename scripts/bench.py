"""Measures what the docs quote, prints it and stores it under docs/. Examples:

python scripts/bench.py part=envs    # docs/bench_envs.md: drawing and verifying beside an RL step; the sandbox
"""

import importlib
import os
import sys
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
PARTS = {"envs": "harness.bench.envs"}


def main(arguments: list[str]) -> None:
    parts = dict(argument.partition("=")[::2] for argument in arguments)
    if set(parts) != {"part"} or parts["part"] not in PARTS:
        sys.exit(f"usage: python scripts/bench.py part={'|'.join(PARTS)}")
    try:
        bench = importlib.import_module(PARTS[parts["part"]])
    except ModuleNotFoundError as error:
        sys.exit(f"{error}: install the package first, with: pip install -e .   (or bash scripts/quickstart.sh)")
    page = bench.page(bench.measure(print))
    Path(f"docs/bench_{parts['part']}.md").write_text(page)
    print(page)


if __name__ == "__main__":
    main(sys.argv[1:])
