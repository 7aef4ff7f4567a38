"""How numbers, p-values and intervals are printed."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Record = Mapping[str, Any]  # of a JSON file that the analysis writes
MINUS = "−"


def format_number(value: float | None, digits: int = 3, sign: bool = False) -> str:
    """A number to some decimals, or a dash where there is none."""
    if value is None or value != value:
        return "–"
    text = f"{value:{'+' if sign else ''}.{digits}f}"
    return text.replace("-", MINUS) if float(text) else f"{0:.{digits}f}"


def format_p(p: float | None) -> str:
    """A p-value to three decimals; never 0."""
    return "<0.001" if p is not None and p < 0.0005 else format_number(p)


def format_significant(value: float | None) -> str:
    """A number to three figures, however large or small."""
    return "–" if value is None or value != value else f"{value:.3g}".replace("-", MINUS)


def format_power(value: float) -> str:
    """A number to two figures, from a million on as a power of ten: 640, 15,000, 1.8·10¹⁰."""
    if abs(value) < 1e6:
        return f"{float(f'{value:.2g}'):,.10g}".replace("-", MINUS)
    factor, exponent = f"{value:.1e}".split("e")
    raised = str(int(exponent)).translate(str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹"))
    return f"10{raised}" if factor == "1.0" else f"{factor}·10{raised}"


def format_count(count: int | None) -> str:
    """A count in at most five signs: 640, 115k, 1.3M."""
    if count is None:
        return "–"
    return str(count) if count < 1000 else f"{count / 1e3:.0f}k" if count < 999_500 else f"{count / 1e6:.3g}M"


def format_hours(hours: float) -> str:
    """A length of time to two figures in the unit that suits it: 9.5 s, 12 min, 1.7 h."""
    seconds = hours * 3600
    value, unit = (seconds, "s") if seconds < 60 else (seconds / 60, "min") if hours < 1 else (hours, "h")
    return f"{float(f'{value:.2g}'):,.10g} {unit}"


def counted(count: int, noun: str) -> str:
    """A count with its noun: 1 cell, 2 cells."""
    return f"{count} {noun}{'s' * (count != 1)}"


def format_interval(interval: Sequence[float | None] | None, digits: int = 3, sign: bool = False) -> str:
    """An interval as "a to b", or a dash."""
    if interval is None or any(end is None or abs(end) == float("inf") for end in interval):
        return "–"
    return f"{format_number(interval[0], digits, sign)} to {format_number(interval[1], digits, sign)}"


def format_with_interval(value: float | None, interval: Sequence[float | None] | None, digits: int = 3) -> str:
    """A signed number with its interval in brackets."""
    return f"{format_number(value, digits, sign=True)} ({format_interval(interval, digits, sign=True)})"


def markdown_table(header: Sequence[Any], rows: Iterable[Sequence[Any]]) -> str:
    """A table for a page of the documentation."""
    return "\n".join(f"| {' | '.join(map(str, row))} |" for row in (header, ["---"] * len(header), *rows))


def format_record(row: Record, sign: bool = True, absent: str = " (no interval)") -> str:
    """A record of a mean as plain ASCII, "+0.031 (+0.012 to +0.050)"; absent: what stands for a missing interval."""
    form = "{:+.3f}" if sign else "{:.3f}"
    if row["mean"] is None:
        return "not known"
    if row["low"] is None:
        return form.format(row["mean"]) + absent
    return f"{form.format(row['mean'])} ({form.format(row['low'])} to {form.format(row['high'])})"
