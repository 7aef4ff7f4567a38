"""From a run table to verdicts, a transfer report and report.html. Examples:

rl-scaling analyze table=runs.csv out=DIR
rl-scaling analyze law=pretraining table=losses.csv out=DIR
rl-scaling analyze runs='[outputs/a,outputs/b]' out=DIR
rl-scaling analyze action=before_after table=docs/results/learns    # or breadth, calibrate, simulate, speed
"""

from harness.cli import app


@app("analyze")
def main(config) -> None:
    from omegaconf import OmegaConf

    from harness.analysis.command import run

    run(OmegaConf.to_container(config, resolve=True))
