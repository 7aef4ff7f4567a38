"""Reports built and opened for tests."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from harness.analysis.data.json_files import strict
from harness.analysis.data.options import default_options
from harness.analysis.data.table import Table
from harness.analysis.report.report_page import write_report
from harness.analysis.stats.allocation import allocation
from harness.analysis.transfer.transfer_report import transfer_report
from harness.analysis.verdict.verdicts import verdicts

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
NO_CHROMIUM = pytest.mark.skipif(CHROMIUM is None, reason="no chromium binary: apt-get install chromium")
SWITCHES = (
    "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run", "--disable-component-update",
    "--disable-sync", "--disable-quic",
)  # fmt: skip


def in_browser(test):
    """Marks a test that needs Chromium, and its time."""
    return pytest.mark.slow(NO_CHROMIUM(test))


def report_of(table: Table, out: Path, **context) -> Path:
    """The page of a table, by the same steps as `analyze`."""
    options = default_options(bootstraps=50)
    transfer = strict(transfer_report(table, options))
    context["allocation"] = strict(allocation(table, options))
    return write_report(table, strict(verdicts(table, options)), transfer, out, context)


def chart_rows(chart) -> list[dict]:
    """The rows of all of a chart's data sets, in turn."""
    return [row for rows in chart.to_dict()["datasets"].values() for row in rows]


def layers(chart, mark: str) -> list[dict]:
    """The layers of a chart that draw this mark."""
    return [layer for layer in chart.to_dict()["layer"] if layer["mark"]["type"] == mark]


# Texts and marks of a page's drawings that stand over their edge, with the figure's name.
CUT = """() => [...document.querySelectorAll(".plot")].flatMap((plot) => {
  const drawing = plot.querySelector("svg")?.getBoundingClientRect();
  if (!drawing?.width) return [];
  return [...plot.querySelectorAll("svg text, svg .mark-symbol path")].filter((one) => {
    const box = one.getBoundingClientRect();
    return box.width && !one.closest("[clip-path]") && (box.left < drawing.left - 2 || box.right > drawing.right + 2);
  }).map((one) => `${plot.dataset.figure}: ${one.textContent}`);
})"""


@contextmanager
def opened(path: Path, profile: Path, width: int = 1280, scheme: str = "light") -> Iterator[tuple]:
    """The page drawn in headless Chromium, and its console messages and requests: (page, complaints)."""
    from playwright.sync_api import sync_playwright

    complaints: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch_persistent_context(
            str(profile), executable_path=CHROMIUM, args=list(SWITCHES), headless=True, offline=True
        )
        page = browser.new_page()
        page.set_viewport_size({"width": width, "height": 900})
        page.emulate_media(color_scheme=scheme)
        page.on("console", lambda message: complaints.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: complaints.append(f"error: {error}"))
        page.on("request", lambda request: complaints.append(f"request: {request.url}"))
        page.goto(path.as_uri())
        page.wait_for_selector("body[data-drawn]", timeout=60_000)
        complaints.remove(f"request: {path.as_uri()}")
        yield page, complaints
        browser.close()
