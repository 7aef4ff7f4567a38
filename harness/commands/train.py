"""One run: a pretrained base (made once), then RL. Examples:

rl-scaling train seed=1 rl.steps=64
rl-scaling train -m seed=0,1,2 optim.lr=1e-4,2e-4
torchrun --nproc-per-node 2 scripts/train.py seed=1
"""

from harness.cli import app


def train(containers) -> list[str]:
    """Runs all given configurations on one pool; a base that several need is made once. Returns their run_ids."""
    from rich.console import Console

    from harness.config.parse import parse
    from harness.run.torchrun import is_main_process
    from harness.study.execute import print_failures, print_queued, require_done, run_jobs
    from harness.study.expand import Entry, expand_to_jobs
    from harness.study.run_summary import accuracy_table, samples_table
    from harness.study.sweep import sweep_arms, sweep_table

    configs, console = [parse(container) for container in containers], Console(quiet=not is_main_process())
    label = "single" if len(configs) == 1 else "sweep"
    entries = [Entry(arm or _arm(config), config) for arm, config in zip(sweep_arms(configs), configs)]
    results = run_jobs(expand_to_jobs(entries, {"study": label}), configs[0], console)
    if results is not None:
        print_failures(results, console)
        print_queued(results, console)
        console.print(accuracy_table(configs[0]) if len(configs) == 1 else sweep_table(configs))
        if len(configs) == 1 and (samples := samples_table(configs[0])):
            console.print(samples)
        console.print(f"run folders: {configs[0].out}/runs", highlight=False)
        require_done(results)
    return [entry.run_id for entry in entries]


def _arm(config) -> str:
    """What a run that stands alone is called: its reward, or its objective where that is not RL."""
    return config.reward.name if config.objective == "rl" else config.objective


@app("train", sweep=train)
def main(container) -> None:
    from harness.config.compose import plain

    train([plain(container)])
