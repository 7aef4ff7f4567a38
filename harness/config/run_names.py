"""Names of runs for people, and the folders that names, patterns and paths stand for.

A run's folder is named by its id, a hash. Its display name says what the run is: `quickstart-true_reward-s2` of a
study, `algo=grpo,lr=1e-4-s0` of a sweep, `base-nano-s0` of a pretrained base.
"""

import glob
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from harness.core.errors import UserError, nearest
from harness.core.files import read_json

BASE_ARM = "base"  # the label of pretraining
UNNAMED = ("single", "sweep")  # labels of runs that belong to no study


def display_name(labels: Mapping[str, Any], run: Mapping[str, Any]) -> str:
    """Study, arm and seed of a run from the labels of its first launch and its configuration, a plain container. A base
    seed other than 0 is added."""
    study, arm = labels.get("study"), str(labels["arm"])
    base_seed = run["base"]["seed"]
    if arm == BASE_ARM:
        return f"base-{run['model']['name']}-s{base_seed}"
    parts = [study] if study and study not in UNNAMED else []
    parts += [",".join(map(short_setting, arm.split())), f"s{run['seed']}"]
    return "-".join([*parts, f"b{base_seed}"] if base_seed else parts).replace("/", "_")


def short_setting(word: str) -> str:
    """optim.lr=0.0001 -> lr=1e-4; any other word as it is."""
    key, equals, value = word.partition("=")
    if not equals:
        return word
    try:
        number = float(value)
    except ValueError:
        return f"{key.rsplit('.', 1)[-1]}={value}"
    short = f"{number:.0e}".replace("e-0", "e-") if 0 < number < 1e-2 and float(f"{number:.0e}") == number else value
    return f"{key.rsplit('.', 1)[-1]}={short}"


def is_run_folder(path: Path) -> bool:
    return (path / "config.json").is_file() and path.parent.name == "runs"


def name_of(folder: Path) -> str:
    """The display name of the run in a folder; the folder's own name where it was launched without labels."""
    run, labels = read_json(folder / "config.json"), read_labels(folder)
    return display_name(labels[0], run) if run and labels and "arm" in labels[0] else folder.name


def read_labels(folder: Path) -> list[dict[str, Any]]:
    """The labels that the run in a folder was launched under, in order of their first launch."""
    found = read_json(folder / "labels.json") or []
    return found["labels"] if isinstance(found, dict) else found  # a list in older versions


def find(texts: Sequence[str], out: str | Path) -> list[Path]:
    """The folders and files that texts stand for, each once, in their order: a path; the display name or id of a run in
    `out`, or a pattern of these; or a pattern of paths. Raises UserError where a text stands for nothing."""
    names: dict[str, list[Path]] = {}
    found: list[Path] = []
    for text in texts:
        paths = [Path(text)] if Path(text).exists() else []
        if not paths:
            names = names or runs_by_name(out)
            paths = [path for name, own in names.items() if name == text or fnmatchcase(name, text) for path in own]
        if not (paths := paths or [Path(path) for path in sorted(glob.glob(text))]):
            raise _nothing(text, names, out)
        found += paths
    return list(dict.fromkeys(found))


def find_runs(texts: Sequence[str], out: str | Path) -> list[Path]:
    """The run folders that texts stand for, as `find`; a study folder stands for its runs, any other for the runs in
    it. Raises UserError where there is none."""
    runs: list[Path] = []
    for text in texts:
        own = [run for path in find([text], out) for run in _runs_in(path)]
        if not own:
            raise UserError(text, "no run lies there", "name a folder of a run or a study, or a run")
        runs += own
    return list(dict.fromkeys(runs))


def find_run(text: str | Path, out: str | Path) -> Path:
    """The one run folder that a text stands for. Raises UserError where it stands for none or several."""
    runs = find_runs([str(text)], out)
    if len(runs) > 1:
        shown = ", ".join(sorted(map(name_of, runs))[:12]) + (" …" if len(runs) > 12 else "")
        raise UserError(f"{text}", f"{len(runs)} runs go by that", f"name one of them: {shown}")
    return runs[0]


def runs_by_name(out: str | Path) -> dict[str, list[Path]]:
    """Run folders of an output folder, by display name and by id."""
    names: dict[str, list[Path]] = {}
    for folder in sorted(path.parent for path in (Path(out) / "runs").glob("*/config.json")):
        for name in dict.fromkeys((name_of(folder), folder.name)):
            names.setdefault(name, []).append(folder)
    return names


def _runs_in(path: Path) -> list[Path]:
    if is_run_folder(path):
        return [path]
    manifest = read_json(path / "manifest.json")
    if manifest:
        runs = path.parents[1] / "runs"
        ids = dict.fromkeys(run["run_id"] for run in manifest["runs"])
        return [runs / run_id for run_id in ids if is_run_folder(runs / run_id)]
    return sorted(config.parent for config in path.rglob("runs/*/config.json"))


def _nothing(text: str, names: Mapping[str, list[Path]], out: str | Path) -> UserError:
    if not names:
        return UserError(text, f"no such path, and there are no runs in {out}", "name a run folder, or set out=…")
    near = nearest(text, names) or [name for name in names if text in name][:4]
    meant = f"did you mean {' or '.join(near)}? " if near else ""
    return UserError(text, f"no path and no run in {out} goes by that", f"{meant}`rl-scaling runs` lists the runs")
