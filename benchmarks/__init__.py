"""The measurements behind docs/bench.md and docs/bench_envs.md; `python scripts/bench.py part=…` runs them."""
