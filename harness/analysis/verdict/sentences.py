"""A verdict record as plain sentences: the measurement, the reason of the verdict (or what would decide it), and the
answers: does it rise, is it log-linear, and where."""

import re
from math import isnan

from harness.analysis.stats.formatting import format_power

CONTRASTS = r" \([^()]*\bb\d[^()]*\)"  # names of differences between slopes, which stand in a record's reason
SEEN = {
    "log_linear": "rises log-linearly",
    "saturating": "rises and levels off",
    "accelerating": "rises faster and faster",
    "flat": "stays flat",
    "declining": "falls",
    "non_monotone": "rises and then falls",
    "sigmoidal": "rises slowly, then fast, then slowly",
    "not_log_linear": "follows no line, nor another shape with a name",
    "indistinguishable": "cannot be distinguished from several laws",
    "insufficient_data": "was measured too little to judge",
}


def sentences(record: dict) -> list[str]:
    """Three sentences for a record as written to verdicts.json."""
    return [_seen(record), _why(record), _answers(record)]


def _seen(record: dict) -> str:
    what = f"all {record['role']} tasks" if record["task"] == "all" else f"{record['task']} ({record['role']})"
    slope, interval = record["slope_per_decade"], record["slope_ci"]
    size = "" if slope is None or isnan(slope) else f": {slope:+.3f} per decade of RL"
    size += "" if interval is None else f" (95% {interval[0]:+.3f} to {interval[1]:+.3f})"
    window = (
        f", from {record['accuracy_first']:.3f} to {record['accuracy_last']:.3f} over {record['decades']:.1f} decades"
        f" ({format_power(record['x_first'])} to {format_power(record['x_last'])})"
    )
    return f"{record['arm']}: accuracy on {what} {SEEN[record['verdict']]}{size}{window}{record['given']}."


def _why(record: dict) -> str:
    plain = re.sub(CONTRASTS, "", record["reason"])
    reason = plain[0].upper() + plain[1:]
    if record["withheld"]:
        return f"The claim is withheld: {record['withheld_reason']}. (Without that: {plain}.)"
    if record["verdict"] == "insufficient_data" or record["would_decide"] is None:
        return f"{reason}."
    need = record["would_decide"]
    words = []
    if need["seeds"]:
        words.append(f"{need['seeds']} {need['unit']} in all")
    if need["problems_factor"]:
        words.append(f"{need['problems_factor']:g} times the evaluation problems")
    if need["decades"]:
        words.append(f"{need['decades']:g} more decade{'s' * (need['decades'] != 1)} of RL")
    if not words:
        return f"{reason}. No design within reach would decide it at this noise."
    decided = "show whether it accelerates" if record["verdict"] == "not_log_linear" else "decide it"
    return f"{reason}. About {' or '.join(words)} would {decided}."


def _answers(record: dict) -> str:
    """Does it rise, is it log-linear over the window, and in which part of it."""
    line, window = record["line_fit"], record["line_window"]
    text = f"Does RL raise it: {record['rises']}. Log-linear over this window: {record['is_log_linear']}"
    if line is not None and record["verdict"] not in ("flat", "declining"):
        noise = "more than noise explains" if line["p"] < 0.05 else "as noise would"
        text += f" (the best line misses the curve by up to {line['deviation']:.0%} of the gain, {noise})"
    if window is not None and record["is_log_linear"] != "yes":
        text += (
            f"; log-linear from {window['accuracy_first']:.3f} to {window['accuracy_last']:.3f}"
            f" over {window['decades']:.1f} decades"
        )
    return text + "."


def conditional_on(n_bases: int, min_bases: int) -> str:
    """What the verdict is conditional on, as a clause."""
    if n_bases >= min_bases:
        return ""
    return ", given one base" if n_bases == 1 else f", given these {n_bases} bases"
