"""docs/reference/bench.md from what was measured, part by part."""

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from benchmarks import curves, growth, memory, rl, sampling, starts

# Each module has `measure(progress)` and `section(measured)`.
PARTS: dict[str, ModuleType] = {
    "rl": rl,
    "curves": curves,
    "sampling": sampling,
    "memory": memory,
    "growth": growth,
    "starts": starts,
}


def measure(part: str, docs: Path, progress: Callable[[str], None]) -> None:
    """Measures a part and stores it beside the others in `docs`/bench.json; writes `docs`/bench.md and the plots anew.
    Raises UserError where what it needs is not installed."""
    found = PARTS[part].measure(progress)
    stored = docs / "bench.json"
    known = json.loads(stored.read_text()) if stored.is_file() else {}
    known[part] = found
    stored.write_text(json.dumps({name: known[name] for name in PARTS if name in known}, indent=1) + "\n")
    (docs / "bench.md").write_text(text(known))
    if "growth" in known:
        growth.draw(known["growth"], docs / "images" / "bench_growth")


def text(known: dict[str, Any]) -> str:
    """The Markdown page."""
    head = [
        "# Speed",
        "",
        "Written by `python scripts/bench.py part=all` (or one part after the other). Whatever is compared was",
        "timed in turn within one run, round after round; ratios hold where times do not, for machines differ",
        "and are shared. The peer is TRL's GRPOTrainer on the same weights as a stock Llama, the same task, batch",
        "and dtype, without gradient checkpointing, in a process whose allocator keeps what is freed, as ours",
        "does. Untrained policies write random text, whose verdicts need no skill (benchmarks/task.py). All",
        "numbers lie in docs/reference/bench.json; what they mean for the goals: [speed.md](../explanation/speed.md).",
    ]
    sections = [module.section(known[part]) for part, module in PARTS.items() if part in known]
    return "\n".join(head) + "\n\n" + "\n\n".join(sections) + "\n"
