"""What a base can do before RL is known before RL is paid for, and a primary measure out of its reach is refused."""

import itertools

import polars as pl
import pytest

from harness.core.errors import UserError
from harness.core.groups import signal_share
from harness.launch.jobs import JobResult
from harness.run.job import run_job
from harness.study import execute
from harness.study.execute import run_study
from harness.study.measure_check import refuse_out_of_reach
from harness.study.reach import (
    PROBE_PROBLEMS,
    CellName,
    CellReach,
    Reach,
    cell_names,
    reach_of,
    reach_sentences,
    reach_table,
    reach_tables,
)
from harness.study.tables import write_tables
from tests.study.test_expand_and_tables import launched, study
from tests.toys import printed, run_all, silent

# The toy base is right now and then in its own task, and never in addition.
TASKS = ["tasks.unverified=[toy.worded,addition.symbolic]"]
REGISTERED = dict.fromkeys(("primary", "margins", "exclusions", "sizes"), "")
REGISTERED |= {"hypotheses": [], "decided_later": [], "primary_role": "unverified"}


def registered(tmp_path, role="unverified", user=(), **more):
    about = {**REGISTERED, "primary_role": role}
    return study(tmp_path, user=[*TASKS, *user], registered=about, analysis={"bootstraps": 20}, **more)


def run(found):
    return printed(run_study, found, [])


def cell(task, difficulty, correct, role="verified", arm="true_reward"):
    return CellReach(CellName(task, difficulty, ""), arm, role, correct, 100)


def test_the_share_of_groups_with_signal_is_that_of_all_groups_that_could_be_drawn():
    q, size = 0.3, 4
    groups = itertools.product((True, False), repeat=size)
    mixed = sum(q ** sum(g) * (1 - q) ** (size - sum(g)) for g in groups if len(set(g)) > 1)
    assert signal_share(q, size) == pytest.approx(mixed)
    assert signal_share(0.0, 8) == signal_share(1.0, 8) == signal_share(0.5, 1) == 0


def test_what_is_out_of_reach_and_what_is_solved_is_named():
    cells = (cell("a", 1, 96), cell("a", 2, 40), cell("a", 3, 0), cell("b", 1, 0, "unverified"))
    dead, whole, solved = (next(s for s in reach_sentences(Reach("nano", "", 8, cells)) if word in s)
                           for word in ("Out of reach: 1 cell of", "1 of 1 unverified tasks", "Solved"))  # fmt: skip
    assert ("a (3)" in dead, "b (1)" in whole, "a (1)" in solved) == (True, True, True)
    assert reach_sentences(Reach("nano", "", 8, cells[1:2])) == ["Every cell is within reach, and none is solved."]


def test_a_registered_study_out_of_reach_is_refused_after_its_bases_and_before_any_rl(tmp_path):
    found = registered(tmp_path, base_seeds=[0, 1])
    with pytest.raises(UserError, match=r"2 of 4 cells.*addition\.symbolic \(1, 2\)[^$]*accept_out_of_reach=true"):
        run(found)
    assert {path.name.split("-")[0] for path in (tmp_path / "runs").iterdir()} == {"base"}
    accepted = registered(tmp_path, base_seeds=[0, 1], accept_out_of_reach=True)
    assert "1 of 2 unverified tasks are out of reach, no completion right: addition.symbolic (1, 2)" in run(accepted)


def test_a_study_is_not_refused_for_what_its_primary_measure_leaves_out_or_once_nothing_is_left_to_run(tmp_path):
    refuse_out_of_reach(registered(tmp_path, "verified").config, [])
    assert "verdict" in run(registered(tmp_path, "verified"))
    assert "all" in run(registered(tmp_path))  # the same runs, which are done


def test_rl_of_a_base_waits_for_the_others_only_where_they_may_refuse_the_study(tmp_path, monkeypatch):
    launches, launch = [], execute._launch

    def recorded(jobs, config, on_progress):
        launches.append([job.is_base for job in jobs])
        return launch(jobs, config, on_progress)

    monkeypatch.setattr(execute, "_launch", recorded)
    text = run(study(tmp_path / "a", user=TASKS, base_seeds=[0, 1]))
    assert [(sum(kinds), len(kinds)) for kinds in launches] == [(2, 14)]
    assert text.count("a probe of 2 of its bases") == 1
    launches.clear()
    assert "a probe of 2 of its bases" in run(registered(tmp_path / "b", "verified", base_seeds=[0, 1]))
    assert [(sum(kinds), len(kinds)) for kinds in launches] == [(2, 2), (0, 12)]


def test_every_variant_of_an_arm_is_probed(tmp_path):
    variants = [["tasks.difficulties=[1]"], ["tasks.difficulties=[2]"]]
    found = registered(tmp_path, "verified", arms={"true_reward": variants}, seeds=(0,))
    run_job(found.jobs[0], silent)
    (reach,) = reach_of(found.entries)
    assert {cell.name.difficulty for cell in reach.of_first_arm("verified")} == {1, 2}


def test_a_base_that_failed_is_tried_once_and_its_rl_is_skipped(tmp_path, monkeypatch):
    launches = []

    def failing(jobs, config, on_progress):
        launches.append([job.run_id for job in jobs])
        yield from (JobResult(job, "failed", error="ValueError: no") for job in jobs)

    monkeypatch.setattr(execute, "_launch", failing)
    found = registered(tmp_path, "verified", seeds=(0,))
    with pytest.raises(UserError, match="nothing was measured"):
        run(found)
    base = found.jobs[0].run_id
    assert launches == [[base], []]


def test_a_reach_that_cannot_be_measured_ends_no_rl(tmp_path, monkeypatch):
    def broken(found, console):
        raise UserError("weights of a base", "damaged", "delete them")

    monkeypatch.setattr(execute, "show_reach", broken)
    text = run(study(tmp_path, user=TASKS, seeds=(0,), analysis={"bootstraps": 20}))
    assert "reach is not known: weights of a base: damaged" in text
    assert "verdict" in text


def test_a_quarter_of_the_cells_may_be_out_of_reach(tmp_path):
    config = registered(tmp_path).config
    cells = [cell("a", d, int(d > 1), "unverified") for d in (1, 2, 3, 4)]
    refuse_out_of_reach(config, [Reach("nano", "", 8, tuple(cells))])
    with pytest.raises(UserError, match="2 of 5 cells"):
        refuse_out_of_reach(config, [Reach("nano", "", 8, (*cells, cell("a", 5, 0, "unverified")))])


def test_difficulties_in_a_row_are_named_as_a_span():
    cells = [cell("a", d, 0, "verified") for d in (6, 4, 5, 1, 2)]
    assert cell_names(cells) == "a (1, 2, 4 to 6)"
    thinking = [CellReach(CellName("a", d, "thinking 8"), "x", "verified", 0, 4) for d in (1, 2, 3)]
    assert cell_names(thinking) == "a (1 to 3 thinking 8)"


def test_cells_of_other_arms_do_not_count_in_the_primary_measure(tmp_path):
    cells = [cell("a", 1, 9, "unverified"), *(cell("b", d, 0, "unverified", "placebo") for d in range(9))]
    refuse_out_of_reach(registered(tmp_path).config, [Reach("nano", "", 8, tuple(cells))])
    assert "of arm placebo" in " ".join(reach_sentences(Reach("nano", "", 8, tuple(cells))))


def test_the_plan_shows_the_reach_of_a_cached_base_and_writes_nothing(tmp_path):
    planned = study(tmp_path, user=[*TASKS, "plan=true"])
    assert "no base is pretrained yet" in run(planned)
    assert not (tmp_path / "runs").exists()
    run_job(planned.jobs[0], silent)
    text = run(planned)
    assert "a probe of 1 of its bases" in text
    assert "addition.symbolic (1, 2)" in text
    assert len(list((tmp_path / "runs").iterdir())) == 1


def test_a_probe_looks_at_validation_and_pools_all_bases(tmp_path, monkeypatch):
    from harness.study import reach as module

    seen, evaluate = [], module.evaluate
    monkeypatch.setattr(module, "evaluate", lambda *args: (seen.append(args), evaluate(*args))[1])
    found = study(tmp_path, base_seeds=[0, 1, 2], user=TASKS)
    run_all(found.jobs[:3])
    (one,) = reach_of(found.entries)
    ((_, policy, suite, settings, _),) = seen
    assert (settings.split, policy.seeds) == ("validation", 3)
    assert settings.problems == found.entries[0].config.evaluation.problems < PROBE_PROBLEMS
    assert [c.completions for c in one.cells] == [3 * settings.samples * len(c.problems) for c in suite]


def test_successes_that_the_study_has_measured_are_counted_once_for_all_arms(tmp_path):
    found = launched(study(tmp_path, user=[*TASKS, "tasks.held_out_difficulties=[3]"]))
    (one,) = reach_of(found.entries)
    table = pl.read_parquet(write_tables(found) / "table.parquet")
    before = table.filter((pl.col("x") == 0) & (pl.col("arm") == "true_reward"))
    counts = before.group_by("task", "role").agg(pl.col("n_correct").sum(), (pl.col("n_problems") * pl.col("k")).sum())
    expected = {(task, role): (correct, n) for task, role, correct, n in counts.rows()}
    by_task: dict = {}
    for c in one.cells:
        correct, n = by_task.get((c.name.task, c.role), (0, 0))
        by_task[c.name.task, c.role] = correct + c.correct, n + c.completions
    assert by_task == expected
    assert ("toy.symbolic longer", "unverified") in by_task


def test_the_report_and_the_terminal_hold_the_table(tmp_path):
    found = study(tmp_path, user=TASKS, analysis={"bootstraps": 20})
    text = run(found)
    page = (found.folder / "report.html").read_text()
    assert "What was within reach" in page
    sentence = "1 of 2 unverified tasks are out of reach, no completion right: addition.symbolic (1, 2)."
    assert sentence in page
    assert sentence in text
    assert "groups with signal" in text


def test_bases_of_two_kinds_have_a_table_each_and_frozen_arms_none(tmp_path):
    arms = {"a": [], "b": ["base.steps=2"], "frozen": ["objective=frozen", "base.steps=4"]}
    found = study(tmp_path, arms, seeds=(0,))
    assert [one.policy for one in reach_of(found.entries)] == ["nano of arm a", "nano of arm b"]
    assert reach_of([entry for entry in found.entries if entry.arm == "frozen"]) == []


@pytest.mark.parametrize(("unknown", "named"), [(26, "26 kinds of base"), (2, "nano of arm 0, nano of arm 1")])
def test_all_bases_that_are_not_pretrained_yet_share_one_line(unknown, named):
    known = Reach("micro", "probe", 8, (cell("a", 1, 9),))
    reaches = [Reach(f"nano of arm {i}", "no base is pretrained yet", 8, ()) for i in range(unknown)]
    text = printed(lambda console: console.print(*reach_tables([*reaches, known]), sep="\n"))
    lines = [line for line in text.splitlines() if "reach of" in line]
    assert lines == [f"reach of {named}: unknown, no base is pretrained yet; a launch shows it once it is"]


def test_a_success_below_one_in_a_hundred_is_not_shown_as_none():
    reach = Reach("nano", "probe", 8, (CellReach(CellName("a", 1, ""), "x", "verified", 1, 999),))
    assert "<.01" in printed(lambda console: console.print(reach_table(reach)))
