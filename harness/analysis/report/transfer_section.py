"""The report's transfer section: gains against the control, other arms, families, sharpening."""

from collections.abc import Sequence

import altair as alt

from harness.analysis.report.chart_style import readable, tooltip
from harness.analysis.report.figures import Figure, single
from harness.analysis.report.gain_charts import forest_chart, heat_cell, heat_maps, is_clear, lines_chart
from harness.analysis.report.html import Section, bullet_list, html_table, paragraphs, record_table
from harness.analysis.report.verdict_cards import record_interval
from harness.analysis.stats.formatting import Record, format_number, format_p


def transfer_section(transfer: Record, passes: Sequence[Record]) -> Section:
    """Sentences, what is missing, a forest of gains, and the tables behind them.

    passes: of pass_curves, may be empty.
    """
    missing = '<div class="note"><p>Missing for a full answer:</p>' + bullet_list(transfer["missing"]) + "</div>"
    return Section(
        "transfer",
        "Transfer",
        paragraphs(transfer["sentences"]),
        missing if transfer["missing"] else "",
        {"transfer": forest_figure(transfer)},
        gain_table(transfer),
        direct_table(transfer),
        contrast_table(transfer),
        {"transfer_matrix": matrix_figure(transfer)},
        matrix_table(transfer),
        {"pass_at_k": pass_figure(passes) if passes else None},
        sharpening_table(transfer["sharpening"]),
    )


def matrix_figure(transfer: Record) -> Figure | None:
    """Gain of each arm on each family evaluated, a panel for each role; None where each has but one cell."""
    cells = [(readable(row["arm"]), cell) for row in transfer["matrix"]["rows"] for cell in row["evaluated"]]
    panels = {
        f"{role.capitalize()} families": own
        for role in ("verified", "unverified")
        if (own := [heat_cell(arm, readable(c["family"] or "–"), c["gain"]) for arm, c in cells if c["role"] == role])
    }
    if len(cells) <= len(panels):  # a single cell is told by the forest
        return None
    every = [cell["gain"] for _, cell in cells]
    return Figure(
        f"{sum(map(is_clear, every))} of {len(every)} pairs of an arm and a family change clearly",
        "Gain by arm and family evaluated, less that of the control where there is one; * marks 95% intervals off 0.",
        heat_maps(panels),
        columns=2,
    )


def matrix_table(transfer: Record) -> str:
    """Trained families by evaluated family and role."""
    rows = transfer["matrix"]["rows"]
    columns = list(dict.fromkeys((cell["family"], cell["role"]) for row in rows for cell in row["evaluated"]))
    if not columns:
        return ""
    body = []
    for row in rows:
        found = {(cell["family"], cell["role"]): cell for cell in row["evaluated"]}
        trained = row["trained"] if len(row["trained"]) <= 4 else [f"{len(row['trained'])} families"]
        body.append([row["arm"], ", ".join(trained), *(_matrix_cell(found.get(column)) for column in columns)])
    header = ["arm", "trained on", *(f"{family} ({role})" for family, role in columns)]
    caption = "Gain by family evaluated; * marks 95% intervals off 0, † changes with no control to subtract."
    return html_table(caption, header, body, 2)


def _matrix_cell(cell: Record | None) -> str:
    if cell is None:
        return "–"
    gain = cell["gain"]
    return format_number(gain["mean"], sign=True) + "*" * is_clear(gain) + "†" * (not cell["corrected"])


def pass_figure(rows: Sequence[Record]) -> Figure:
    """pass@k against k before and after RL, a panel for each role."""
    roles = list(dict.fromkeys(row["role"] for row in rows))
    most = max(row["k"] for row in rows)
    gains = []
    for role in roles:
        ends = {(row["label"], row["k"]): row["value"] for row in rows if row["role"] == role}
        before, after = dict.fromkeys(label for label, _ in ends)
        gains.append(
            f"{role} pass@1 by {format_number(ends[after, 1] - ends[before, 1], sign=True)}, "
            f"pass@{most} by {format_number(ends[after, most] - ends[before, most], sign=True)}"
        )
    scale, ks = alt.Scale(type="log", base=2, nice=False, padding=10), sorted({row["k"] for row in rows})
    x = alt.X("k:Q", title="k", scale=scale, axis=alt.Axis(values=ks, format="d"))
    y = alt.Y("value:Q", title="pass@k", scale=alt.Scale(zero=False))
    told = tooltip("label", k="d", value=".3f", low=".3f", high=".3f")
    panels = {
        f"{role.capitalize()} tasks": lines_chart(
            [row for row in rows if row["role"] == role], x, y, told, intervals=True
        )
        for role in roles
    }
    caption = "Chance that one of k completions is right, mean over tasks, with 95% t-intervals over replicates."
    return Figure(f"RL moves {'; '.join(gains)}", caption, panels, columns=2)


def gains(transfer: Record) -> list[Record]:
    """A record for the pool of each role, whose task is "all", and for each of its tasks."""
    known = {role: transfer[role] for role in ("verified", "unverified") if transfer[role] is not None}
    return [
        record | {"role": role}
        for role, found in known.items()
        for record in (found["pooled"] | {"task": "all"}, *found["tasks"])
    ]


def forest_figure(transfer: Record) -> Figure | None:
    """The gain of every task and pool; None where there is none."""
    records, control = gains(transfer), transfer["control"]
    own = [one["gain"] for one in records if one["task"] != "all"]
    clear = sum(gain["low"] is not None and gain["low"] > 0 for gain in own)
    minus = f" minus {readable(control)}, paired by seed" if control else " (no control arm)"
    rows = [
        {name: one["gain"][name] for name in ("mean", "low", "high")}
        | {"row": f"all {one['role']}" if one["task"] == "all" else readable(one["task"]), "label": one["role"]}
        for one in records
    ]
    labels = list(dict.fromkeys(one["role"] for one in records))
    return (
        single(
            f"{clear} of {len(own)} tasks gain clearly",
            f"Change of {readable(transfer['real_arm'])} from before RL{minus}, with 95% t-intervals.",
            forest_chart(rows, labels, "gain in accuracy" if control else "change in accuracy"),
        )
        if rows
        else None
    )


def gain_table(transfer: Record) -> str:
    columns = {
        "tasks": lambda row: "all tasks" if row["task"] == "all" else row["task"],
        "role": lambda row: row["role"],
        "before": lambda row: format_number(row["before"]),
        "after": lambda row: format_number(row["after"]),
        "control moved": lambda row: format_number((row.get("control_change") or {}).get("mean"), sign=True),
        "gain": lambda row: format_number(row["gain"]["mean"], sign=True),
        "95%": lambda row: record_interval(row["gain"]),
        "p (Holm)": lambda row: format_p(row["gain"].get("p_holm", row["gain"]["p"])),
        "p of |gain| ≥ margin": lambda row: format_p(row.get("no_transfer_p")),
    }
    return record_table("Before, after and gain.", gains(transfer), columns, 2)


def direct_table(transfer: Record) -> str:
    """Ratio to RL on the targets, share of the gap, slope ratio: each with the reason where it is not reported."""
    rows = []
    direct = transfer["unverified"]["direct"] if transfer["unverified"] else None
    if direct:
        rows.append(_ratio_row("gain over the gain of direct (control subtracted from both)", direct["ratio"]))
        rows.append(_ratio_row("share of the way from base to direct (nothing subtracted)", direct["share_of_gap"]))
        rows += [_ratio_row(f"… of {task}", one) for task, one in direct["share_of_gap_by_task"].items()]
    if transfer["slope_ratio"]:
        rows.append(_ratio_row("slope, unverified over verified", transfer["slope_ratio"]["ratio"]))
    return html_table("Ratios, with Fieller's 95% intervals.", ["ratio of", "value", "95%"], rows) if rows else ""


def _ratio_row(name: str, ratio: Record) -> list[str]:
    if ratio["value"] is None:
        return [name, "not reported", ratio["reason"]]
    return [name, format_number(ratio["value"], 2), record_interval(ratio, 2, sign=False)]


def contrast_table(transfer: Record) -> str:
    """The real arm beside every other arm, on unverified tasks."""
    matched = {row["arm"]: row["difference"] for row in transfer["matched_verified_gain"]}

    def at_equal_gain(row: Record) -> str:
        same = matched.get(row["arm"])
        return f"{format_number(same['mean'], sign=True)} ({record_interval(same)})" if same else "not matched"

    columns = {
        "arm": lambda row: row["arm"],
        "its change": lambda row: format_number(row["change"]["mean"], sign=True),
        f"{transfer['real_arm']} minus it": lambda row: format_number(row["real_minus_arm"]["mean"], sign=True),
        "95%": lambda row: record_interval(row["real_minus_arm"]),
        "p (Holm)": lambda row: format_p(row["real_minus_arm"]["p_holm"]),
        "… at equal verified gain": at_equal_gain,
    }
    return record_table("Other arms, on unverified tasks.", transfer["contrasts"], columns)


def sharpening_table(rows: Sequence[Record]) -> str:
    columns = {
        "measure": lambda row: row["measure"],
        "role": lambda row: row["role"],
        "before": lambda row: format_number(row["before"]),
        "after": lambda row: format_number(row["after"]),
        "change": lambda row: format_number(row["change"]["mean"], sign=True),
        "95%": lambda row: record_interval(row["change"]),
        "minus control": lambda row: format_number((row.get("minus_control") or {}).get("mean"), sign=True),
    }
    return record_table("Taught or sharpened: other measures of the real arm.", rows, columns, 2)
