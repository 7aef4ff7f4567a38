"""Sends to W&B what was recorded offline, or only lists it. Examples:

rl-scaling sync list=true
rl-scaling sync out=outputs
"""

from harness.cli import app


@app("sync")
def main(config) -> None:
    from rich.console import Console
    from rich.table import Table

    from harness.tracking.sync import offline_runs, send

    runs, console = offline_runs(config.out), Console()
    table = Table("run", "recording", "rows", "sent")
    for run in runs:
        table.add_row(run.run_id, run.path.name, str(run.rows), "yes" if run.sent else "no")
    console.print(table)
    left = sum(not run.sent for run in runs)
    if not config.list:
        send(runs)
    console.print(f"{left} of {len(runs)} recordings {'are not sent yet' if config.list else 'sent now'}")
