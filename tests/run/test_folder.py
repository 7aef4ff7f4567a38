"""Run folders: a status however the run ends."""

import pytest

from harness.core.signals import Stopped
from harness.run.folder import record_outcome, run_folder


@pytest.fixture
def folder(tmp_path):
    folder = run_folder(tmp_path, "run-1")
    folder.path.mkdir(parents=True)
    return folder


def test_a_failed_run_leaves_its_traceback_and_a_later_success_removes_it(folder):
    folder.set_status("running", 7)
    with pytest.raises(ZeroDivisionError), record_outcome(folder):
        raise ZeroDivisionError("planted")
    status = folder.status()
    assert (status["state"], status["step"], status["error"]) == ("failed", 7, "ZeroDivisionError: planted")
    assert "ZeroDivisionError: planted" in (folder.path / "traceback.txt").read_text()
    with record_outcome(folder):
        pass
    assert not (folder.path / "traceback.txt").exists()


def test_a_stopped_run_is_not_a_failed_one(folder):
    with pytest.raises(Stopped), record_outcome(folder):
        raise Stopped(15)
    assert folder.status()["state"] == "stopped"
    assert not (folder.path / "traceback.txt").exists()


def test_a_run_that_succeeds_while_an_error_is_handled_is_not_marked_failed(folder):
    try:
        raise ZeroDivisionError
    except ZeroDivisionError:
        with record_outcome(folder):
            folder.set_status("done", 3)
    assert folder.status()["state"] == "done"
