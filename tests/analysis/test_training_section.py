"""The sections drawn from run folders hold what the runs logged and wrote."""

import json

import numpy as np
import pytest

from harness.analysis.data.json_files import metrics_rows
from harness.analysis.report.curve_series import log_axis
from harness.analysis.report.training_section import ledger_rows, metric_lines, samples_section, training_section
from tests.analysis.study_tables import QUICKSTART, study_table

AXES = [log_axis("step", [np.array([1.0, 64.0])]), log_axis("flops", [np.array([1e3, 64e3])])]


@pytest.fixture
def folders(tmp_path):
    """A folder for each run of the study, with two rows of metrics, and a base that took half of a run's FLOPs."""

    def write(name, rows):
        (tmp_path / name).mkdir()
        (tmp_path / name / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        return tmp_path / name

    write("base0", [{"compute/step": 9, "compute/flops_convention": 4e3, "compute/seconds": 3.0}])
    found = {}
    for arm in QUICKSTART:
        for seed in range(2):
            rows = [
                {"compute/step": step, "compute/flops": 1e3 * step, "compute/flops_convention": 1e3 * step}
                | {"compute/seconds": 0.5 * step, "train/entropy": step + seed, "time/rollout": 3.0, "time/update": 1.0}
                for step in (1, 8)
            ]
            found[f"{arm}-{seed}"] = write(f"{arm}-{seed}", rows)
    return found


def test_metrics_are_averaged_over_runs_and_windows_on_every_axis():
    rows = [
        {"label": "a", "compute/step": step, "compute/flops": 10.0 * step, "train/entropy": step * factor}
        for factor in (1.0, 3.0)
        for step in (1, 63, 64)
    ]
    line = metric_lines(rows, "train/entropy", AXES).to_dict(as_series=False)
    assert line["step"] == pytest.approx([1, 63, 64])
    assert line["flops"] == pytest.approx([10, 630, 640])
    assert line["value"] == pytest.approx([2, 126, 128])
    assert metric_lines(rows, "train/ref_kl", AXES).is_empty()


def test_the_ledger_adds_the_base_and_splits_seconds_as_the_phases_took(folders):
    runs = {name: metrics_rows(folder) for name, folder in folders.items()}
    rows = ledger_rows(study_table(), runs, folders)
    real = {(row["part"], row["unit"]): row["amount"] for row in rows if row["arm"] == "true reward"}
    assert real == {
        ("RL", "FLOPs"): 8e3,
        ("pretraining", "FLOPs"): 4e3,
        ("pretraining", "seconds"): 3.0,
        ("sampling", "seconds"): pytest.approx(3.0),
        ("update", "seconds"): pytest.approx(1.0),
    }
    assert rows[0]["arm"] == "true reward"


def test_the_section_draws_what_was_logged_and_is_absent_without_folders(folders):
    section = training_section(study_table(), folders, AXES, ["true reward"])
    assert section is not None
    assert set(section.figures) == {"training_dynamics", "compute_ledger"}
    assert list(section.figures["training_dynamics"].panels) == ["Entropy, nats a token"]
    assert "RL takes 67% of the FLOPs" in section.figures["compute_ledger"].title
    assert training_section(study_table(), {}, AXES, []) is None


def test_the_same_problem_stands_before_and_after_with_what_was_written_escaped(folders):
    for step, text in ((0, "a <b>"), (4, "early"), (64, "ba")):
        row = {"task": "reverse_symbolic", "difficulty": 2, "setting": "", "prompt": "ab=", "answer": "ba"}
        (folders["true_reward-0"] / "samples").mkdir(exist_ok=True)
        path = folders["true_reward-0"] / "samples" / f"step-{step:08d}.jsonl"
        path.write_text(json.dumps(row | {"completions": [text, text, "x"]}) + "\n")
    section = samples_section(study_table(), folders, "true_reward")
    assert section is not None
    assert "<code>a &lt;b&gt;</code> 2/3" in section.render()
    assert "<code>ba</code> 2/3" in section.render()
    assert "early" not in section.render()
    assert samples_section(study_table(), folders, "frozen") is None
