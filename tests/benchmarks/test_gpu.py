"""What fits ten minutes of a GPU, rehearsed on a CPU: no part costs another more than its time, nothing is made up."""

import importlib.util
import json
import statistics
import sys
import time

import pytest
import torch

from benchmarks import gpu, gpu_equality, gpu_parts, peer
from harness.core.errors import UserError

TOY = gpu_parts.SIZES["cpu"]
WRITES = "import json, sys, pathlib; pathlib.Path(sys.argv[1]).write_text(json.dumps({'agree': 1}))"


def command(code):
    return [sys.executable, "-c", code]


def last(part):
    *_, record = gpu_parts.PARTS[part](TOY)
    return json.loads(json.dumps(record))


def test_every_backend_is_compared_and_a_recording_was_replayed(monkeypatch):
    record = last("equality")
    assert record["agree"]
    backends = {row["backend"] for row in record["rows"]}
    assert {"eager on cpu", "cuda_graphs on cpu"} <= backends
    assert len(record["rows"]) == 4 * len(backends)


def test_a_backend_that_differs_or_falls_back_does_not_agree(monkeypatch):
    sample = gpu_equality.CudaGraphsBackend.sample

    def shifted(self, policy, request):
        drawn = sample(self, policy, request)
        drawn.ids[:, :, 0] += 1
        return drawn

    monkeypatch.setattr(gpu_equality.CudaGraphsBackend, "sample", shifted)
    wrong = [row for row in last("equality")["rows"] if not row["agrees"]]
    assert {row["backend"] for row in wrong} == {"cuda_graphs on cpu"}

    def refuses(function, inputs):
        raise RuntimeError("not permitted when stream is capturing")

    rows = list(gpu_equality.compare(TOY.equality, "cpu", refuses))
    assert [row["agrees"] for row in rows if row["backend"] == "cuda_graphs on cpu"] == [False] * 4
    assert any("stream is capturing" in row.get("note", "") for row in rows)


def test_the_parts_measure_what_the_goals_are_about(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)  # ours alone
    step = last("step")
    assert "TRL, which is not installed" in step["no_peer"]
    assert "times_trl" not in step
    assert {len(seconds) for seconds in step["seconds"].values()} == {TOY.rounds}
    assert last("stacked")["times_one"] > 0
    update = last("update")
    middle = statistics.median(update["seconds"]["update"])
    assert update["share_of_peak"] == pytest.approx(update["flops"] / middle / update["peak"])
    runs = last("runs")
    assert runs["steps"] == TOY.run_steps
    assert runs["runs_in_ten_minutes"] == pytest.approx(0.6 * runs["stack"] * runs["steps"] / runs["seconds"])


def test_where_the_peer_fails_our_own_step_is_measured_and_the_failure_kept(monkeypatch):
    def fails(*_):
        raise RuntimeError("TRL's process ended:\nCUDA out of memory")

    monkeypatch.setattr(peer, "require_trl", lambda: None)
    monkeypatch.setattr(peer, "Peer", fails)
    record = last("step")
    assert "CUDA out of memory" in record["no_peer"]
    assert set(record["seconds"]) == {"ours, bf16", "ours, fp32"}


def test_the_large_update_is_of_a_hundred_million_weights():
    from benchmarks.ours import config_of
    from harness.policy.transformer import parameter_count

    sizes = gpu_parts.SIZES["cuda"]
    assert 0.9e8 < parameter_count(config_of(sizes.update).model) < 1.1e8
    assert 0.9e6 < parameter_count(config_of(sizes.step).model) < 1.1e6
    assert sum(gpu.SHARES.values()) + gpu.GRACE < 1


@pytest.mark.parametrize(
    ("code", "record"),
    [
        (WRITES, {"agree": 1}),
        (WRITES + "; raise SystemExit('no memory')", {"agree": 1, "failed": "exit code 1: no memory"}),
        (WRITES + "; import time; time.sleep(60)", {"agree": 1, "stopped": "its time was over and no new record came"}),
    ],
    ids=["ends", "fails", "hangs"],
)
def test_what_a_part_has_measured_is_kept_however_it_ends(code, record):
    began = time.time()
    assert gpu.run_part(command(code), began + 1, 0.5) == record
    assert time.time() - began < 30


def test_a_part_without_time_is_skipped_with_the_reason(monkeypatch):
    """The first takes all of the time."""
    records = {}
    slow = command(WRITES + "; import time; time.sleep(2)")
    monkeypatch.setattr(gpu, "GRACE", 10.0)
    gpu.run_parts(1.0, lambda part: slow if part == "equality" else command(WRITES), records.__setitem__)
    assert records["equality"] == {"agree": 1}
    assert all("s were left" in records[part]["skipped"] for part in ("step", "stacked", "update", "runs"))


def test_cards_stand_side_by_side_and_a_rehearsal_meets_no_goal():
    parts = {
        "stacked": {"times_one": 2.0},
        "update": {"share_of_peak": 0.3},
        "runs": {"skipped": "0 of its 9 s were left"},
    }
    about = {"torch": "2", "cuda": "12", "minutes": 10.0, "parts": parts}
    text = gpu.page({"NVIDIA H100": about, gpu.REHEARSAL: about})
    card, rehearsal = text.split("## a rehearsal")
    assert "at most 3 | 2 | met |" in card
    assert "at least 0.4 | 0.3 | missed |" in card
    assert "skipped: 0 of its 9 s were left" in card
    assert "says anything about a GPU" in rehearsal
    assert " met |" not in rehearsal


def test_without_a_gpu_the_command_says_how_it_is_rehearsed(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match=r"(?s)no CUDA device.*device=cpu"):
        gpu.measure()
    with pytest.raises(UserError, match="minutes=ten"):
        gpu.measure(minutes="ten", device="cpu")


@pytest.mark.slow
def test_the_command_is_rehearsed_from_end_to_end(tmp_path, capsys):
    text = gpu.measure(minutes="8", device="cpu", out=str(tmp_path))
    (card,) = json.loads((tmp_path / "bench_gpu.json").read_text()).values()
    assert list(card["parts"]) == list(gpu.SHARES)
    assert all(gpu.GOALS[part][1] in record for part, record in card["parts"].items() if "no_peer" not in record)
    assert not any(why in record for record in card["parts"].values() for why in ("failed", "skipped", "stopped"))
    assert (tmp_path / "bench_gpu.md").read_text() == text
    assert len(capsys.readouterr().out.splitlines()) == len(gpu.SHARES)
