"""docs/bench.md from what was measured, part by part."""

import importlib
import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

PARTS = ("rl", "curves", "sampling", "memory", "growth", "starts")


def module_of(part: str) -> ModuleType:
    """The module that measures a part."""
    return importlib.import_module(f"harness.bench.{part}")


def measure(part: str, docs: Path, progress: Callable[[str], None]) -> None:
    """Measures a part and stores it beside the others in docs/bench.json; writes docs/bench.md and the plots anew.
    Raises UserError where what it needs is not installed."""
    found = module_of(part).measure(progress)
    stored = docs / "bench.json"
    known = json.loads(stored.read_text()) if stored.is_file() else {}
    known[part] = found
    stored.write_text(json.dumps({name: known[name] for name in PARTS if name in known}, indent=1) + "\n")
    (docs / "bench.md").write_text(text(known))
    if "growth" in known:
        module_of("growth").draw(known["growth"], docs / "images" / "bench_growth.png")


def text(known: dict[str, Any]) -> str:
    """The Markdown page."""
    head = [
        "# Speed",
        "",
        "Written by `python scripts/bench.py part=all` (or one part after the other). Whatever is compared was",
        "timed in turn within one run, round after round; ratios hold where times do not, for machines differ",
        "and are shared. The peer is TRL's GRPOTrainer on the same weights as a stock Llama, the same task, batch",
        "and dtype, without gradient checkpointing, in a process whose allocator keeps what is freed, as ours",
        "does. Untrained policies write random text, whose verdicts ask no skill (harness/bench/task.py). All",
        "numbers lie in docs/bench.json; what they mean for the goals is in [speed.md](speed.md).",
    ]
    sections = [module_of(part).section(known[part]) for part in PARTS if part in known]
    return "\n".join(head) + "\n\n" + "\n\n".join(sections) + "\n"
