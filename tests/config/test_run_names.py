"""A run is called by what it is, and found by folder, name, id or pattern."""

import json
from pathlib import Path

import pytest

from harness.config.run_names import display_name, find, find_run, find_runs, name_of
from harness.core.errors import UserError
from harness.run.listing import least_width, list_runs
from tests.toys import printed

RUN = {"objective": "rl", "seed": 2, "model": {"name": "nano"}, "base": {"seed": 0}}


@pytest.mark.parametrize(
    ("labels", "run", "name"),
    [
        ({"study": "walk", "arm": "true_reward"}, RUN, "walk-true_reward-s2"),
        ({"study": "single", "arm": "true_reward"}, RUN, "true_reward-s2"),
        ({"study": "sweep", "arm": "algo=grpo optim.lr=0.0001"}, RUN, "algo=grpo,lr=1e-4-s2"),
        ({"study": "sweep", "arm": "rl.group_size=16 optim.lr=0.05"}, RUN, "group_size=16,lr=0.05-s2"),
        ({"study": "sweep", "arm": "base.folder=exported/a"}, RUN, "folder=exported_a-s2"),
        ({"study": "walk", "arm": "base"}, RUN, "base-nano-s0"),
        ({"study": "walk", "arm": "frozen"}, {**RUN, "base": {"seed": 3}}, "walk-frozen-s2-b3"),
    ],
)
def test_a_name_says_study_arm_and_seed(labels, run, name):
    assert display_name(labels, run) == name


def make_run(out: Path, run_id: str, seed: int, study: str = "walk", arm: str = "true_reward") -> Path:
    folder = out / "runs" / run_id
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({**RUN, "seed": seed}))
    (folder / "labels.json").write_text(json.dumps([{"study": study, "arm": arm}]))
    return folder


@pytest.fixture
def out(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for run_id, seed in (("rl-aa", 0), ("rl-bb", 1)):
        make_run(tmp_path / "outputs", run_id, seed)
    make_run(tmp_path / "outputs", "frozen-cc", 0, arm="frozen")
    study = tmp_path / "outputs" / "studies" / "walk"
    study.mkdir(parents=True)
    manifest = {"runs": [{"run_id": "rl-aa"}, {"run_id": "frozen-cc"}, {"run_id": "rl-deleted"}]}
    (study / "manifest.json").write_text(json.dumps(manifest))
    return Path("outputs")


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("outputs/runs/rl-aa", ["rl-aa"]),
        ("outputs/runs/rl-*", ["rl-aa", "rl-bb"]),
        ("walk-true_reward-s1", ["rl-bb"]),
        ("walk-*-s0", ["frozen-cc", "rl-aa"]),
        ("rl-bb", ["rl-bb"]),
        ("outputs/studies/walk", ["rl-aa", "frozen-cc"]),
        ("outputs", ["frozen-cc", "rl-aa", "rl-bb"]),
    ],
)
def test_runs_are_found_by_folder_pattern_name_id_and_study(out, text, ids):
    assert [run.name for run in find_runs([text], out)] == ids


def test_a_study_folder_and_a_file_stand_for_themselves_where_any_path_will_do(out):
    table = out / "studies" / "walk" / "table.parquet"
    table.touch()
    assert find(["outputs/studies/walk", str(table)], out) == [table.parent, table]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("walk-true_rewrd-s1", "did you mean walk-true_reward-s1"),
        ("walk-*", "3 runs go by that.*walk-frozen-s0, walk-true_reward-s0, walk-true_reward-s1"),
        ("qqqqqq", "`rl-scaling runs` lists"),
    ],
)
def test_what_is_not_one_run_gets_the_names_that_are_near(out, text, said):
    with pytest.raises(UserError, match=f"(?s){said}"):
        find_run(text, out)


def test_an_output_folder_without_runs_is_named(tmp_path):
    with pytest.raises(UserError, match="there are no runs in"):
        find_run("walk", tmp_path)


def test_the_list_shows_names_and_ids_of_runs_that_match(out):
    table = list_runs("walk-true*", str(out))
    shown = [list(column.cells) for column in table.columns[:3]]
    assert shown == [["walk-true_reward-s0", "walk-true_reward-s1"], ["rl-aa", "rl-bb"], ["to do", "to do"]]
    with pytest.raises(UserError, match="no run goes by that"):
        list_runs("other", str(out))


def test_names_in_the_list_are_neither_cut_nor_folded(tmp_path):
    name = "a-study-with-a-long-name-" * 4
    make_run(tmp_path, "rl-aa", 2, study=name)
    table = list_runs("*", str(tmp_path))
    text = printed(lambda console: console.print(table), width=least_width(table))
    assert f"{name}-true_reward-s2" in text
    assert least_width(table) < len(f"{name}-true_reward-s2") + 60


def test_a_folder_without_labels_keeps_its_own_name(tmp_path):
    assert name_of(tmp_path) == tmp_path.name
