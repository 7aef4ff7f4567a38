"""The console command: `rl-scaling train seed=1` runs the app that `python scripts/train.py seed=1` runs."""

import sys
from types import ModuleType

import harness
from harness.commands import analyze, ask, convert, dashboard, export, runs, study, success, tasks, train, watch
from harness.core.errors import nearest

COMMANDS = {
    module.__name__.rpartition(".")[2]: module
    for module in (train, study, watch, analyze, runs, ask, tasks, success, export, convert, dashboard)
}


def summary(command: ModuleType) -> str:
    """What a command does: the first sentence of its module's docstring."""
    return (command.__doc__ or "").partition(". Examples:")[0]


def help_text() -> str:
    lines = ["usage: rl-scaling COMMAND [key=value ...]", ""]
    lines += [f"  {name:<10} {summary(module)}" for name, module in COMMANDS.items()]
    lines += ["", "`rl-scaling COMMAND --help` lists the settings of a command, --version prints the version."]
    return "\n".join(lines)


def unknown_command(name: str) -> str:
    meant = " or ".join(nearest(name, COMMANDS))
    suggestion = f"did you mean {meant}? " if meant else ""
    return f"error: rl-scaling {name}: unknown command\n  {suggestion}Commands: {', '.join(COMMANDS)}"


def main() -> None:
    """Runs the command that sys.argv names. Exit status 2 for none or an unknown one, else that of the command."""
    name, arguments = (sys.argv[1:2] or [""])[0], sys.argv[2:]
    if name in ("-h", "--help", "help"):
        print(help_text())
    elif name == "--version":
        print(harness.__version__)
    elif name in COMMANDS:
        sys.argv = [sys.argv[0], *arguments]
        COMMANDS[name].main()
    else:
        print(unknown_command(name) if name else help_text(), file=sys.stderr)
        sys.exit(2)
