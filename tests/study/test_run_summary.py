"""What one run brought, at a glance and within 80 columns."""

import pytest

from harness.core.files import read_json
from harness.core.samples import samples_path
from harness.run.evaluations import pooled_accuracy
from harness.study.run_summary import accuracy_table, samples_table
from harness.study.sweep import sweep_table
from tests.toys import printed, tiny, train

HELD_OUT = ("tasks.difficulties=[1,2]", "tasks.held_out_difficulties=[3]")


def shown(table):
    text = printed(lambda console: console.print(table), width=80)
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text
    return text


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    config = tiny(*HELD_OUT, out=tmp_path_factory.mktemp("out"))
    return config, train(config)


def test_the_means_of_both_roles_stand_first_with_their_change_and_no_name_is_cut(run):
    config, folder = run
    rows = [line.split("│")[1:-1] for line in shown(accuracy_table(config)).splitlines() if "│" in line]
    cells = {row[0].strip(): [cell.strip() for cell in row[1:]] for row in rows}
    assert [*cells][:2] == ["all verified tasks", "all unverified tasks"]
    assert {"toy.symbolic (verified)", "toy.symbolic longer (unverified)", "toy.worded longer (unverified)"} <= {*cells}
    (which,) = (folder / "evaluations").iterdir()
    for role in ("verified", "unverified"):
        before, after = (
            pooled_accuracy(config, read_json(which / f"step-{step:08d}.json")["rows"])[role] for step in (0, 4)
        )
        assert cells[f"all {role} tasks"] == [f"{before:.3f}", f"{after:.3f}", f"{after - before:+.3f}"]


def test_the_same_problems_are_shown_before_and_after_rl(run):
    config, folder = run
    text = shown(samples_table(config))
    assert all(word in text for word in ("before RL", "step 4", "toy.symbolic", "toy.worded", "longer"))
    assert samples_path(folder, 4).is_file()


def test_a_run_without_a_score_before_rl_shows_no_samples(tmp_path):
    config = tiny("budgets=[2,4]", out=tmp_path)
    train(config)
    assert samples_table(config) is None
    assert "step 2" in shown(accuracy_table(config))


def test_a_run_that_measured_nothing_has_an_empty_table(tmp_path):
    assert "all verified tasks" in shown(accuracy_table(tiny(out=tmp_path)))
    assert samples_table(tiny(out=tmp_path)) is None


def test_a_sweep_fits_too_and_names_what_was_changed(tmp_path):
    configs = [tiny(f"optim.lr={lr}", f"algo={algo}", out=tmp_path) for lr in (0.01, 0.02) for algo in ("rloo", "grpo")]
    train(configs[0])
    text = shown(sweep_table(configs))
    assert all(word in text for word in ("optim.lr", "algo", "grpo", "0.02", "verified"))
