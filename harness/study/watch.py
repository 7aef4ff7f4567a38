"""A page that follows a study while it runs: the state of its runs, and the report's own learning curves so far.

It is served to this machine alone, and only reads what runs write. / is the page; /state is the number of measured
budgets and the table of runs, which the page takes every few seconds: a new measurement makes it load itself again.
"""

import json
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from harness.analysis.data.options import default_options
from harness.analysis.data.table import check_table
from harness.analysis.data.table_checks import TableError
from harness.analysis.report.curve_series import Axis, shared_axes
from harness.analysis.report.html import Section, html_table, paragraphs
from harness.analysis.report.report_page import ROLES, render_page, role_series
from harness.analysis.report.sections import curves_section
from harness.core.errors import UserError
from harness.launch.jobs import Job
from harness.run.folder import folder_of
from harness.run.tracker import read_metrics
from harness.study.expand import ExpandedStudy
from harness.study.progress import job_name
from harness.study.status import study_states
from harness.study.tables import build_tables

HOST = "127.0.0.1"
SECONDS = 3  # between two looks of the page
CLOSED = "default-src 'none';"  # the report's page connects to nothing
SCRIPT = """<script>
"use strict";
let measured = null;
async function follow() {
  const state = await (await fetch("/state")).json();
  if (measured !== null && state.measured !== measured) { location.reload(); return; }
  measured = state.measured;
  document.querySelector("#runs > .followed").innerHTML = state.runs;
}
addEventListener("load", () => { follow(); setInterval(() => follow().catch(() => {}), %d); });
</script>"""


class Watcher:
    """What the page shows of a study, as often as it is asked."""

    def __init__(self, study: ExpandedStudy):
        self.study = study
        self._page: tuple[int, str] = (-1, "")

    def measured(self) -> int:
        """Scores that the study's runs have, each a run at a budget."""
        folders = [folder_of(job).path for job in self.study.jobs]
        return sum(1 for folder in folders for _ in folder.glob("evaluations/*/step-*.json"))

    def state(self) -> str:
        return json.dumps({"measured": self.measured(), "runs": runs_table(self.study)})

    def page(self) -> str:
        """The page as HTML; drawn again when there is a new measurement."""
        measured = self.measured()
        if self._page[0] != measured:
            self._page = (measured, self._drawn())
        return self._page[1]

    def _drawn(self) -> str:
        study = self.study.config
        runs = Section("runs", "Runs", f'<div class="followed">{runs_table(self.study)}</div>')
        curves, axes = learning_curves(self.study)
        lead = paragraphs([study.question]) + SCRIPT % (SECONDS * 1000)
        page = render_page(f"{study.name}, as it runs", lead, [runs, curves], axes, files=False)
        return page.replace(CLOSED, f"{CLOSED} connect-src 'self';", 1)


def learning_curves(study: ExpandedStudy) -> tuple[Section, list[Axis]]:
    """The report's section of curves from what has been measured so far."""
    rows, _ = build_tables(study)
    if rows.is_empty():
        return Section("curves", "Learning curves", "<p>Nothing is measured yet.</p>"), []
    try:
        table = check_table(rows)
    except TableError as error:  # such as an arm that has no budget in common with others yet
        return Section("curves", "Learning curves", paragraphs([str(error)])), []
    wanted = default_options(**study.config.analysis).real_arm
    real = wanted if wanted in table.arms else table.arms[0]
    drawn = {role: role_series(table, real, role) for role in ROLES}
    axes = shared_axes([one for series in drawn.values() for one in series])
    return curves_section(drawn, axes), axes


def runs_table(study: ExpandedStudy) -> str:
    """A line for each run: its state, step, last training accuracy and, if it failed, why."""
    caption, states = study_states(study)
    rows = [
        [job_name(job), state, f"{step}/{job.until}", _accuracy(job), error.strip()]
        for job, state, step, error in states
    ]
    return html_table(caption, ["run", "state", "step", "training accuracy", "error"], rows, text_columns=2)


def _accuracy(job: Job) -> str:
    logged = [row["train/accuracy"] for row in read_metrics(folder_of(job).path)[-3:] if
              row.get("train/accuracy") is not None]  # fmt: skip
    return f"{logged[-1]:.3f}" if logged else ""


def server(watcher: Watcher, port: int) -> ThreadingHTTPServer:
    """Serves to this machine on a port, 0 for any that is free. Raises UserError if it is taken."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            host = (self.headers.get("Host") or "").rsplit(":", 1)[0]
            if host not in (HOST, "localhost"):  # a foreign page whose name was made to point here
                self.send_error(HTTPStatus.FORBIDDEN)
            elif self.path == "/state":
                self._send(watcher.state(), "application/json")
            elif self.path == "/":
                self._send(watcher.page(), "text/html")
            else:
                self.send_error(HTTPStatus.NOT_FOUND)

        def _send(self, text: str, kind: str) -> None:
            data = text.encode()
            self.send_response(HTTPStatus.OK)
            self.send_header("Content-Type", f"{kind}; charset=utf-8")
            self.send_header("Content-Length", str(len(data)))
            self.send_header("Cache-Control", "no-store")
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: object) -> None:
            """Requests are not printed."""

    try:
        return ThreadingHTTPServer((HOST, port), Handler)
    except OSError as error:
        raise UserError(
            f"port={port}", f"it cannot be opened ({error.strerror})", "set port=0 for a free one"
        ) from None


def watch(study: ExpandedStudy, port: int) -> None:
    """Serves the page until it is stopped."""
    with server(Watcher(study), port) as serving:
        print(f"{study.config.name}: http://{HOST}:{serving.server_address[1]} (Ctrl-C ends it)", flush=True)
        serving.serve_forever()
