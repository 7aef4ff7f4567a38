"""A policy as a Hugging Face model, which transformers loads as it is, with its tokenizer. Examples:

rl-scaling export run=outputs/runs/rl-0123456789ab out=exported
rl-scaling export run=outputs/runs/rl-0123456789ab step=64 out=exported
"""

from harness.cli import app


@app("export")
def main(config) -> None:
    from pathlib import Path

    from harness.core.errors import UserError
    from harness.run.checkpoint import export_run

    if config.run is None:
        raise UserError("run=", "a run folder must be named", "run=outputs/runs/…")
    step = export_run(Path(config.run), config.step, Path(config.out))
    print(f"{config.out}: {Path(config.run).name} at step {step}")
