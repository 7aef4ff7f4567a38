"""Work for the launch tests: what a job does is in its `run`. And launches of it, here or by a process of their own."""

import contextlib
import json
import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

from harness.core.errors import UserError
from harness.core.signals import Stopped, defer_signals, raise_on_signals
from harness.launch.jobs import Job
from harness.launch.launch import launch


def job(run_id, do="return", needs=(), until=7, **run):
    return Job(run_id, {"do": do, **run}, until, needs=tuple(needs))


def results(jobs, settings, *on_progress):
    return {result.job.run_id: result for result in launch(jobs, settings, act, *on_progress)}


def statuses(ended):
    return {run_id: result.status for run_id, result in ended.items()}


@contextlib.contextmanager
def launching(jobs, settings):
    """A launch in a process of its own, which prints each row of progress as JSON, each result, and how it ended."""
    code, content = "from tests.launch.works import main; main()", pickle.dumps((jobs, settings)).hex()
    process = subprocess.Popen([sys.executable, "-c", code, content], stdout=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def main():
    raise_on_signals()
    jobs, settings = pickle.loads(bytes.fromhex(sys.argv[1]))
    try:
        for result in launch(jobs, settings, act, lambda job, row: print(json.dumps(row), flush=True)):
            print(result.job.run_id, result.status, result.error, flush=True)
    except UserError as error:
        print(error)
    except Stopped as stopped:
        print("status", stopped.status, flush=True)


def act(job, report):
    """Calls the function below that `run["do"]` names; leaves a mark of each start in the folder `run["dir"]` if there
    is one."""
    if folder := job.run.get("dir"):
        (Path(folder) / f"{job.run_id}.{time.time_ns()}").touch()
    return globals()[f"_{job.run.get('do', 'return')}"](job, report)


def _return(job, report):
    report({"step": job.until})
    return {"pid": os.getpid(), "until": job.until}


def _share(job, report):
    time.sleep(job.run["seconds"])
    return job.threads


def _sleep(job, report):
    time.sleep(job.run["seconds"])
    return job.run["seconds"]


def _sleep_at_first(job, report):
    """Sleeps for ten minutes when it is started for the first time in `run["dir"]`."""
    if len(list(Path(job.run["dir"]).glob(f"{job.run_id}.*[0-9]"))) == 1:
        report({"ready": os.getpid()})
        time.sleep(600)
    return "ran again"


def _overlap(job, report):
    """Whether another start of this job still ran."""
    running = Path(job.run["dir"]) / "running"
    beside = running.exists()
    running.touch()
    time.sleep(job.run["seconds"])
    running.unlink(missing_ok=True)
    return {"until": job.until, "beside": beside}


def _raise(job, report):
    print("about to fail")
    raise ValueError(f"planted in {job.run_id}")


def _user_error(job, report):
    raise UserError("group_size 1", "rloo compares completions", "use 2 or more")


def _die(job, report):
    print("last words", flush=True)
    os.kill(os.getpid(), signal.SIGKILL)


def _die_once(job, report):
    flag = Path(job.run["flag"])
    if not flag.exists():
        flag.touch()
        _die(job, report)
    return "survived"


def _threads(job, report):
    import torch

    return torch.get_num_threads()


def _save_when_stopped(job, report):
    with defer_signals() as stop:
        report({"ready": os.getpid()})
        while not (stopped := stop()):
            time.sleep(0.01)
        Path(job.run["saved"]).write_text("whole step")
        raise stopped


def _save_and_resume(job, report):
    saved = Path(job.run["saved"])
    return f"resumed from {saved.read_text()}" if saved.exists() else _save_when_stopped(job, report)


def _deaf(job, report):
    """Ignores every request to stop, and has a child."""
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    with defer_signals():
        report({"ready": os.getpid(), "child": child.pid})
        time.sleep(600)


def _unwritable(job, report):
    return object()


def _say_node(job, report):
    import ray

    node = ray.get_runtime_context().get_node_id()
    report({"node": node})
    time.sleep(2)
    return node


def _report_and_sleep(job, report):
    report({"pid": os.getpid()})
    time.sleep(0.1)
    return job.until
