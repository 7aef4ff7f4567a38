"""How numbers, p-values and intervals are printed."""

from collections.abc import Sequence

MINUS = "−"


def number(value: float | None, digits: int = 3, sign: bool = False) -> str:
    """A number to some decimals, or a dash where it is not known."""
    if value is None or value != value:
        return "–"
    text = f"{value:{'+' if sign else ''}.{digits}f}"
    return text.replace("-", MINUS) if float(text) else f"{0:.{digits}f}"


def p_value(p: float | None) -> str:
    """A p-value to three decimals; never 0."""
    return "<0.001" if p is not None and p < 0.0005 else number(p)


def short(value: float | None) -> str:
    """A number to three figures, however large or small."""
    return "–" if value is None or value != value else f"{value:.3g}".replace("-", MINUS)


def rounded(count: int | None) -> str:
    """A count in at most five signs: 640, 115k, 1.3M."""
    if count is None:
        return "–"
    return str(count) if count < 1000 else f"{count / 1e3:.0f}k" if count < 999_500 else f"{count / 1e6:.3g}M"


def between(interval: Sequence[float | None] | None, digits: int = 3, sign: bool = False) -> str:
    """An interval as "a to b", or a dash."""
    if interval is None or any(end is None or abs(end) == float("inf") for end in interval):
        return "–"
    return f"{number(interval[0], digits, sign)} to {number(interval[1], digits, sign)}"
