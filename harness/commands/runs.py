"""The runs of an output folder: what each is called, its id, how far it has come. Examples:

rl-scaling runs
rl-scaling runs match='quickstart-*' out=outputs
"""

from harness.cli import app


@app("runs")
def main(config) -> None:
    from rich.console import Console

    from harness.run.listing import least_width, list_runs

    console, table = Console(), list_runs(config.match, config.out)
    console.width = max(console.width, least_width(table))
    console.print(table)
