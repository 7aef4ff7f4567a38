"""Initial success: of the base, by task and difficulty, on the split asked for."""

from envs.splits import split_of
from harness.config.identity import base_id
from harness.run.folder import run_folder
from harness.study import base_accuracy as success
from harness.study.base_accuracy import measure_base_accuracy
from tests.toys import silent, tiny

SETTINGS = ("evaluation.split=validation", "evaluation.problems=5", "evaluation.samples=4")


def test_every_task_and_difficulty_of_the_corpus_is_scored_on_the_split_asked_for(tmp_path, monkeypatch):
    """Counts are of completions: problems, of which difficulty 1 has few, times samples."""
    seen, evaluate = [], success.evaluate

    def recorded(backend, policy, suite, *rest):
        seen.extend(suite)
        return evaluate(backend, policy, suite, *rest)

    monkeypatch.setattr(success, "evaluate", recorded)
    found = measure_base_accuracy(tiny(*SETTINGS, out=tmp_path), silent)
    difficulties = {name: list(cells) for name, cells in found["tasks"].items()}
    assert difficulties == {name: ["1", "2"] for name in ("toy.symbolic", "toy.worded")}
    assert [n for cells in found["tasks"].values() for _, n in cells.values()] == [4 * len(c.problems) for c in seen]
    assert all(0 <= right <= n for cells in found["tasks"].values() for right, n in cells.values())
    assert {split_of(p) for cell in seen for p in cell.problems} == {"validation"}


def test_a_base_is_pretrained_once_and_scored_alike_again(tmp_path):
    config = tiny(*SETTINGS, out=tmp_path)
    said: list[str] = []
    first = measure_base_accuracy(config, said.append)
    assert any(line.startswith("pretraining") for line in said)
    metrics = run_folder(tmp_path, base_id(config)).path / "metrics.jsonl"
    written, said[:] = metrics.read_text(), []
    assert measure_base_accuracy(config, said.append) == first
    assert metrics.read_text() == written


def test_the_sentence_on_the_base_states_what_was_asked():
    assert "3 steps of 8 documents" in success.describe_base(tiny(*SETTINGS))
    assert "5 problems of the validation split" in success.describe_base(tiny(*SETTINGS))
