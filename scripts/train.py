"""One run: a pretrained base (made once), then RL. Examples:

python scripts/train.py seed=1 rl.steps=64
python scripts/train.py -m seed=0,1,2 optim.lr=1e-4,2e-4
"""

import sys

try:
    from harness.cli import app
except ModuleNotFoundError as error:
    sys.exit(f"{error}: install the package first, with: pip install -e .   (or bash scripts/quickstart.sh)")


@app("train")
def main(container) -> None:
    from rich.console import Console

    from harness.config import parse, plain
    from harness.session import accuracy_table, require_done, run_jobs, say_failures
    from harness.study import Entry, jobs_of

    config, console = parse(plain(container)), Console()
    entry = Entry("single", config)
    results = run_jobs(jobs_of([entry], {"study": "single"}), config, console)
    if results is None:
        return
    say_failures(results, console)
    console.print(accuracy_table(config))
    console.print(f"run folder: {config.out}/runs/{entry.run_id}", highlight=False)
    require_done(results)


if __name__ == "__main__":
    main()
