"""The transfer report in plain sentences: what was found, how sure it is, and what is missing."""

from collections.abc import Mapping
from typing import Any

from harness.analysis.data.grids import Grid
from harness.analysis.data.options import Options
from harness.analysis.data.table import Table
from harness.analysis.stats.formatting import counted, format_record

FEW_REPLICATES = 5


def missing(table: Table, arms: dict[str, Grid], tasks: dict[str, list[str]], options: Options) -> list[str]:
    """What the table lacks for a full answer, each with what it would add."""
    arm, control, direct = options.real_arm, options.primary_control, options.direct_arm
    units = arms[arm].units if arm in arms else ()
    fix = "analysis.real_arm, in a study study.analysis.real_arm, names another"
    uncontrolled = "drift and sharpening cannot be separated from transfer, so the changes are not gains"
    few = f"intervals from fewer than {FEW_REPLICATES} are wide and fragile"
    lacks = [
        (arm not in arms, f"no runs of the arm {arm}, whose transfer is reported; {fix}"),
        *((arm in arms and not names, f"no {role} tasks in the arm {arm}") for role, names in tasks.items()),
        (control not in arms, f"no control arm {control}: {uncontrolled}"),
        (direct not in arms, f"no arm {direct}: the share of the possible gain that carried over is not measured"),
        (arm in arms and len(units) < FEW_REPLICATES, f"{counted(len(units), 'replicate')}: {few}"),
        (
            units and len({base for base, _ in units}) < options.min_bases,
            f"fewer than {options.min_bases} pretrained bases: results hold for these bases only",
        ),
        (
            not any(name.startswith("pass_at_") for name in table.frame.columns),
            "no pass_at_k columns: sharpening cannot be separated from learning",
        ),
        (table.problems is None, "no problems table: no pairing by problem, no coverage"),
    ]
    return [text for is_lacking, text in lacks if is_lacking]


def sentences(report: dict[str, Any]) -> list[str]:
    """The answer first, then what qualifies it."""
    roles = [_role(report, role) for role in ("verified", "unverified") if report[role] is not None]
    more = (_direct(report), _slopes(report), _sharpening(report), _others(report))
    return [answer(report), *roles, *(text for text in more if text)]


def transfer_finding(report: Mapping[str, Any]) -> str:
    """One word: transfers, none, harms, undecided, nothing, uncontrolled, or unknown.

    "none" needs a clear gain on verified tasks: without one, no gain elsewhere is no evidence against
    transfer. Against a control that fell, "transfers" needs a clear rise of the unverified tasks themselves.
    """
    role = report["unverified"]
    if role is None:
        return "unknown"
    gain = role["pooled"]["gain"]
    if role["pooled"]["control_change"] is None:
        return "uncontrolled"
    if gain["low"] is None:
        return "undecided"
    inside = role["pooled"]["no_transfer_p"] < 0.05
    if gain["low"] > 0 and not inside:
        rose = (role["pooled"]["change"]["low"] or 0) > 0
        return "transfers" if rose or not _control_fell(role["pooled"]) else "undecided"
    verified = report["verified"] and report["verified"]["pooled"]["gain"]["low"]
    if verified is None or verified <= 0:
        return "harms" if gain["high"] < 0 and not inside else "no_verified_gain"
    if inside:
        return "none"
    return "harms" if gain["high"] < 0 else "undecided"


def _gained_clearly(gain: Mapping[str, Any]) -> bool:
    return gain["p_holm"] < 0.05 and gain["mean"] > 0


def _control_fell(pooled: Mapping[str, Any]) -> bool:
    return (pooled["control_change"]["high"] or 0) < 0


def answer(report: dict[str, Any]) -> str:
    """The finding in one sentence."""
    if report["unverified"] is None:
        absent = "there are no unverified tasks" if report["verified"] else f"the arm {report['real_arm']} was not"
        return f"Transfer cannot be judged: {absent} evaluated before and after RL."
    pooled = report["unverified"]["pooled"]
    gain, margin = format_record(pooled["gain"]), report["margin"]
    beside = f"against {report['control']}, {counted(report['unverified']['n_replicates'], 'replicate')}"
    unclear = "Transfer cannot be judged: verified tasks did not gain clearly"
    found = {
        "uncontrolled": f"Unverified tasks changed by {gain}; without the control arm this is not yet transfer.",
        "transfers": f"Skill carried over: unverified tasks gained {gain} {beside}.",
        "no_verified_gain": f"{unclear}; unverified ones gained {gain} {beside}.",
        "none": f"No transfer: the gain on unverified tasks, {gain} {beside}, lies within ±{margin:g}.",
        "harms": f"RL harmed the unverified tasks: {gain} {beside}.",
    }.get(transfer_finding(report))
    if found is not None:
        return found
    if (pooled["gain"]["low"] or 0) > 0:
        own = format_record(pooled["change"])
        return f"Undecided: unverified tasks gained {gain} {beside}, which fell; by themselves they changed by {own}."
    return f"Undecided: unverified tasks gained {gain} {beside}; this excludes neither 0 nor a gain that matters."


def _role(report: dict[str, Any], role: str) -> str:
    block = report[role]
    pooled = block["pooled"]
    text = f"{role.capitalize()} tasks went from {pooled['before']:.3f} to {pooled['after']:.3f}"
    if pooled["control_change"] is not None:
        moved, gain = format_record(pooled["control_change"]), format_record(pooled["gain"])
        text += f"; the control changed by {moved}, so the gain is {gain}"
        if _control_fell(pooled):
            own = format_record(pooled["change"])
            text += f", part of it the control's own fall: by itself the arm changed by {own}"
    clear = sum(_gained_clearly(row["gain"]) for row in block["tasks"])
    text += f". {clear} of {len(block['tasks'])} tasks gained clearly"
    new = pooled["gain_new_tasks"]
    if new["low"] is not None:
        text += f"; for other tasks of this kind the gain would be {format_record(new)}"
    return text + "."


def _direct(report: dict[str, Any]) -> str | None:
    direct = report["unverified"]["direct"] if report["unverified"] else None
    if direct is None:
        return None
    ratio, share = direct["ratio"], direct["share_of_gap"]
    if ratio["value"] is None:
        return f"The ratio to training on the targets is not reported: {ratio['reason']}."
    text = f"That is {ratio['value']:.0%} ({ratio['low']:.0%} to {ratio['high']:.0%}) of what RL on the targets gains"
    if share["value"] is not None:
        text += f"; {share['value']:.0%} of the way from base to there, drift included"
    return text + "."


def _slopes(report: dict[str, Any]) -> str | None:
    slopes = report["slope_ratio"]
    if slopes is None:
        return None
    beyond = " beyond guessing" if slopes["chance_corrected"] else ""
    judge = slopes["judged_on"]
    split = f"split {judge!r}" if judge else "the scores themselves, for want of another split"
    verified, unverified = format_record(slopes["verified"]), format_record(slopes["unverified"])
    text = (
        f"Slope per decade: {verified} verified, {unverified} unverified "
        f"({slopes['cells_used']} of {counted(slopes['cells'], 'cell')}, accuracy{beyond} .1 to .9 by {split})"
    )
    ratio = slopes["ratio"]
    if ratio["value"] is None:
        return f"{text}; their ratio is not reported: {ratio['reason']}."
    return f"{text}; ratio {ratio['value']:.2f} ({ratio['low']:.2f} to {ratio['high']:.2f})."


def _sharpening(report: dict[str, Any]) -> str | None:
    """Compares mean@1 with pass@k at the largest k, on the unverified tasks."""
    rows = {row["measure"]: row for row in report["sharpening"] if row["role"] == "unverified"}
    passes = [name for name in rows if name.startswith("pass@") and name != "pass@1"]
    if not passes:
        return None
    one, most = rows["mean@1"]["change"], rows[passes[-1]]["change"]
    text = f"On unverified tasks mean@1 changed by {format_record(one)} and {passes[-1]} by {format_record(most)}"
    if one["low"] is None or one["low"] <= 0:
        return text + "."
    if most["low"] > 0:
        return text + ": more problems came within reach, not only those already solved sometimes."
    return text + ": consistent with sharpening; problems that were solved sometimes are now solved more often."


def _others(report: dict[str, Any]) -> str | None:
    rows = report["contrasts"]
    if not rows:
        return None
    clear = [row["arm"] for row in rows if _gained_clearly(row["real_minus_arm"])]
    names = ", ".join(clear) or "none of them"
    return f"On unverified tasks {report['real_arm']} is clearly above, of {len(rows)} other arms: {names}."
