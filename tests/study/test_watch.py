"""The page follows a study while it runs, with real runs, over a real socket, in a real browser."""

import json
import threading
import urllib.request
from contextlib import contextmanager
from urllib.error import HTTPError

import pytest

from harness.core.errors import UserError
from harness.study.watch import HOST, Watcher, server
from tests.analysis.pages import CHROMIUM, SWITCHES
from tests.study.test_expand_and_tables import study
from tests.toys import run_all

ARMS = {"true_reward": [], "random_reward": ["reward=random_reward"]}


@contextmanager
def served(found):
    with server(Watcher(found), port=0) as serving:
        thread = threading.Thread(target=serving.serve_forever)
        thread.start()
        try:
            yield f"http://{HOST}:{serving.server_address[1]}"
        finally:
            serving.shutdown()
            thread.join()


def get(address):
    with urllib.request.urlopen(address) as answer:
        return answer.read().decode()


def test_the_state_counts_what_is_measured_and_shows_each_run(tmp_path):
    watcher = Watcher(study(tmp_path, ARMS))
    assert len(watcher.study.jobs) == 5
    with served(watcher.study) as address:
        assert "Nothing is measured yet" in get(address)
        assert json.loads(get(f"{address}/state"))["measured"] == 0
        run_all(watcher.study.jobs[:2])  # a base and a run
        state = json.loads(get(f"{address}/state"))
        assert state["measured"] == 4
        assert "2 done, 3 to do" in state["runs"]
        assert "true_reward seed 0" in state["runs"]
        page = get(address)
        assert "Verified tasks" in page
        assert "Nothing is measured yet" not in page
        assert 'href="figures/' not in page  # no links to files that are not served


def test_it_is_reached_by_this_machine_under_its_own_name_alone(tmp_path):
    with served(study(tmp_path, ARMS)) as address:
        assert address.startswith("http://127.0.0.1:")
        elsewhere = urllib.request.Request(address, headers={"Host": "elsewhere.example"})
        for request in (elsewhere, f"{address}/etc/passwd"):
            with pytest.raises(HTTPError, match=r"403|404"):
                urllib.request.urlopen(request)
        with pytest.raises(UserError, match=r"(?s)port=\d+: it cannot be opened.*port=0"):
            server(Watcher(study(tmp_path, ARMS)), int(address.rsplit(":", 1)[1]))


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
@pytest.mark.parametrize("width", [1280, 390])
def test_in_a_browser_new_measurements_appear_by_themselves_and_nothing_else_is_asked_for(tmp_path, width):
    from playwright.sync_api import sync_playwright

    watcher, asked, complaints = Watcher(study(tmp_path / "out", ARMS)), set(), []
    run_all(watcher.study.jobs[:2])
    with served(watcher.study) as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch_persistent_context(
            str(tmp_path / "profile"), executable_path=CHROMIUM, args=list(SWITCHES), headless=True
        )
        page = browser.new_page()
        page.set_viewport_size({"width": width, "height": 900})
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        page.on("request", lambda request: asked.add(request.url))
        page.goto(address)
        page.wait_for_selector("body[data-drawn] svg", timeout=60_000)
        assert page.locator("#runs tbody tr").count() == 5
        before = page.locator("#curves svg").first.inner_html()
        run_all(watcher.study.jobs[2:])
        page.wait_for_function("document.querySelector('#runs caption').textContent == '5 done'", timeout=60_000)
        page.wait_for_selector("body[data-drawn] svg", timeout=60_000)
        page.wait_for_function(
            "before => document.querySelector('#curves svg')?.innerHTML != before", arg=before, timeout=60_000
        )
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        browser.close()
    assert complaints == []
    assert {url for url in asked if not url.startswith(("data:", "blob:"))} == {f"{address}/", f"{address}/state"}
