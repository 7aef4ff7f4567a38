"""The examples that need no training; those that do have tests beside what they show."""

from examples import accuracy_by_arm, accuracy_by_generation, accuracy_by_task, figure
from harness import load_study


def test_a_figure_of_ones_own_is_drawn_from_a_committed_table(tmp_path):
    frame = figure.curves(load_study(figure.RESULTS).table)
    assert set(frame["arm"]) == set(figure.ARMS.values())
    figure.figure(frame).save(tmp_path / "figure.svg")
    assert "sigmoid" in (tmp_path / "figure.svg").read_text()


def test_the_end_of_each_arm_is_drawn_by_seed(tmp_path):
    found = accuracy_by_arm.ends(load_study(figure.RESULTS.parent / "conditioning").table)
    assert found.filter(arm="no_norm")["accuracy"].max() < 0.15 < found.filter(arm="layernorm")["accuracy"].min()
    accuracy_by_arm.figure(found, "ends").save(tmp_path / "ends.svg")
    assert "no_norm" in (tmp_path / "ends.svg").read_text()


def test_generations_begin_at_the_corpus_and_are_drawn_by_role(tmp_path):
    found = accuracy_by_generation.by_generation(load_study(figure.RESULTS.parent / "self_training").table)
    verified = found.filter(role="verified", seed=0)
    assert verified["line"].unique().len() == 4
    assert verified.filter(generation=0)["accuracy"].n_unique() == 1
    assert verified.filter(line="verifier")["generation"].sort().to_list() == [0, 1, 2, 3]
    accuracy_by_generation.figure(found, "by generation").save(tmp_path / "generations.svg")
    assert "unfiltered" in (tmp_path / "generations.svg").read_text()


def test_each_task_is_drawn_before_rl_and_after_an_arm_and_its_control(tmp_path):
    arms = ("compose", "shuffled_compose")
    found = accuracy_by_task.ends(load_study(figure.RESULTS.parent / "specimens").table, *arms)
    held_out = dict(found.filter(task="compose_held_out.symbolic").select("when", "accuracy").rows())
    assert set(held_out) == {accuracy_by_task.BEFORE, *arms}
    assert held_out["compose"] > held_out["shuffled_compose"] + 0.25
    accuracy_by_task.panel(found, *arms).save(tmp_path / "tasks.svg")
    assert "compose.symbolic (rewarded)" in (tmp_path / "tasks.svg").read_text()
