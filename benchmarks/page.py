"""docs/reference/bench.md from what was measured, part by part."""

import json
import os
import platform
import re
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from benchmarks import curves, growth, memory, rl, sampling, starts
from benchmarks.timing import markdown

# Each module has `measure(progress)` and `section(measured)`.
PARTS: dict[str, ModuleType] = {
    part.__name__.rpartition(".")[2]: part for part in (rl, curves, sampling, memory, growth, starts)
}


def measure(part: str, docs: Path, progress: Callable[[str], None]) -> None:
    """Measures a part and stores it under this CPU in `docs`/bench.json, beside what was measured on others; writes
    `docs`/bench.md and the plots anew. Raises UserError where what it needs is not installed."""
    load, cpu, stored = os.getloadavg()[0], cpu_label(), docs / "bench.json"
    measured = PARTS[part].measure(progress)
    known = json.loads(stored.read_text()) if stored.is_file() else {}
    known.setdefault(cpu, {})[part] = {"load": load, "measured": measured}
    stored.write_text(json.dumps(known, indent=1) + "\n")
    (docs / "bench.md").write_text(text(known))
    if part == "growth":
        growth.draw(measured, docs / _image(cpu))


def cpu_label() -> str:
    """The model of this CPU, and which of the wide instructions that policies are computed with it has."""
    found = torch.cpu.get_capabilities()
    names = {"avx512_f": "AVX-512", "amx_bf16": "AMX"} if found.get("avx512_f") else {"avx2": "AVX2"}
    wide = [label for name, label in names.items() if found.get(name)]
    model = found.get("cpu_name") or platform.processor() or platform.machine()
    return f"{model} ({', '.join(wide)})" if wide else model


def text(known: dict[str, dict[str, Any]]) -> str:
    """The Markdown page of {CPU: {part: record}}."""
    head = (
        "Written by `python scripts/bench.py part=all` (or one part after the other), which adds to the CPUs below the "
        "one that it runs on. Whatever is compared was timed in turn within one run, round after round; ratios hold "
        "where times do not, for machines differ and are shared. The peer is TRL's GRPOTrainer on the same weights as "
        "a stock Llama, the same task, batch and dtype, without gradient checkpointing, in a process whose allocator "
        "keeps what is freed, as ours does. Untrained policies write random text, whose verdicts need no skill "
        "(benchmarks/task.py). All numbers: docs/reference/bench.json; what they mean for the goals: "
        "[speed.md](../explanation/speed.md)."
    )
    blocks = [markdown("# Speed", head)]
    for cpu, parts in known.items():
        blocks.append(f"## {cpu}")
        blocks += [_section(cpu, part, parts[part]) for part in PARTS if part in parts]
    return "\n\n".join(blocks) + "\n"


def _section(cpu: str, part: str, record: dict[str, Any]) -> str:
    """A part of one CPU, whose heading is below the CPU's."""
    load = f"\n\nLoad average before it: {record['load']:.1f}." if "load" in record else ""
    return "#" + PARTS[part].section(record["measured"]).replace(str(growth.IMAGE), str(_image(cpu))) + load


def _image(cpu: str) -> Path:
    name = re.sub("[^a-z0-9]+", "_", cpu.lower()).strip("_")
    return growth.IMAGE.with_stem(f"{growth.IMAGE.stem}_{name}")
