"""What every script of a command does: start it, or say how to install the package."""

import sys


def start(name: str) -> None:
    """Runs the command of harness/commands that `rl-scaling NAME` runs."""
    try:
        from harness.commands.main import COMMANDS
    except ModuleNotFoundError as error:
        sys.exit(f"{error}: install the package first, with: pip install -e .   (or bash scripts/quickstart.sh)")
    COMMANDS[name]()
