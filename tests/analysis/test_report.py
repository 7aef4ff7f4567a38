"""The report: one file that opens offline, the answer first, and a page for every table that can be loaded."""

import io
import re
from dataclasses import replace
from html import escape

import numpy as np
import polars as pl
import pytest
from rich.console import Console

from harness.analysis.data.options import default_options
from harness.analysis.data.table import Table, check_table
from harness.analysis.report.html import html_table
from harness.analysis.report.report_page import ROLES, main_pools, role_series
from harness.analysis.report.sections import registered_section, verdicts_section
from harness.analysis.report.terminal import terminal_summary
from harness.analysis.report.verdict_cards import answer_cards, answer_word, verdict_card
from harness.analysis.stats.formatting import format_number, format_p, format_power
from harness.analysis.transfer.transfer_report import transfer_report
from harness.analysis.verdict.sentences import sentences
from harness.analysis.verdict.verdicts import verdicts
from tests.analysis.pages import CUT, in_browser, opened, report_of
from tests.analysis.study_tables import starred, study_frame

SECTIONS = [
    "answer", "curves", "laws", "transfer", "difficulties", "learning", "allocation", "verdicts", "runs", "methods",
    "provenance",
]  # fmt: skip
LABELS = "places => places.map(place => place.getAttribute('aria-label'))"
PLOTS = 20
OPTIONS = default_options(bootstraps=50)


def one_family() -> Table:
    """A study of one verified and one unverified task, which takes a third of the time."""
    return check_table(study_frame().filter(pl.col("family") == "addition"))


def two_sizes(**larger: pl.Expr) -> pl.DataFrame:
    """The same study with policies of two sizes, those of the larger with these changes."""
    frame = one_family().frame.with_columns(model_params=pl.lit(115_008))
    apart = {"model_params": pl.lit(1_243_168), "run_id": pl.col("run_id") + "b"}
    return pl.concat([frame, frame.with_columns(**apart, **larger)])


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    context = {
        "title": "A <study>",
        "question": "Does it grow?",
        "commands": ["python scripts/study.py a='<b>'"],
        "versions": {"numpy": "2.4"},
        "runs": {"true_reward-0": "../runs/true_reward-0"},
    }
    return report_of(one_family(), tmp_path_factory.mktemp("report"), **context)


def test_the_sections_stand_in_order_with_the_answer_first(page):
    assert re.findall(r'<section id="(\w+)"', page.read_text()) == SECTIONS


def test_what_was_fixed_beforehand_stands_apart_from_what_was_decided_later():
    fixed = dict.fromkeys(("primary", "margins", "exclusions", "sizes"), "8 seeds")
    section = registered_section({"hypotheses": ["it <grows>"], **fixed, "decided_later": ["one more arm"]}).render()
    before, after = section.split("Decided later")
    assert "it &lt;grows&gt;" in before
    assert before.count("8 seeds") == 4
    assert "one more arm" in after


def test_nothing_is_fetched_and_the_page_is_light(page):
    text = page.read_text()
    assert "default-src 'none'" in text
    markup = re.sub(r"<script>.*?</script>", "", text, flags=re.DOTALL)
    assert not re.search(r'(src|href)="(https?:)?//', markup)
    assert len(text.encode()) < 1.5e6


def test_text_of_the_user_is_escaped(page):
    text = page.read_text()
    assert "A &lt;study&gt;" in text
    assert "a=&#x27;&lt;b&gt;&#x27;" in text
    assert '<a href="../runs/true_reward-0">true_reward-0</a>' in text
    assert "<td>&lt;i&gt;</td>" in html_table("a table", ["name"], [["<i>"]])


def test_figures_for_papers_lie_beside_the_page_as_png_and_pdf(page):
    names = {path.name for path in (page.parent / "figures").iterdir()}
    by_role = ("laws", "learning_times", "gain_by_base_success")
    alone = ("accuracy", "law_parameters", "predicted", "transfer", "difficulties")
    stems = {*alone, *(f"{kind}_{role}" for kind in by_role for role in ROLES)}
    assert names == {f"{stem}.{kind}" for stem in stems for kind in ("png", "pdf")}
    text = page.read_text()
    assert all(f'<figure id="{stem}">' in text and f'href="figures/{stem}.pdf"' in text for stem in stems)


def test_the_cards_answer_whether_the_curve_is_log_linear():
    record = {"role": "verified", "withheld": False, "is_log_linear": "no", "verdict": "sigmoidal"}
    assert answer_word(record) == "No: sigmoidal"
    assert answer_word(record | {"verdict": "not_log_linear"}) == "No"
    assert answer_word(record | {"is_log_linear": "yes", "verdict": "log_linear"}) == "Yes"
    assert answer_word(record | {"is_log_linear": "undecided", "verdict": "indistinguishable"}) == "Undecided"
    assert answer_word(record | {"withheld": True}) == "Withheld"


@pytest.mark.slow
def test_the_same_table_gives_the_same_page(page, tmp_path):
    again = report_of(one_family(), tmp_path)
    body = re.compile(r'<section id="curves".*?</section>', re.DOTALL)
    assert body.search(again.read_text()).group() == body.search(page.read_text()).group()


def whole_page(frame: pl.DataFrame, out) -> None:
    text = report_of(check_table(frame), out).read_text()
    shown = re.findall(r'<section id="(\w+)"', text)
    assert [name for name in shown if name != "learning"] == [name for name in SECTIONS if name != "learning"]
    assert "NaN" not in re.sub(r"<script.*?</script>", "", text, flags=re.DOTALL)


def test_one_seed_and_one_budget_get_a_whole_page(tmp_path):
    whole_page(starred(study_frame(seeds=1, budgets=(0, 4))), tmp_path)


ODD = {
    "starred columns": starred(study_frame(seeds=2)),
    "no budget 0": study_frame().filter(pl.col("x") > 0),
    "no controls": study_frame().filter(pl.col("arm") == "true_reward"),
    "only a control": study_frame().filter(pl.col("arm") == "frozen"),
    "verified only": study_frame().filter(pl.col("role") == "verified"),
    "all wrong": study_frame().with_columns(n_correct=0, n_correct_sq=0),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ODD)
def test_every_table_that_loads_gets_a_whole_page(kind, tmp_path):
    whole_page(ODD[kind], tmp_path)


def summary(records, data: Table, width: int) -> str:
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(terminal_summary(records, transfer_report(data, OPTIONS)))
    return console.export_text()


def test_the_terminal_summary_gives_verdict_and_transfer():
    data = one_family()
    text = summary(verdicts(data, OPTIONS), data, width=140)
    assert "Too little data" in text
    assert "Skill carried over" in text
    assert "missing: no arm direct" in text


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0, "0"), (64, "64"), (15_360, "15,000"), (1e6, "10⁶"), (1.79e10, "1.8·10¹⁰"), (9.96e12, "10¹³"), (0.5, "0.5")],
)
def test_large_numbers_are_powers_of_ten_and_small_ones_are_plain(value, shown):
    assert format_power(value) == shown


def test_sentences_carry_no_notation_of_the_tests_behind_them():
    record = next(v for v in verdicts(one_family(), OPTIONS) if v["task"] == "all")
    unlike = "this is no line, for the thirds are not alike in slope (b1 - b2/2, b1 - b3/2 below 0), but open"
    line = {"chi2": 395.0, "p": 0.0005, "deviation": 0.16, "df": 3, "rejects": True}
    record = record | {
        "verdict": "not_log_linear", "reason": unlike, "would_decide": None, "withheld": False, "is_log_linear": "no",
        "line_fit": line, "line_window": None, "x_first": 1.79e10, "x_last": 1.79e13,
    }  # fmt: skip
    text = " ".join(sentences(record))
    assert "not alike in slope, but open" in text
    assert "(1.8·10¹⁰ to 1.8·10¹³)" in text
    assert "misses the curve by up to 16% of the gain, more than noise explains" in text
    assert not re.search(r"b\d|e\+\d|chi|hill", text)
    assert "50% of the whole rise of the fitted curve" in verdict_card(record | {"share_of_gain": 0.5})


def test_a_yes_to_transfer_carries_its_reservations_on_its_card():
    found = transfer_report(one_family(), OPTIONS)
    card = answer_cards([], found)
    assert ">Yes<" in card
    assert all(escape(f"Reservation: {lack}.") in card for lack in found["missing"])
    assert "no arm direct" in card


def test_pools_of_several_sizes_show_their_parameters_and_fit_a_terminal():
    data = check_table(two_sizes())
    records = verdicts(data, OPTIONS)
    text, page = summary(records, data, width=80), verdicts_section(records).render()
    assert "Of 1.24M parameters:" in text
    first = [line.split() for line in text.splitlines() if line.startswith("true_reward ")]
    assert sorted(words[1] for words in first) == ["1.24M", "1.24M", "115k", "115k"]
    for _, _, before, after, change, *_ in first:
        assert float(after) - float(before) == pytest.approx(float(change.replace("−", "-")), abs=2e-3)
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= 80
    assert "true_reward, 115k parameters" in page
    assert "true_reward, 1.24M parameters" in page
    others = [v | {"arm": "direct"} for v in records if v["arm"] == "true_reward"]  # a study without the real arm
    summary(others, data, width=80)
    one_size = verdicts_section(verdicts(one_family(), OPTIONS))
    assert "true_reward," not in one_size.render()


def test_the_laws_of_the_largest_size_are_drawn_over_its_own_points():
    data = check_table(two_sizes(n_correct=pl.col("n_correct") // 2).drop("n_correct_sq"))
    record = next(v for v in main_pools(verdicts(data, OPTIONS), "true_reward") if v["role"] == "verified")
    drawn = role_series(data, "true_reward", "verified")[0]
    assert record["model_params"] == 1_243_168
    assert drawn.arm == "true_reward"
    measured = dict(drawn.points.select("x", "accuracy").iter_rows())
    for x, mean in zip(record["curve"]["x"], record["curve"]["mean"]):
        assert measured[x] == pytest.approx(mean)


def test_a_frozen_policy_borrows_the_budgets_of_its_own_size():
    spends = pl.col("arm") != "frozen"
    whole = two_sizes(tokens=pl.col("tokens") * 7).with_columns(tokens=pl.when(spends).then("tokens"))  # at the same x
    found = {(one.arm, one.size): one for one in role_series(check_table(whole), "true_reward", "verified")}
    for size in (115_008, 1_243_168):
        frozen, real = found["frozen", size], found["true_reward", size]
        np.testing.assert_allclose(frozen.points["tokens"], real.on("tokens", frozen.points["x"].to_numpy()))
    ratio = found["frozen", 1_243_168].points["tokens"] / found["frozen", 115_008].points["tokens"]
    np.testing.assert_allclose(ratio, 7)


def test_numbers_are_written_without_false_precision():
    shown = [format_number(-0.0001), format_number(0.5, sign=True), format_number(None), format_p(0.0001)]
    assert shown == ["0.000", "+0.500", "–", "<0.001"]


@in_browser
@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_in_a_browser_the_page_draws_all_figures_on_each_axis_without_a_message_or_a_request(
    page, tmp_path, width, scheme
):
    with opened(page, tmp_path, width, scheme) as (view, complaints):
        assert view.locator(".plot svg").count() == view.locator(".plot").count() == PLOTS
        assert view.locator(".plot[role=img][aria-label] > [aria-hidden=true] svg").count() == PLOTS
        assert len(set(regions := view.locator("[role=region]").evaluate_all(LABELS))) == len(regions)
        assert view.locator("section h2").count() == len(SECTIONS)
        assert view.evaluate(CUT) == []
        assert view.evaluate("document.documentElement.scrollWidth") == width
        axis = view.locator("#accuracy svg").first
        assert "RL steps" not in axis.text_content()
        view.select_option("select.axes", "step")
        view.wait_for_function("document.body.dataset.drawn === 'step'")
        assert "RL steps" in axis.text_content()
        assert complaints == []


@in_browser
def test_in_a_browser_a_long_command_and_path_are_broken_and_not_scrolled(tmp_path):
    """What scrolls must be reached by keys, and a phone shows no more than its width."""
    table = replace(one_family(), source="/" + "folder" * 20)
    page = report_of(table, tmp_path / "out", commands=["python scripts/study.py " + "out=" + "y" * 200])
    with opened(page, tmp_path / "profile", 390) as (view, complaints):
        assert view.evaluate("document.documentElement.scrollWidth") == 390
        assert view.locator("pre").evaluate_all("all => all.every(one => one.scrollWidth <= one.clientWidth)")
        assert complaints == []


@in_browser
def test_a_browser_too_old_for_the_figures_is_told_where_they_lie(tmp_path):
    page = report_of(one_family(), tmp_path / "out")
    page.write_text(page.read_text().replace("<script>", "<script>delete window.DecompressionStream;", 1))
    with opened(page, tmp_path / "profile") as (view, complaints):
        assert view.locator("main > p").first.text_content().endswith("lie as PNG and PDF in the folder figures.")
        assert complaints == []


@in_browser
@pytest.mark.parametrize("width", [390, 1280])
def test_in_a_browser_names_that_look_like_markup_are_drawn_whole(tmp_path, width):
    names = {"true_reward": "true_reward", "frozen": "$a_b^2$ <!--<script>alert(1)", "shuffled_within_group": "x" * 40}
    table = check_table(one_family().frame.with_columns(pl.col("arm").replace(names)))
    page = report_of(table, tmp_path / "out")
    with opened(page, tmp_path / "profile", width) as (view, complaints):
        assert complaints == []
        figure = view.locator("#accuracy .plot svg").first
        assert "$a b^2$ <!--<script>alert(1)" in figure.text_content()
        for text in figure.locator("text").all():
            box, frame = text.bounding_box(), figure.bounding_box()
            if box is not None:
                assert frame["x"] - 1 <= box["x"]
                assert box["x"] + box["width"] <= frame["x"] + frame["width"] + 1
