"""Ten minutes of one GPU: each part of gpu_parts.py for its share of the time; docs/reference/bench_gpu.json and .md.

A part runs in a process of its own, so that one that fails or hangs costs no other part more than its time.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.timing import markdown, table
from harness.core.errors import UserError
from harness.core.files import write_whole

# Of the whole time; the rest is for starts and for what runs over.
SHARES = {"equality": 0.12, "step": 0.25, "stacked": 0.1, "update": 0.13, "runs": 0.35}
LEAST = 0.3  # of its share: with less left a part is not begun
GRACE = 0.03  # of the whole time: a part without a new record for so long past its end is stopped
REHEARSAL = "a rehearsal on a CPU"
DOCS = Path("docs/reference")

# part: (what is measured, its field, the goal, whether more is better)
GOALS = {
    "equality": ("backends agree with the eager one on a CPU", "agree", 1, True),
    "step": ("TRL's time over ours, a step of about 1M weights, best against best", "times_trl", 30, True),
    "stacked": ("time of a step of stacked seeds over one seed's", "times_one", 3, False),
    "update": ("update of about 100M weights over the measured bf16 rate", "share_of_peak", 0.4, True),
    "runs": ("runs of 1,000 steps of nano in ten minutes", "runs_in_ten_minutes", 1700, True),
}


def measure(minutes: str = "10", device: str = "cuda", out: str = "") -> str:
    """Measures all parts within so many minutes and returns the Markdown page. device=cpu rehearses at toy size, into
    outputs/. Raises UserError without a GPU."""
    if device not in ("cuda", "cpu") or not minutes.replace(".", "", 1).isdigit():
        raise UserError(
            f"minutes={minutes} device={device}", "minutes is a number, device is cuda or cpu", "such as 10"
        )
    if device == "cuda" and not torch.cuda.is_available():
        fix = "rehearse the command at toy size with device=cpu minutes=2"
        raise UserError("part=gpu", "PyTorch sees no CUDA device on this machine", fix)
    folder = Path(out) if out else DOCS if device == "cuda" else Path("outputs/bench_gpu")
    folder.mkdir(parents=True, exist_ok=True)
    card = torch.cuda.get_device_name() if device == "cuda" else REHEARSAL
    stored = folder / "bench_gpu.json"
    known = json.loads(stored.read_text()) if stored.is_file() else {}
    known[card] = {"torch": torch.__version__, "cuda": torch.version.cuda, "minutes": float(minutes), "parts": {}}

    def store(part: str, record: dict[str, Any]) -> None:
        known[card]["parts"][part] = record
        write_whole(stored, (json.dumps(known, indent=1) + "\n").encode())
        write_whole(folder / "bench_gpu.md", page(known).encode())
        print(f"{part}: {_cell(part, record)}", flush=True)

    run_parts(60 * float(minutes), lambda part: [sys.executable, "-m", "benchmarks.gpu_parts", part, device], store)
    return page(known)


def run_parts(
    seconds: float, command: Callable[[str], Sequence[str]], store: Callable[[str, dict[str, Any]], None]
) -> None:
    """Runs each part's command, with FILE and UNTIL behind it, and hands its last record to `store`. Time that a part
    leaves goes to those after it."""
    began, share = time.time(), 0.0
    for part, own in SHARES.items():
        share += own
        until = began + share * seconds
        if until - time.time() < LEAST * own * seconds:
            store(part, {"skipped": f"{max(0, until - time.time()):.0f} of its {own * seconds:.0f} s were left"})
            continue
        store(part, run_part(command(part), until, GRACE * seconds))


def run_part(command: Sequence[str], until: float, grace: float) -> dict[str, Any]:
    """The last record that the command wrote, with why it ended where it did not end well."""
    with tempfile.TemporaryDirectory() as folder:
        file, log = Path(folder, "record.json"), Path(folder, "log")
        with log.open("w") as output:
            process = subprocess.Popen(
                [*command, str(file), str(until)], stdout=output, stderr=output, start_new_session=True
            )
        try:
            process.wait(max(0.0, until - time.time()) + grace)
        except subprocess.TimeoutExpired:
            why = {"stopped": "its time was over and no new record came"}
        else:
            tail = " / ".join(log.read_text(errors="replace").strip().splitlines()[-4:])
            why = {"failed": f"exit code {process.returncode}: {tail[-600:]}"} if process.returncode else {}
        finally:
            _end(process)
        record = json.loads(file.read_text()) if file.is_file() else {}
    return record | why


def _end(process: subprocess.Popen[bytes]) -> None:
    """The process and its children, such as TRL's."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def page(known: dict[str, Any]) -> str:
    """The Markdown page: one table a card."""
    head = "Written by `python scripts/bench.py part=gpu`; figures: bench_gpu.json beside it."
    blocks = [markdown("# Speed on a GPU", head)]
    for card, found in known.items():
        about = f"torch {found['torch']}, CUDA {found['cuda']}, {found['minutes']:g} minutes."
        if card == REHEARSAL:
            about += " Toy sizes: no figure here says anything about a GPU."
        rows = [_row(part, record, card == REHEARSAL) for part, record in found["parts"].items()]
        blocks.append(markdown(f"## {card}", about, table(("measure", "goal", "measured", ""), rows)))
    return "\n\n".join(blocks) + "\n"


def _row(part: str, record: dict[str, Any], is_rehearsal: bool) -> tuple[str, ...]:
    label, field, goal, more = GOALS[part]
    met = ""
    if field in record and not is_rehearsal:
        met = "met" if (record[field] >= goal if more else record[field] <= goal) else "missed"
    measure = f"{label} ({record['shape']})" if "shape" in record else label
    return measure, f"{'at least' if more else 'at most'} {goal:g}", _cell(part, record), met


def _cell(part: str, record: dict[str, Any]) -> str:
    """What was measured, and why no more was."""
    field = GOALS[part][1]
    said = [f"{float(record[field]):,.3g}"] if field in record else []
    said += [f"{why}: {record[why]}" for why in ("no_peer", "skipped", "failed", "stopped") if why in record]
    wrong = (row for row in record.get("rows", ()) if not row["agrees"])
    said += [f"{row['what']}, {row['backend']}: {row['difference']:.2g}" for row in wrong]
    return "; ".join(said).replace("|", "/") or "nothing"
