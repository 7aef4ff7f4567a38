"""Breadth: slopes per doubling of the number of families, from planted changes; the orders of the study."""

import numpy as np
import polars as pl
import pytest
from omegaconf import OmegaConf

from harness.analysis.data.table import check_table
from harness.analysis.data.table_checks import TableError
from harness.analysis.report.figures import write_figures
from harness.analysis.report.study_answers import breadth_figure, breadth_primary, breadth_title
from harness.analysis.transfer.breadth import breadth, markdown
from tests.toys import CONFIGS

STEPS, WHOLE, PROBLEMS = (0, 2, 4, 8), 4, 10_000


def planted(rise, seeds=3, orders=2, leave_out=(), control=0.0, others=()):
    """rise(families, step, order, seed) is the change on held-out tasks a and b (twice as large), and three times as
    large on `others`, by order, tasks that no arm of the order rewards."""
    arms = {f"order_{o}_families_{k}": (k, o) for o in range(orders) for k in (1, 2)}
    arms |= {"true_reward": (WHOLE, 0), "shuffled_within_group": (0, 0)}
    rows = []
    for arm, (k, order) in arms.items():
        for seed in range(seeds):
            for step in STEPS:
                if (arm, step) in leave_out:
                    continue
                change = control if k == 0 else rise(k, step, order, seed)
                change *= step > 0
                cells = [("a.x", "unverified", change), ("b.x", "unverified", 2 * change)]
                cells += [(f"f{i}.x", "verified", 0.0) for i in range(k or WHOLE)]
                cells += [(t, "unverified", 3 * change) for t in others[order] if 0 < k < WHOLE] if others else []
                rows += [
                    {"run_id": f"{arm}{seed}", "arm": arm, "seed": seed, "base_id": f"base{seed}", "task": task,
                     "role": role, "x": float(step), "step": step, "n_problems": PROBLEMS, "k": 1,
                     "n_correct": round(PROBLEMS * (0.2 + c))}
                    for task, role, c in cells
                ]  # fmt: skip
    return check_table(pl.from_dicts(rows))


def measured(table):
    return breadth(table, "true_reward", "shuffled_within_group")


def test_the_slope_per_doubling_is_the_one_that_was_planted():
    found = measured(planted(lambda k, step, order, seed: 0.02 * np.log2(k) + 0.05 + 0.001 * seed))
    for mode in found["modes"].values():
        slopes = [mode["slope"], *(mode["slope_by_task"][task] for task in ("a.x", "b.x"))]
        assert [slope["mean"] for slope in slopes] == pytest.approx([0.03, 0.02, 0.04], abs=1e-3)
        assert [row["families"] for row in mode["by_families"]] == [1, 2, 4]
    assert found["families"] == 4


def test_at_the_same_dose_a_family_has_had_as_many_steps_whatever_stands_beside_it():
    """What grows with steps alone has no slope at the same compute, and doubles with families at the same dose."""
    found = measured(planted(lambda k, step, order, seed: 0.01 * step))
    assert found["modes"]["compute"]["slope"]["mean"] == pytest.approx(0, abs=1e-9)
    means = [row["mean"] for row in found["modes"]["dose"]["by_families"]]
    assert means == pytest.approx([0.03, 0.06, 0.12])  # steps 2, 4 and 8; the mean of a and b is 1.5 times a's


@pytest.mark.parametrize("others", [(["f2.x", "f3.x"], ["f3.x", "g.x"]), (["f2.x"], ["f3.x", "g.x"])])
def test_families_that_no_arm_of_an_order_rewards_have_a_slope_of_their_own(others):
    """Whether orders leave out as many or not; the real arm, which rewards them, has no part in it."""
    found = measured(planted(lambda k, *_: 0.02 * np.log2(k) + 0.03, others=others))
    slope = found["left_out"]["compute"]["slope"]
    assert slope["mean"] == pytest.approx(0.06, abs=1e-3)
    assert [row["families"] for row in found["left_out"]["compute"]["by_families"]] == [1, 2]
    assert found["modes"]["compute"]["slope"]["mean"] == pytest.approx(0.03, abs=1e-3)
    assert "no arm of an order rewards" in markdown(found)


def test_orders_that_differ_widen_the_interval():
    """They can differ where only some of the families are rewarded."""

    def width(spread):
        table = planted(lambda k, step, order, seed: 0.02 * np.log2(k) + spread * order * (k < WHOLE))
        slope = measured(table)["modes"]["compute"]["slope"]
        return slope["high"] - slope["low"]

    assert width(0.02) > 5 * width(0.002) > 0


def test_the_broadest_arm_stands_beside_its_control():
    found = measured(planted(lambda *_: 0.06, control=0.02))
    assert found["over_control"]["mean"] == pytest.approx(1.5 * 0.04)


def test_what_is_missing_is_named():
    with pytest.raises(TableError, match="order_1_families_1 was not evaluated at step 2"):
        measured(planted(lambda *_: 0.05, leave_out={("order_1_families_1", 2)}))
    table = planted(lambda *_: 0.05)
    lacking = check_table(table.frame.filter(pl.col("arm") != "order_1_families_2"))
    with pytest.raises(TableError, match=r"families = \(1, 2\)"):
        measured(lacking)
    with pytest.raises(TableError, match="order_O_families_K"):
        measured(check_table(table.frame.filter(~pl.col("arm").str.starts_with("order"))))


def test_page_and_figure_show_each_number_of_families(tmp_path):
    found = measured(planted(lambda k, *_: 0.02 * np.log2(k)))
    text = markdown(found)
    assert all(f"| {k} |" in text for k in (1, 2, 4))
    assert "| a.x | +0.020" in text
    write_figures(tmp_path / "figures", {"breadth": breadth_figure(found)})
    assert (tmp_path / "figures" / "breadth.png").stat().st_size > 10_000
    assert breadth_title(found).endswith("raises families never rewarded by 0.030")  # .02 and .04 of two tasks


def test_the_registered_slope_is_answered_against_its_margin():
    slope = {"mean": 0.001, "low": -0.001, "high": 0.003, "n": 3, "columns": 4}
    answers = [breadth_primary({"modes": {"compute": {"slope": {**slope, "high": high}}}}) for high in (0.003, 0.006)]
    assert [one.answer for one in answers] == ["no", "undecided"]
    assert answers[0].question in " ".join((CONFIGS / "study/breadth.yaml").read_text().split())


def test_the_orders_of_the_study_are_the_random_ones_that_it_names():
    families = list(OmegaConf.load(CONFIGS / "tasks" / "families.yaml").verified)
    study = OmegaConf.load(CONFIGS / "study" / "breadth.yaml").study
    for order in range(4):
        permuted = [families[i] for i in np.random.default_rng(order).permutation(len(families))]
        for size in (1, 2, 4, 8):
            rewarded, evaluated = study.arms[f"order_{order}_families_{size}"]
            assert rewarded.replace(" ", "") == f"tasks.verified=[{','.join(permuted[:size])}]"
            assert evaluated.replace(" ", "").endswith(f",{','.join(permuted[8:])}]")
