"""One run: a pretrained base (made once), then RL. Examples:

python scripts/train.py seed=1 rl.steps=64
python scripts/train.py -m seed=0,1,2 optim.lr=1e-4,2e-4
torchrun --nproc-per-node 2 scripts/train.py seed=1
"""

import sys

try:
    from harness.cli import app
except ModuleNotFoundError as error:
    sys.exit(f"{error}: install the package first, with: pip install -e .   (or bash scripts/quickstart.sh)")


def train(containers) -> list[str]:
    """Runs all given configurations on one pool; a base that several need is made once. Returns their run_ids."""
    from rich.console import Console

    from harness.config.parse import parse
    from harness.run.torchrun import is_first
    from harness.study.execute import accuracy_table, require_done, run_jobs, say_failures, say_queued
    from harness.study.study import Entry, jobs_of
    from harness.study.sweep import arms, sweep_table

    configs, console = [parse(container) for container in containers], Console(quiet=not is_first())
    label = "single" if len(configs) == 1 else "sweep"
    entries = [Entry(arm or label, config) for arm, config in zip(arms(configs), configs)]
    results = run_jobs(jobs_of(entries, {"study": label}), configs[0], console)
    if results is not None:
        say_failures(results, console)
        say_queued(results, console)
        console.print(accuracy_table(configs[0]) if len(configs) == 1 else sweep_table(configs))
        console.print(f"run folders: {configs[0].out}/runs", highlight=False)
        require_done(results)
    return [entry.run_id for entry in entries]


@app("train", sweep=train)
def main(container) -> None:
    from harness.config.compose import plain

    train([plain(container)])


if __name__ == "__main__":
    main()
