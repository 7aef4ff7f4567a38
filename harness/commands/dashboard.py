"""A W&B workspace that compares the arms of a study; as JSON only where no one is logged in. Examples:

rl-scaling dashboard folder=outputs/studies/quickstart entity=me
rl-scaling dashboard folder=outputs/studies/quickstart entity=me axis=compute/completions
"""

from harness.cli import app


@app("dashboard")
def main(config) -> None:
    from pathlib import Path

    import wandb

    from harness.core.errors import UserError
    from harness.tracking.dashboard import save, workspace, write

    logged_in = wandb.login(prompt=False)
    if logged_in and config.entity is None:
        raise UserError("entity=null", "a workspace belongs to a user or team", "name it: entity=YOU")
    folder = Path(config.folder)
    view = workspace(folder, config.entity or "ENTITY", config.project, config.axis)
    print(f"workspace: {write(view, folder / 'workspace.json')}")
    if logged_in:
        print(f"saved: {save(view)}")
    else:
        print("not saved in W&B: not logged in. Run `wandb login`, then the same command again")
