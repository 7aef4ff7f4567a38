"""The console command: `rl-scaling train seed=1` runs the app that `python scripts/train.py seed=1` runs."""

import importlib
import json
import sys
from collections.abc import Callable
from pathlib import Path

from omegaconf import OmegaConf

import harness
from harness.cli import app
from harness.commands import ask, study, train
from harness.config.compose import Composer, plain
from harness.core.errors import UserError, nearest


@app("watch")
def watch(container) -> None:
    """A local page that follows a study while it runs: its runs, and the learning curves so far. Examples:

    rl-scaling watch study=quickstart
    rl-scaling watch study=transfer out=/scratch/outputs port=0
    """
    from hydra.core.hydra_config import HydraConfig

    from harness.study.expand import expand
    from harness.study.watch import watch

    overrides = [text for text in HydraConfig.get().overrides.task if not text.startswith("port=")]
    watch(expand(Composer("study"), overrides), container.port)


@app("analyze")
def analyze(config) -> None:
    """From a run table to verdicts, a transfer report and report.html. Examples:

    rl-scaling analyze table=runs.csv out=DIR
    rl-scaling analyze law=pretraining table=losses.csv out=DIR
    rl-scaling analyze runs='[outputs/a,outputs/b]' out=DIR
    rl-scaling analyze action=before_after table=docs/results/learns    # or breadth, calibrate, simulate, speed
    """
    from harness.analysis.command import run

    run(OmegaConf.to_container(config, resolve=True))


@app("runs")
def runs(config) -> None:
    """The runs of an output folder: what each is called, its id, how far it has come. Examples:

    rl-scaling runs
    rl-scaling runs match='quickstart-*' out=outputs
    """
    from rich.console import Console

    from harness.run.listing import least_width, list_runs

    console, table = Console(), list_runs(config.match, config.out)
    console.width = max(console.width, least_width(table))
    console.print(table)


@app("tasks")
def tasks(config) -> None:
    """Every task with its role, contexts, example prompts and answers, guess rate and generation speed. Examples:

    rl-scaling tasks show='[addition.*, store.symbolic]'
    rl-scaling tasks imports='[my_package]' show='[mine.*]'
    rl-scaling tasks page=docs/reference/tasks.md success=docs/reference/success    # in short
    """
    from envs.catalogue import overview, tasks_page
    from envs.registry import UnknownTask, select

    try:
        for module in config.imports:
            importlib.import_module(module)
        files = sorted(Path(config.success).glob("*.json")) if config.success else []
        if config.success and not files:
            raise UserError(f"success={config.success}", "no measurement lies there", "run scripts/success.py")
        success = {file.stem: json.loads(file.read_text()) for file in files}
        text = "" if config.page else tasks_page(select(config.show))
        if success or config.page:
            text += overview(success)
    except UnknownTask as error:
        raise UserError(str(error)) from None
    except ModuleNotFoundError as error:
        raise UserError(f"imports: {error}", fix="install it, or add its folder to PYTHONPATH") from None
    if config.page is None:
        print(text)
    else:
        Path(config.page).write_text(text)
        print(f"{config.page}: {len(text.splitlines())} lines")


@app("success")
def success(container) -> None:
    """Initial success by difficulty of every task that the standard base was pretrained on. Examples:

    rl-scaling success    # pretrains the base (once), measures, writes docs/reference/success/all.json
    rl-scaling success base=skills model=nano model.context=128 file=docs/reference/success/skills.json
    rl-scaling tasks page=docs/reference/tasks.md success=docs/reference/success    # tables
    """
    from harness.config.parse import parse
    from harness.core.files import write_json
    from harness.study.base_accuracy import measure_base_accuracy

    values = plain(container)
    file, command = Path(values.pop("file")), " ".join(["python scripts/success.py", *sys.argv[1:]])
    write_json(file, {"command": command, **measure_base_accuracy(parse(values), print)})
    print(f"wrote {file}")


@app("export")
def export(config) -> None:
    """A policy as a Hugging Face model, which transformers loads as it is, with its tokenizer. Examples:

    rl-scaling export run=outputs/runs/rl-0123456789ab out=exported
    rl-scaling export run=outputs/runs/rl-0123456789ab step=64 out=exported
    """
    from harness.run.checkpoint import export_run

    if config.run is None:
        raise UserError("run=", "a run folder must be named", "run=outputs/runs/…")
    step = export_run(Path(config.run), config.step, Path(config.out))
    print(f"{config.out}: {Path(config.run).name} at step {step}")


@app("convert")
def convert(container) -> None:
    """A log of TRL or verl as a run table, which scripts/analyze.py reads. Examples:

    rl-scaling convert source=trl log=out/checkpoint-500/trainer_state.json run_id=a seed=0 score=correct \\
        'verified=[near]' 'unverified=[far]' 'problems={near:500,far:250}' samples=8
    rl-scaling convert source=verl log=metrics.jsonl run_id=b seed=1 score=acc 'verified=[openai/gsm8k]' problems=1319
    rl-scaling analyze table='[outputs/converted/a.csv,outputs/converted/b.csv]' out=outputs/analysis
    """
    from pydantic import TypeAdapter

    from harness.tracking.convert import ConvertConfig, convert, write

    config = TypeAdapter(ConvertConfig).validate_python(plain(container))
    rows = convert(config)
    path = write(rows, config.out)
    print(f"{len(rows)} rows of {len({row['task'] for row in rows})} tasks: {path}")
    print(f"next: python scripts/analyze.py table={path} out={path.parent / path.stem}")


@app("dashboard")
def dashboard(config) -> None:
    """A W&B workspace that compares the arms of a study; as JSON only where no one is logged in. Examples:

    rl-scaling dashboard folder=outputs/studies/quickstart entity=me
    rl-scaling dashboard folder=outputs/studies/quickstart entity=me axis=compute/completions
    """
    import wandb

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


COMMANDS = {
    "train": train.main, "study": study.main, "watch": watch, "analyze": analyze, "runs": runs, "ask": ask.main,
    "tasks": tasks, "success": success, "export": export, "convert": convert, "dashboard": dashboard,
}  # fmt: skip


def summary(command: Callable[[], None]) -> str:
    """What a command does: the first sentence of its docstring."""
    return (command.__doc__ or "").partition(". Examples:")[0]


def help_text() -> str:
    lines = ["usage: rl-scaling COMMAND [key=value ...]", ""]
    lines += [f"  {name:<10} {summary(command)}" for name, command in COMMANDS.items()]
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
        COMMANDS[name]()
    else:
        print(unknown_command(name) if name else help_text(), file=sys.stderr)
        sys.exit(2)
