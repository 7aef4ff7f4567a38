"""Tables come out of W&B projects by its public API. No server is reached: an imitation answers as the API documents,
and takes only the calls that the real client takes."""

import inspect
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

import pytest
import wandb

from harness.analysis.command import run
from harness.analysis.data.table import load_table
from harness.analysis.data.table_checks import TableError
from harness.analysis.data.wandb_table import local_path
from tests.analysis.study_tables import study_frame
from tests.analysis.test_command import settings

API = wandb.Api


class Recorded:
    """What a project with some studies answers. calls: the requests made."""

    def __init__(self, *studies: str, files: tuple[str, ...] = ("table.parquet",)):
        self.studies, self.files, self.calls = studies, files, []

    def __call__(self, **options):
        inspect.signature(API).bind(**options)
        return self

    def artifact_collections(self, *args, **options):
        inspect.signature(API.artifact_collections).bind(self, *args, **options)
        self.calls.append(("artifact_collections", *args))
        return iter([SimpleNamespace(name=name, type="study") for name in self.studies])

    def artifact(self, *args, **options):
        inspect.signature(API.artifact).bind(self, *args, **options)
        self.calls.append(("artifact", *args))
        if args[0].split("/")[2].removesuffix(":latest") not in self.studies:
            raise wandb.errors.CommError(f"artifact '{args[0]}' not found")
        return SimpleNamespace(name=args[0], version="v0", download=self.download)

    def download(self, **options):
        inspect.signature(wandb.Artifact.download).bind(self, **options)
        folder = Path(options["root"])
        folder.mkdir(parents=True)
        for name in self.files:
            study_frame(seeds=2).write_parquet(folder / name)
        return str(folder)


@pytest.fixture
def load(tmp_path, monkeypatch):
    """load(source, api): the local path of a source, for one who is logged in; api stands for wandb.Api."""
    monkeypatch.setattr(wandb, "login", lambda **options: True)

    def path_of(source, api):
        monkeypatch.setattr(wandb, "Api", api)
        return local_path(source, tmp_path)

    return path_of


def test_a_study_is_downloaded_beside_the_results_and_loads_and_a_local_path_stays_as_it_is(load, tmp_path):
    api = Recorded("quick", "long")
    assert load("runs/table.csv", api) == Path("runs/table.csv")
    folder = load("wandb:me/lab/quick", api)
    assert api.calls == [("artifact", "me/lab/quick:latest")]
    assert folder == tmp_path / "from_wandb" / "me" / "lab" / "quick"
    assert load_table(folder).frame.equals(load_table(folder / "table.parquet").frame)


def test_a_project_with_one_study_needs_no_name(load):
    api = Recorded("quick")
    assert load("wandb:me/lab", api).name == "quick"
    assert api.calls[0] == ("artifact_collections", "me/lab", "study")


@pytest.mark.parametrize(
    ("source", "api", "message"),
    [
        ("wandb:lab", Recorded(), "names no project\n.*wandb:ENTITY/PROJECT"),
        ("wandb:me/", Recorded(), "names no project"),
        ("wandb:me/lab", Recorded(), "holds no study\n.*report=true tracker=wandb"),
        ("wandb:me/lab", Recorded("b", "a"), r"holds 2 studies\n.*wandb:me/lab/\(a\|b\)"),
        ("wandb:me/lab/other", Recorded("a"), r"CommError: .*not found\)\n.*check the name"),
        ("wandb:me/lab", Mock(side_effect=ConnectionError("no route to host")), "no route to host"),
        ("wandb:me/lab", Recorded("a", files=("report.html",)), r"artifact a holds no table\.parquet"),
    ],
)
def test_an_unreadable_project_is_an_error_with_the_fix(load, source, api, message):
    with pytest.raises(TableError, match=message):
        load(source, api)


def test_without_a_login_the_command_fails_and_writes_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(wandb, "login", lambda **options: False)
    with pytest.raises(TableError, match=r"not logged in to W&B\n.*wandb login"):
        run(settings(table="wandb:me/lab", out=str(tmp_path / "out")))
    assert not (tmp_path / "out").exists()
