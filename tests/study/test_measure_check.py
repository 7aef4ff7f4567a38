"""A registered measure that the study cannot give is refused before anything is spent."""

import json

import pytest

from harness.core.errors import UserError
from harness.study.execute import run_study
from harness.study.load import Study
from harness.study.measure_check import require_measurable
from tests.study.test_expand_and_tables import study
from tests.toys import printed

WORDS = dict.fromkeys(("primary", "margins", "exclusions", "sizes"), "") | {"hypotheses": [], "decided_later": []}
GAIN = [{"arm": "true_reward", "role": "verified"}, {"arm": "true_reward", "role": "verified", "at": 0, "weight": -1}]


def registered(tmp_path, terms=(), metric="accuracy", **more):
    measure = {"terms": [*GAIN, *terms], "margin": 0.1, "metric": metric}
    words = {**WORDS, "measure": measure}
    return study(tmp_path, registered=words, accept_out_of_reach=True, analysis={"bootstraps": 20}, **more)


def run(found):
    return printed(run_study, found, [])


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"terms": [{"arm": "shufled_within_group"}]}, r"arm shufled_within_group: .*\n  did you mean shuffled_"),
        ({"terms": [{"arm": "frozen", "at": 3}]}, r"step 3 of arm frozen: .*\n  its budgets are 0, 1, 2, 4"),
        ({"terms": [{"arm": "frozen", "setting": "thinking=4"}]}, r"it selects no cell\n  there are roles"),
        ({"terms": [{"arm": "frozen", "tasks": ["gcd.*"]}]}, r"it selects no cell[^$]*toy\.symbolic"),
        ({"metric": "pass_all_at_9"}, r"metric pass_all_at_9: arm true_reward has evaluation\.samples"),
        ({"metric": "difficulty_exponent"}, r"difficulty_exponent needs 3 difficulties, and it selects"),
        ({"metric": "pass_at_9"}, r"metric pass_at_9: arm true_reward has evaluation\.ks"),
    ],
)  # fmt: skip
def test_what_the_study_will_not_measure_is_refused_before_it_writes_anything(tmp_path, wrong, message):
    with pytest.raises(UserError, match=message):
        run(registered(tmp_path, **wrong))
    assert not (tmp_path / "runs").exists()


def test_a_study_without_a_measure_has_nothing_to_refuse(tmp_path):
    require_measurable(study(tmp_path))
    require_measurable(registered(tmp_path))


def test_a_study_writes_its_answer_and_shows_it_again_from_the_file(tmp_path):
    found = registered(tmp_path)
    first, again = run(found), run(found)
    record = Study(found.folder).primary
    assert record.n == 2
    assert f"Registered measure: {record.sentence}." in first
    assert f"Registered measure: {record.sentence}." in again
    assert "The registered measure" in (found.folder / "report.html").read_text()
    assert "primary.json" in json.loads((found.folder / "analysis.json").read_text())["files"]
