"""The measurements behind bench.md and bench_envs.md of docs/reference; `python scripts/bench.py part=…` runs them."""
