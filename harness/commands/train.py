"""`rl-scaling train`: one run or a sweep."""

from harness.cli import app, command_line


def train(containers) -> list:
    """Runs all given configurations on one pool; a base that several need is made once. Returns for each its objective,
    or the UserError of a launch in which it failed; None for a plan and for what waits in a queue."""
    from hydra.core.hydra_config import HydraConfig
    from rich.console import Console

    from harness.config.parse import parse
    from harness.run.torchrun import is_main_process
    from harness.study.execute import print_failures, print_queued, require_done, run_jobs
    from harness.study.expand import Entry, expand_to_jobs
    from harness.study.run_summary import accuracy_table, samples_table
    from harness.study.sweep import refuse_tuning_on_test, sweep_arms, sweep_table

    configs, console = [parse(container) for container in containers], Console(quiet=not is_main_process())
    for config in configs:
        refuse_tuning_on_test(config, HydraConfig.get().sweeper["_target_"])
    label = configs[0].name or ("single" if len(configs) == 1 else "sweep")
    entries = [Entry(arm or _arm(config), config) for arm, config in zip(sweep_arms(configs), configs)]
    results = run_jobs(expand_to_jobs(entries, {"study": label}), configs[0], console)
    if results is None:
        return [None] * len(configs)
    print_failures(results, console)
    print_queued(results, console)
    console.print(accuracy_table(configs[0]) if len(configs) == 1 else sweep_table(configs))
    if len(configs) == 1 and (samples := samples_table(configs[0])):
        console.print(samples)
    console.print(f"run folders: {configs[0].out}/runs", highlight=False)
    for line in next_commands(configs):
        console.print(line, highlight=False, soft_wrap=True)
    return _objectives(entries, results, require_done)


def next_commands(configs) -> list[str]:
    """What to start after a run or a sweep; nothing before its first run has a folder."""
    from harness.config.identity import run_id
    from harness.run.folder import run_folder

    first = configs[0]
    folder = run_folder(first.out, run_id(first)).path
    if not folder.is_dir():
        return []
    runs = folder if len(configs) == 1 else f"'{first.name}-*' outputs={first.out}" if first.name else folder.parent
    return [
        f"next: {command_line('ask')} run={folder}   # what it answers, before RL and after",
        f"      {command_line('analyze')} runs={runs} out={first.out}/analysis   # its curves, in a page",
        f"      {command_line('runs')} out={first.out}   # the names of all runs",
    ]


def _objectives(entries, results, require_done) -> list:
    from harness.core.errors import UserError
    from harness.study.sweep import objective_metric_value

    status = {result.job.run_id: result.status for result in results}
    found = {
        entry.run_id: objective_metric_value(entry.config)
        for entry in entries
        if status.get(entry.run_id, "done") == "done"
    }
    try:
        require_done(results)
        return [found.get(entry.run_id) for entry in entries]
    except UserError as error:
        return [found.get(entry.run_id, error) for entry in entries]


def _arm(config) -> str:
    """What a run that stands alone is called: its reward, or its objective where that is not RL."""
    return config.reward.name if config.objective == "rl" else config.objective


@app("train", sweep=train)
def main(container) -> float | None:
    """One run: a pretrained base (made once), then RL. Examples:

    rl-scaling train seed=1 rl.steps=64
    rl-scaling train -m seed=0,1,2 optim.lr=1e-4,2e-4
    torchrun --nproc-per-node 2 scripts/train.py seed=1
    """
    from harness.config.compose import plain

    (outcome,) = train([plain(container)])
    if isinstance(outcome, Exception):
        raise outcome
    return outcome
