"""A run resumes, extends and is scored exactly: what was interrupted cannot be told from what was not."""

import json
import multiprocessing
import random
import shutil
import signal
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from harness.config.identity import base_id, evaluation_id, run_id
from harness.config.parse import dump
from harness.core.errors import UserError
from harness.core.files import read_json
from harness.core.seeding import Key
from harness.core.signals import Stopped
from harness.evaluate import cell_row, evaluate
from harness.policy.backends import native
from harness.run import job as run_module
from harness.run.checkpoint import saved_steps, step_folder
from harness.run.evaluations import evaluation_suite
from harness.run.folder import run_folder
from harness.run.job import from_bases, run_job
from harness.run.remaining import remaining_work
from harness.run.tracker import read_metrics
from tests.toys import base_job, rl_job, silent, tiny, train


def rows(folder):
    """metrics.jsonl without times."""
    timed = ("time/", "perf/", "compute/seconds")
    return [{k: v for k, v in row.items() if not k.startswith(timed)} for row in read_metrics(folder)]


def weights(folder, kind="budgets"):
    """Tensors of every checkpoint or budget, by step."""
    steps = saved_steps(folder / kind)
    return {step: load_file(step_folder(folder / kind, step) / "policy.safetensors") for step in steps}


def scores(folder):
    """Evaluations by name, without times."""
    found = {}
    for path in sorted((folder / "evaluations").rglob("*.json")):
        content = read_json(path)
        content["spent"].pop("seconds")
        found[str(path.relative_to(folder))] = content
    return found


def assert_same_run(a: Path, b: Path, kinds=("budgets",)):
    assert rows(a) == rows(b)
    assert scores(a) == scores(b)
    for kind in kinds:
        assert_same_weights(a, b, kind)


def assert_same_weights(a: Path, b: Path, kind="budgets"):
    left, right = weights(a, kind), weights(b, kind)
    assert left.keys() == right.keys()
    for step in left:
        assert all(torch.equal(left[step][name], right[step][name]) for name in left[step]), step


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """An unbroken run of six steps."""
    return train(tiny("rl.steps=6", out=tmp_path_factory.mktemp("whole")))


def test_a_run_on_several_cores_is_the_run_on_one(whole, tmp_path, monkeypatch):
    asked, real = [], native.num_threads
    monkeypatch.setattr(native, "num_threads", lambda threads: (asked.append(threads), real(threads))[1])
    config = tiny("rl.steps=6", out=tmp_path)
    run_job(replace(base_job(config), threads=3), silent)
    done = run_job(replace(rl_job(config), threads=3), silent)
    assert asked == [3 * torch.get_num_threads()] * 2
    assert_same_run(whole, Path(done["folder"]))


def test_a_run_leaves_what_the_design_promises(whole):
    present = {path.name for path in whole.iterdir()}
    assert {"config.json", "metrics.jsonl", "checkpoints", "budgets", "evaluations", "samples"} <= present
    assert not {"run.lock", "traceback.txt"} & present
    assert read_json(whole / "status.json")["state"] == "done"
    assert saved_steps(whole / "budgets") == [0, 1, 2, 4, 6]
    steps = [row["compute/step"] for row in rows(whole) if "train/loss" in row]
    assert steps == [1, 2, 3, 4, 5, 6]
    assert [row["compute/step"] for row in rows(whole) if "eval/toy.worded/mean@1" in row] == [0, 1, 2, 4, 6]
    sample = json.loads((whole / "samples" / "step-00000006.jsonl").read_text().splitlines()[0])
    assert len(sample["completions"]) == 4


def test_every_row_has_every_axis(whole):
    axes = {f"compute/{name}" for name in ("step", "completions", "tokens", "flops", "flops_convention", "seconds")}
    assert all(axes <= set(row) for row in read_metrics(whole))


def test_the_same_run_elsewhere_is_the_same_to_the_bit(whole, tmp_path):
    assert_same_run(train(tiny("rl.steps=6", out=tmp_path)), whole, ("budgets", "checkpoints"))


def test_another_seed_draws_other_problems_and_completions(whole, tmp_path):
    other = train(tiny("rl.steps=6", "seed=1", out=tmp_path))
    assert rows(other) != rows(whole)


def test_extending_a_run_equals_one_long_run(whole, tmp_path):
    short = train(tiny("rl.steps=2", out=tmp_path))
    extended = train(tiny("rl.steps=6", out=tmp_path))
    assert extended == short
    assert_same_run(extended, whole)


def stop_after(step):
    """Says that a signal came, from that step on."""
    from contextlib import contextmanager

    seen = []

    @contextmanager
    def defer_signals():
        yield lambda: seen.append(1) or (Stopped(signal.SIGTERM) if len(seen) >= step else None)

    return defer_signals


@pytest.mark.parametrize("step", [1, 3, 5])
def test_a_stopped_run_saves_says_so_and_goes_on_exactly(step, whole, tmp_path, monkeypatch):
    config = tiny("rl.steps=6", out=tmp_path)
    run_job(base_job(config), silent)
    monkeypatch.setattr(run_module, "defer_signals", stop_after(step))
    with pytest.raises(Stopped):
        run_job(rl_job(config), silent)
    monkeypatch.undo()
    folder = run_folder(tmp_path, run_id(config))
    assert (folder.status()["state"], saved_steps(folder.checkpoints)) == ("stopped", [step])
    assert_same_run(train(config), whole)


def test_metrics_after_the_checkpoint_are_cut_back(whole, tmp_path):
    """As a kill leaves them: the newest checkpoint is older than the last row."""
    config = tiny("rl.steps=6", out=tmp_path)
    folder = train(tiny("rl.steps=2", out=tmp_path))
    last = (folder / "metrics.jsonl").read_text().splitlines()[-1]
    with (folder / "metrics.jsonl").open("a") as file:
        file.write(last.replace('"compute/step": 2', '"compute/step": 3') + "\n" + last[:40])
    assert_same_run(train(config), whole)


def test_a_base_is_resumed_exactly(whole, tmp_path, monkeypatch):
    config = tiny("rl.steps=6", out=tmp_path)
    monkeypatch.setattr(run_module, "defer_signals", stop_after(2))
    with pytest.raises(Stopped):
        run_job(base_job(config), silent)
    monkeypatch.undo()
    run_job(base_job(config), silent)
    a, b = tmp_path / "runs" / base_id(config), whole.parent / base_id(config)
    assert_same_run(a, b)


def test_budgets_that_were_passed_without_being_kept_are_trained_for_again(whole, tmp_path):
    """Beside the run, from the newest checkpoint before them or from the start: its metrics stay as they are."""
    folder = train(tiny("rl.steps=6", "budgets=[0,6]", out=tmp_path))
    before = (folder / "metrics.jsonl").read_text()
    assert train(tiny("rl.steps=6", out=tmp_path)) == folder
    assert_same_weights(folder, whole)
    assert scores(folder) == scores(whole)
    assert (folder / "metrics.jsonl").read_text() == before
    assert saved_steps(folder / "checkpoints") == [6]
    assert not (folder / "replay").exists()


def test_a_replay_that_is_stopped_leaves_no_hole_and_goes_on_where_it_stood(tmp_path, whole, monkeypatch):
    train(tiny("rl.steps=6", "budgets=[0,6]", out=tmp_path))
    config = tiny("rl.steps=6", "budgets=[0,1,5,6]", out=tmp_path)
    monkeypatch.setattr(run_module, "defer_signals", stop_after(3))
    with pytest.raises(Stopped):
        run_job(rl_job(config), silent)
    monkeypatch.undo()
    folder = run_folder(tmp_path, run_id(config))
    assert saved_steps(folder.replay) == [3]
    work = remaining_work(rl_job(config))
    assert (work.start, work.evaluate, work.missing_weights, work.retrain_from) == (6, (5,), (5,), 3)
    assert train(config) == folder.path
    train_rows = [[row for row in rows(path) if "train/loss" in row] for path in (folder.path, whole)]
    assert train_rows[0] == train_rows[1]
    assert remaining_work(rl_job(config)).is_empty


# ---- evaluation


def test_evaluation_in_training_equals_evaluation_of_the_saved_weights(whole, tmp_path):
    """The evaluations are deleted and made again, from the weights of each budget alone."""
    copy = tmp_path / "runs" / whole.name
    shutil.copytree(whole.parent, copy.parent)
    shutil.rmtree(copy / "evaluations")
    train(tiny("rl.steps=6", out=tmp_path))
    assert scores(copy) == scores(whole)


def test_a_new_evaluation_of_a_done_run_trains_nothing(whole, tmp_path, monkeypatch):
    shutil.copytree(whole.parent, tmp_path / "runs")
    config = tiny("rl.steps=6", "evaluation.samples=8", out=tmp_path)
    monkeypatch.setattr(run_module, "rl_step", None)  # not to be called
    run_job(rl_job(config), silent)
    found = list((tmp_path / "runs" / whole.name / "evaluations" / evaluation_id(config)).iterdir())
    assert len(found) == 5


def test_the_size_of_evaluation_chunks_changes_nothing(whole):
    config = tiny("rl.steps=6", out=whole.parent.parent)
    state = from_bases([rl_job(config)])
    table = []
    for size in (1, 8, 20, 10_000):
        settings = replace(config.evaluation, batch_size=size)
        suite, streams = evaluation_suite(config), (Key("evaluation", 0, 3),)
        (scored,) = evaluate(state.backend, state.policy, suite, settings, streams)
        rows_of = [{**cell_row(s, (2, 4)), "answer_logprob": round(s.answer_logprob, 4)} for s in scored]
        table.append((rows_of, [s.answers for s in scored]))
    assert all(found == table[0] for found in table)


def test_evaluation_draws_afresh_at_each_budget_and_seed_and_alike_in_each_arm(tmp_path):
    """A frozen policy shows the noise of its measurement; arms meet the same numbers."""
    frozen = tiny("objective=frozen", "rl.steps=4", out=tmp_path)
    run_job(base_job(frozen), silent)
    job = replace(rl_job(frozen), run=dump(frozen))
    folder = Path(run_job(job, silent)["folder"])
    samples = [(folder / "samples" / f"step-{step:08d}.jsonl").read_text() for step in (0, 1, 2, 4)]
    assert len(set(samples)) == 4
    trained = train(tiny("rl.steps=4", out=tmp_path))
    assert (trained / "samples" / "step-00000000.jsonl").read_text() == samples[0]


def test_a_frozen_run_can_be_run_again_and_extended(tmp_path):
    config = tiny("objective=frozen", "rl.steps=2", out=tmp_path)
    run_job(base_job(config), silent)
    for _ in range(2):
        folder = Path(run_job(rl_job(config), silent)["folder"])
        assert [row["compute/step"] for row in rows(folder)] == [0, 1, 2]
    folder = Path(run_job(rl_job(tiny("objective=frozen", "rl.steps=4", out=tmp_path)), silent)["folder"])
    assert [row["compute/step"] for row in rows(folder)] == [0, 1, 2, 4]


# ---- what can go wrong


def test_a_damaged_checkpoint_stops_the_run_with_advice_and_loses_nothing(whole, tmp_path):
    shutil.copytree(whole.parent, tmp_path / "runs")
    folder = tmp_path / "runs" / whole.name
    broken = step_folder(folder / "checkpoints", 6)
    (broken / "training.pt").write_bytes(b"nonsense")
    before = rows(folder), weights(folder)[6]["head"]
    config = tiny("rl.steps=8", out=tmp_path)
    with pytest.raises(UserError, match="rm -r"):
        run_job(rl_job(config), silent)
    assert rows(folder) == before[0]
    assert torch.equal(weights(folder)[6]["head"], before[1])
    assert read_json(folder / "status.json")["state"] == "failed"
    shutil.rmtree(broken)
    run_job(rl_job(config), silent)
    again, before = ([row for row in rows(path) if row["compute/step"] <= 5] for path in (folder, whole))
    assert again == before


def test_rl_without_its_base_says_what_is_missing(tmp_path):
    with pytest.raises(UserError, match="base-"):
        run_job(rl_job(tiny(out=tmp_path)), silent)


# ---- killed, in a process of its own


def killed_run(config, moments, method):
    """Kills the run each time so many more bytes stand in its metrics; then lets it end. Its folder."""
    processes = multiprocessing.get_context(method)
    folder = run_folder(config.out, run_id(config)).path
    path = folder / "metrics.jsonl"

    def length():
        return path.stat().st_size if path.is_file() else 0

    for more in moments:
        target, process = length() + more, processes.Process(target=train, args=(config,))
        process.start()
        while process.is_alive() and length() < target:
            time.sleep(0.0005)
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL, "the run ended before it was killed"
    last = processes.Process(target=train, args=(config,))
    last.start()
    last.join()
    assert last.exitcode == 0
    return folder


def test_a_killed_run_resumes_to_the_same_bits(tmp_path_factory):
    settings = ("rl.steps=12", "save.seconds=0.02", "budgets=[0,4,12]")
    folder = killed_run(tiny(*settings, out=tmp_path_factory.mktemp("killed")), [3000], "fork")
    assert_same_run(folder, train(tiny(*settings, out=tmp_path_factory.mktemp("whole"))))


@pytest.mark.slow
def test_a_run_killed_at_five_random_moments_resumes_to_the_same_bits(tmp_path_factory):
    """Checkpoints lie some steps apart, so that kills fall between them, into saving and into evaluation."""
    moments = [random.randrange(1, 9000) for _ in range(5)]
    print("killed after so many more bytes of metrics:", moments)
    settings = ("rl.steps=200", "save.seconds=0.05", "optim.weight_decay=0.1")
    folder = killed_run(tiny(*settings, out=tmp_path_factory.mktemp("killed")), moments, "spawn")
    whole = train(tiny(*settings, out=tmp_path_factory.mktemp("whole")))
    assert_same_run(folder, whole)
    assert torch.equal(weights(folder, "checkpoints")[200]["head"], weights(whole, "checkpoints")[200]["head"])
