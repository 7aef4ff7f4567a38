"""The page of claims with a small figure each: one self-contained file for `scripts/results_page.py`."""

from collections.abc import Sequence
from html import escape
from math import log10
from typing import TYPE_CHECKING

from harness.analysis.data.options import default_options
from harness.analysis.stats.formatting import format_number, format_significant

if TYPE_CHECKING:
    from scripts.results_page import Claim

WIDTH, HEIGHT, LEFT, BOTTOM = 240, 96, 26, 12  # of a figure and its margins, in CSS pixels
CSS = """
:root { color-scheme: light dark; --ink: #1b1f24; --soft: #59636e; --paper: #fff; --panel: #f5f7f9; --rule: #d5dbe1;
  --link: #0b5cad; --yes: #00694b; --no: #a84300; --real: #0072b2; --other: #d55e00; }
@media (prefers-color-scheme: dark) { :root { --ink: #e8ebee; --soft: #a3adb8; --paper: #14171a; --panel: #1e2328;
  --rule: #3a4149; --link: #7db8f0; --yes: #4fd1a5; --no: #ff9c5a; --real: #56b4e9; --other: #e69f00; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 76rem; padding: 1rem; background: var(--paper); color: var(--ink);
  font: 15px/1.45 system-ui, sans-serif; }
h1 { font-size: 1.5rem; margin: .3rem 0; }
p { max-width: 50rem; margin: .4rem 0 .8rem; }
a { color: var(--link); }
article { display: grid; grid-template-columns: minmax(0, 1.1fr) minmax(0, 1.5fr) 240px; gap: .3rem 1.5rem;
  border-top: 1px solid var(--rule); padding: .8rem 0; }
h2 { font-size: 1rem; margin: 0 0 .2rem; }
.soft, dt { color: var(--soft); font-size: .86rem; }
.answer { font-weight: 700; font-size: 1.05rem; }
.yes { color: var(--yes); } .no { color: var(--no); }
article p { margin: 0 0 .35rem; }
.number { font-variant-numeric: tabular-nums; }
svg { display: block; width: 240px; max-width: 100%; height: auto; overflow: visible; }
svg text { fill: var(--soft); font-size: 10px; }
svg .axis { stroke: var(--rule); stroke-width: 1; }
svg polyline { fill: none; stroke-linejoin: round; }
.real { stroke: var(--real); stroke-width: 2.4; }
.control { stroke: var(--soft); stroke-width: 1.6; stroke-dasharray: 4 3; }
.other { stroke: var(--other); stroke-width: 1.1; opacity: .65; }
.interval { stroke: var(--ink); stroke-width: 2; } circle { fill: var(--ink); }
.margin { stroke: var(--no); stroke-width: 1.5; stroke-dasharray: 3 2; }
.key { display: inline-block; width: 30px; vertical-align: middle; }
@media (max-width: 760px) { article { grid-template-columns: minmax(0, 1fr); } svg { width: 320px; } }
"""


def atlas_page(claims: Sequence["Claim"]) -> str:
    """A row for each claim: what it says, what was found, and how accuracy went."""
    keys = ", ".join(
        f'<svg class="key" viewBox="0 0 30 6"><polyline class="{kind}" points="0,3 30,3"/></svg> {label}'
        for kind, label in (("real", "the arm of interest"), ("control", "controls"), ("other", "other arms"))
    )
    lead = (
        "Answers to the measures registered before the runs, the clearest first: the effect with its 95% interval, and "
        "the margin (dashed) that it is held against. Curves: accuracy on verified tasks, before RL (left end) and "
        f"against RL compute (logarithmic), an arm that rewards other tasks on its own: {keys}."
    )
    rows = "\n".join(_row(one) for one in claims)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>All claims, with their curves</title>\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<style>{CSS}</style></head>\n<body><h1>All claims, and what was found</h1>\n<p>{lead}</p>\n"
        f'<p><a href="README.md">The same as a table</a></p>\n{rows}\n</body></html>\n'
    )


def _row(one: "Claim") -> str:
    claim = escape(one.claim or one.question)
    link = f'<a href="{one.folder}/README.md">{escape(one.question)}</a>'
    left = f'<h2>{claim}</h2><p class="soft">{link}</p><p class="soft number">{escape(one.compute)}</p>'
    answered = f'<p><span class="answer">{escape(one.answered)}</span></p>' if one.answered else ""
    middle = f"{answered}<p>{escape(one.found)}</p>"
    if one.primary:
        answer = f'<span class="answer {one.primary.answer}">{one.primary.answer}</span>'
        decide = f" {escape(one.primary.what_would_decide)}" if one.primary.what_would_decide else ""
        numbers = f'<span class="number">{escape(one.effect)}</span>'
        asked = f'<p class="soft">{escape(one.primary.question)}.{decide}</p>'
        middle = f"<p>{answer} {numbers}</p>{_interval(one)}{asked}{middle}"
    if one.controls:
        middle += f'<p class="soft number">Controls: {escape("; ".join(one.control_changes))}</p>'
    return f"<article><div>{left}</div><div>{middle}</div><div>{_curves(one)}</div></article>"


def _interval(one: "Claim") -> str:
    """The effect with its interval, 0 and the margin on one scale; "" where they are not known."""
    primary = one.primary
    if primary is None or primary.effect is None or primary.low is None or primary.high is None:
        return ""
    ends = (0.0, primary.low, primary.high, primary.margin)
    low, span = min(ends), (max(ends) - min(ends)) or 1.0

    def x(value: float) -> str:
        return f"{8 + (WIDTH - 16) * (value - low) / span:.1f}"

    a, b, middle, margin, zero = map(x, (primary.low, primary.high, primary.effect, primary.margin, 0.0))
    label = f"{format_number(primary.effect, sign=True)} against {format_significant(primary.margin)}"
    return (
        f'<svg viewBox="0 0 {WIDTH} 26" role="img" aria-label="{label}">'
        f'<line class="axis" x1="{zero}" x2="{zero}" y1="2" y2="14"/>'
        f'<text x="{zero}" y="25" text-anchor="middle">0</text>'
        f'<line class="margin" x1="{margin}" x2="{margin}" y1="0" y2="16"/>'
        f'<line class="interval" x1="{a}" x2="{b}" y1="8" y2="8"/><circle cx="{middle}" cy="8" r="3.5"/></svg>'
    )


def _curves(one: "Claim") -> str:
    """Accuracy of each arm against the logarithm of x; before RL half a decade left of the first budget."""
    above = [x for points in one.curves.values() for x, _ in points if x > 0]
    if not above:
        return ""
    first, last = log10(min(above)) - 0.5, log10(max(above))
    highest = max(y for points in one.curves.values() for _, y in points)
    top = next(level for level in (0.05, 0.1, 0.25, 0.5, 0.75, 1.0) if level >= highest - 1e-9)

    def place(x: float, y: float) -> str:
        across = (log10(x) if x > 0 else first) - first
        right = LEFT + (WIDTH - LEFT - 4) * across / (last - first)
        return f"{right:.1f},{4 + (HEIGHT - BOTTOM - 4) * (1 - y / top):.1f}"

    kinds = {arm: _kind(arm) for arm in one.curves}
    order = sorted(one.curves, key=lambda arm: ("other", "control", "real").index(kinds[arm]))
    lines = "".join(
        f'<polyline class="{kinds[arm]}" points="{" ".join(place(*point) for point in one.curves[arm])}">'
        f"<title>{escape(arm.replace('_', ' '))}</title></polyline>"
        for arm in order
    )
    floor = HEIGHT - BOTTOM
    axes = (
        f'<line class="axis" x1="{LEFT}" x2="{WIDTH - 4}" y1="{floor}" y2="{floor}"/>'
        f'<line class="axis" x1="{LEFT}" x2="{LEFT}" y1="4" y2="{floor}"/>'
        f'<text x="{LEFT - 4}" y="{floor + 1}" text-anchor="end">0</text>'
        f'<text x="{LEFT - 4}" y="9" text-anchor="end">{format_significant(top).lstrip("0")}</text>'
        f'<text x="{WIDTH - 4}" y="{HEIGHT}" text-anchor="end">RL compute, {last - first - 0.5:.1f} decades</text>'
    )
    label = f"Accuracy of {len(order)} arms against RL compute"
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}">{axes}{lines}</svg>'


def _kind(arm: str) -> str:
    """How an arm is drawn: real, control or other."""
    options = default_options()
    return "real" if arm == options.real_arm else "control" if arm in options.controls else "other"
