"""Which verdicts a design can reach, before any of it is run."""

from collections.abc import Mapping
from dataclasses import dataclass

from harness.analysis.data.options import Options
from harness.analysis.stats.formatting import counted, format_number
from harness.analysis.verdict.power import shape_power
from harness.analysis.verdict.rules import missing_data
from harness.analysis.verdict.task_shares import calibration


@dataclass(frozen=True)
class Design:
    """What an arm's curve will be made of: replicates, on so many bases; budgets in the window that counts, and its
    width in decades; by role the completions at each budget of a replicate."""

    replicates: int
    bases: int
    budgets: int
    decades: float
    completions: Mapping[str, int]


def reachable_verdicts(design: Design, options: Options) -> list[str]:
    """In sentences: whether the design has what a verdict needs, and how often it would call a line one."""
    curve = f"{counted(design.budgets, 'budget')} over {design.decades:.1f} decades"
    size = f"{counted(design.replicates, 'replicate')}, {curve}"
    if lacks := missing_data(design.budgets, design.decades, design.replicates, options):
        return [f"only insufficient_data ({size}): any other needs {', '.join(lacks)}"]
    lines = [f"any ({size})"]
    if design.bases < options.min_bases:
        lines.append(f"given {counted(design.bases, 'base')}; fewer than {options.min_bases} do not stand for others")
    return lines + [line_power(role, n, design.replicates) for role, n in design.completions.items()]


def line_power(role: str, completions: int, replicates: int) -> str:
    """Chances by the calibration's power table, of 10 budgets over 3 decades, at its entry below the design."""
    slopes = sorted({row["slope"] for row in calibration()["power"]})
    chances = {slope: shape_power(slope, completions, replicates) for slope in slopes}
    what = f"{role}, {completions:,} completions a budget"
    if None in chances.values():
        table = calibration()["power"]
        fewest = " and ".join(f"{min(row[name] for row in table):,} {name}" for name in ("completions", "seeds"))
        return f"{what}: below the power table, which begins at {fewest}"
    words = [f"{format_number(chances[slope], 2)} at {format_number(slope, 2)} a decade" for slope in slopes]
    return f"{what}: a line is called one with chance {', '.join(words)}"
