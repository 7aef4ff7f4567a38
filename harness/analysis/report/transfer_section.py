"""The report's transfer section: gains against the control, other arms, families, sharpening."""

from collections.abc import Mapping, Sequence
from typing import Any

from harness.analysis.report.chart_style import readable
from harness.analysis.report.figures import Figure, single
from harness.analysis.report.gain_charts import gain_forest, heat_maps, pass_chart
from harness.analysis.report.html import Section, bullet_list, figure_slot, html_table, paragraphs
from harness.analysis.stats.formatting import format_interval, format_number, format_p

Record = Mapping[str, Any]


def transfer_section(transfer: Record, passes: Sequence[Record]) -> Section:
    """Sentences, what is missing, a forest of gains, and the tables behind them.

    passes: of pass_curves, may be empty.
    """
    html = [paragraphs(transfer["sentences"])]
    if transfer["missing"]:
        html.append('<div class="note"><p>Missing for a full answer:</p>' + bullet_list(transfer["missing"]) + "</div>")
    figures = {"transfer": forest_figure(transfer)} if forest(transfer) else {}
    html += [figure_slot(name, figure) for name, figure in figures.items()]
    html += [gain_table(transfer), direct_table(transfer), contrast_table(transfer)]
    if (matrix := matrix_figure(transfer)) is not None:
        figures["transfer_matrix"] = matrix
        html.append(figure_slot("transfer_matrix", matrix))
    html.append(matrix_table(transfer))
    if passes:
        figures["pass_at_k"] = pass_figure(passes)
        html.append(figure_slot("pass_at_k", figures["pass_at_k"]))
    html.append(sharpening_table(transfer["sharpening"]))
    return Section("transfer", "Transfer", "".join(html), figures)


def matrix_figure(transfer: Record) -> Figure | None:
    """Gain of each arm on each family evaluated, a panel for each role; None where each has but one cell."""
    panels = {}
    for role in ("verified", "unverified"):
        cells = [
            {
                "y": readable(row["arm"]),
                "x": readable(cell["family"] or "–"),
                "gain": cell["gain"]["mean"],
                "clear": is_clear(cell["gain"]),
            }
            for row in transfer["matrix"]["rows"]
            for cell in row["evaluated"]
            if cell["role"] == role
        ]
        if cells:
            panels[f"{role.capitalize()} families"] = cells
    if sum(map(len, panels.values())) <= len(panels):  # a single cell is told by the forest
        return None
    clear = sum(is_clear(cell["gain"]) for row in transfer["matrix"]["rows"] for cell in row["evaluated"])
    cells = sum(len(row["evaluated"]) for row in transfer["matrix"]["rows"])
    return Figure(
        f"{clear} of {cells} pairs of an arm and a family change clearly",
        "Gain by arm and family evaluated, less that of the control where there is one; * marks 95% intervals off 0.",
        heat_maps(panels),
        columns=2,
    )


def is_clear(gain: Record) -> bool:
    return gain["low"] is not None and (gain["low"] > 0 or gain["high"] < 0)


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
    panels = {f"{role.capitalize()} tasks": pass_chart([row for row in rows if row["role"] == role]) for role in roles}
    caption = "Chance that one of k completions is right, mean over tasks, with 95% t-intervals over replicates."
    return Figure(f"RL moves {'; '.join(gains)}", caption, panels, columns=2)


def forest_figure(transfer: Record) -> Figure:
    """The gain of every task and pool."""
    rows, control = forest(transfer), transfer["control"]
    own = [gain for name, role, gain in rows if name != f"all {role}"]
    clear = sum(gain["low"] is not None and gain["low"] > 0 for gain in own)
    minus = f" minus {readable(control)}, paired by seed" if control else " (no control arm)"
    return single(
        f"{clear} of {len(own)} tasks gain clearly",
        f"Change of {readable(transfer['real_arm'])} from before RL{minus}, with 95% t-intervals.",
        gain_forest(rows, f"gain in accuracy over {readable(control)}" if control else "change in accuracy"),
    )


def forest(transfer: Record) -> list[tuple[str, str, Record]]:
    """(label, role, gain) of each role's pool and tasks, pools first."""
    rows: list[tuple[str, str, Record]] = []
    for role in ("verified", "unverified"):
        if transfer[role] is not None:
            rows.append((f"all {role}", role, transfer[role]["pooled"]["gain"]))
            rows += [(row["task"], role, row["gain"]) for row in transfer[role]["tasks"]]
    return rows


def gain_table(transfer: Record) -> str:
    rows = []
    for role in ("verified", "unverified"):
        if transfer[role] is None:
            continue
        pooled = transfer[role]["pooled"]
        rows.append(_gain_row("all tasks", role, pooled, pooled["control_change"], pooled["no_transfer_p"]))
        rows += [_gain_row(row["task"], role, row, None, None) for row in transfer[role]["tasks"]]
    header = ["tasks", "role", "before", "after", "control moved", "gain", "95%", "p (Holm)", "p of |gain| ≥ margin"]
    return html_table("Before, after and gain.", header, rows, 2) if rows else ""


def _gain_row(name: str, role: str, row: Record, control: Record | None, inside: float | None) -> list[str]:
    gain, moved = row["gain"], control["mean"] if control else None
    return [
        name,
        role,
        format_number(row["before"]),
        format_number(row["after"]),
        format_number(moved, sign=True),
        format_number(gain["mean"], sign=True),
        _ends(gain),
        format_p(gain.get("p_holm", gain["p"])),
        format_p(inside),
    ]


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
    return [name, format_number(ratio["value"], 2), _ends(ratio, 2, sign=False)]


def contrast_table(transfer: Record) -> str:
    """The real arm beside every other arm, on unverified tasks."""
    matched = {row["arm"]: row for row in transfer["matched_verified_gain"]}
    rows = []
    for row in transfer["contrasts"]:
        difference, same = row["real_minus_arm"], matched.get(row["arm"], {}).get("difference")
        rows.append(
            [
                row["arm"],
                format_number(row["change"]["mean"], sign=True),
                format_number(difference["mean"], sign=True),
                _ends(difference),
                format_p(difference["p_holm"]),
                f"{format_number(same['mean'], sign=True)} ({_ends(same)})" if same else "not matched",
            ]
        )
    header = ["arm", "its change", f"{transfer['real_arm']} minus it", "95%", "p (Holm)", "… at equal verified gain"]
    return html_table("Other arms, on unverified tasks.", header, rows) if rows else ""


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


def sharpening_table(rows: Sequence[Record]) -> str:
    body = [
        [
            row["measure"],
            row["role"],
            format_number(row["before"]),
            format_number(row["after"]),
            format_number(row["change"]["mean"], sign=True),
            _ends(row["change"]),
            format_number(row["minus_control"]["mean"], sign=True) if row.get("minus_control") else "–",
        ]
        for row in rows
    ]
    header = ["measure", "role", "before", "after", "change", "95%", "minus control"]
    return html_table("Taught or sharpened: other measures of the real arm.", header, body, 2) if body else ""


def _ends(record: Record, digits: int = 3, sign: bool = True) -> str:
    return format_interval((record["low"], record["high"]), digits, sign)
