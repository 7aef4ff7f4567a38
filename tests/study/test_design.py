"""Which verdicts a design can reach is part of the plan."""

import pytest

from harness.analysis.data.options import default_options
from harness.analysis.verdict.power import Design, line_power, reachable_verdicts, shape_power
from harness.study.plan import design_of, verdict_note
from tests.study.test_expand_and_tables import study


def test_the_design_of_a_study_is_what_its_curves_will_be_made_of(tmp_path):
    found = study(tmp_path, seeds=(0, 1, 2), base_seeds=(0, 1), user=["rl.steps=100", "schedule.warmup=5"])
    design = design_of([entry for entry in found.entries if entry.arm == "true_reward"])
    # Evaluated at 1, 2, 4, 8, 16, 32, 64 and 100; the window begins at twice the warm-up.
    assert (design.replicates, design.bases, design.budgets) == (6, 2, 4)
    assert design.decades == pytest.approx(0.796, abs=1e-3)
    assert design.completions == {"verified": 3 * 4 * 2, "unverified": 3 * 4 * 2}


def test_a_warm_up_that_would_leave_less_than_two_budgets_cuts_nothing(tmp_path):
    found = study(tmp_path, user=["rl.steps=100", "schedule.warmup=50"])
    assert design_of(found.entries[:1]).budgets == 8


def test_what_a_design_lacks_for_a_verdict_is_said_with_numbers():
    (line,) = reachable_verdicts(Design(4, 1, 6, 1.5, {"verified": 512}), default_options())
    assert line.startswith("only insufficient_data (4 replicates, 6 budgets over 1.5 decades)")
    assert all(word in line for word in ("2 more budgets", "0.5 more decades", "1 more seed"))


def test_a_design_that_suffices_gets_its_chances_from_the_power_table():
    sized, given, power = reachable_verdicts(Design(9, 1, 10, 3.0, {"verified": 3000}), default_options())
    assert sized.startswith("any")
    assert given.startswith("given 1 base;")
    assert f"{shape_power(0.08, 3000, 9):.2f} at 0.08 a decade" in power
    assert len(reachable_verdicts(Design(9, 3, 10, 3.0, {}), default_options())) == 1


def test_below_the_power_table_no_chance_is_given():
    assert "begins at 512 completions and 8 seeds" in line_power("verified", 2048, 5)


def test_a_study_that_trains_nothing_has_no_note(tmp_path):
    assert verdict_note(study(tmp_path, {"a": ["objective=frozen"]})) == ""
    assert "insufficient_data" in verdict_note(study(tmp_path))
