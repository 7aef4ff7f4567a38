"""The cards at the top of the page."""

from collections.abc import Sequence

from harness.analysis.report.html import card, definition_list, paragraphs
from harness.analysis.stats.formatting import (
    Record,
    counted,
    format_interval,
    format_number,
    format_significant,
    format_with_interval,
)
from harness.analysis.transfer.sentences import transfer_finding
from harness.analysis.verdict.primary import PrimaryRecord

VERDICT_LABELS = {
    "log_linear": "Log-linear",
    "saturating": "Saturating",
    "accelerating": "Accelerating",
    "flat": "Flat",
    "declining": "Declining",
    "non_monotone": "Rises, then falls",
    "sigmoidal": "Sigmoidal",
    "not_log_linear": "Not log-linear",
    "indistinguishable": "Undecided",
    "insufficient_data": "Too little data",
}


FINDINGS = {
    "transfers": ("Yes", "good"),
    "none": ("No", "bad"),
    "harms": ("It harms", "bad"),
    "no_verified_gain": ("No verified gain", "open"),
    "undecided": ("Undecided", "open"),
    "uncontrolled": ("No control arm", "open"),
    "unknown": ("Not measured", "open"),
}


VERDICT_TONES = {"log_linear": "good", "declining": "bad", "non_monotone": "bad"}
ANSWER_TONES = {"yes": "good", "no": "bad"}


def answer_cards(pools: Sequence[Record], transfer: Record, primary: PrimaryRecord | None = None) -> str:
    """One card for the registered measure, if there is one, for the verdict of each role's pool, and for transfer."""
    cards = [*([primary_card(primary)] if primary else []), *(verdict_card(record) for record in pools)]
    word, tone = FINDINGS[transfer_finding(transfer)]
    reservations = [f"Reservation: {lack}." for lack in transfer["missing"]] if word == "Yes" else []
    body = paragraphs([*transfer["sentences"][:1], *reservations])
    role = transfer["unverified"]
    if role is not None:
        pooled = role["pooled"]
        shown = {
            "level": f"{format_number(pooled['before'])} → {format_number(pooled['after'])}",
            "gain": f"{format_number(pooled['gain']['mean'], sign=True)} ({record_interval(pooled['gain'])})",
            "replicates": str(role["n_replicates"]),
        }
        if role["direct"] and (ratio := role["direct"]["ratio"])["value"] is not None:
            shown["share of direct's"] = f"{format_number(ratio['value'], 2)} ({record_interval(ratio, 2, sign=False)})"
        body += definition_list(shown)
    return '<div class="cards">' + "".join([*cards, card("Does skill carry over?", word, tone, body)]) + "</div>"


def primary_card(primary: PrimaryRecord) -> str:
    """The answer to the registered measure, its words and numbers, and what would decide it."""
    shown = {
        "effect": format_with_interval(primary.effect, (primary.low, primary.high)),
        "yes if": f"{primary.yes_if} {format_significant(primary.margin)}",
        "metric": primary.metric,
        primary.unit: str(primary.n),
    }
    decide = [f"What would decide it: {primary.what_would_decide}"] if primary.what_would_decide else []
    body = paragraphs([primary.question, *decide, *primary.notes]) + definition_list(shown)
    tone = ANSWER_TONES.get(primary.answer, "open")
    return card("The registered measure", primary.answer.capitalize(), tone, body)


def verdict_card(record: Record) -> str:
    """The answers for one pool, its sentences and the numbers behind them."""
    word = answer_word(record)
    tone = "open" if record.get("withheld") else VERDICT_TONES.get(record["verdict"], "open")
    body = paragraphs(record.get("sentences") or [record["reason"]])
    share, bases = record["share_of_gain"], record.get("n_bases")
    body += definition_list(
        {
            "rises": record.get("rises", "–"),
            "shape": VERDICT_LABELS[record["verdict"]],
            "log-linear part": _window(record.get("line_window")),
            "slope": format_with_interval(record["slope_per_decade"], record["slope_ci"]),
            "slope × decades": format_with_interval(record.get("rise"), record.get("rise_ci")),
            "window": f"{format_number(record['decades'], 1)} decades",
            "parameters": "–" if record.get("model_params") is None else f"{record['model_params']:,}",
            "seeds": f"{record['n_seeds']}" + (f" on {counted(bases, 'base')}" if bases else ""),
            "gain seen": "–" if share is None else f"{share:.0%} of the whole rise of the fitted curve",
        }
    )
    title = f"{record['role'].capitalize()} tasks: log-linear in RL compute?"
    return card(title, word, tone, body)


def answer_word(record: Record) -> str:
    """The answer to "is it log-linear?", with the shape where that is another."""
    if record.get("withheld"):
        return "Withheld"
    label = VERDICT_LABELS[record["verdict"]]
    match record.get("is_log_linear"):
        case "yes":
            return "Yes"
        case "no":
            return "No" if record["verdict"] == "not_log_linear" else f"No: {label.lower()}"
    return label


def _window(window: Record | None) -> str:
    if window is None:
        return "none found"
    levels = f"{format_number(window['accuracy_first'])} to {format_number(window['accuracy_last'])}"
    return f"{format_number(window['decades'], 1)} decades, {levels}"


def record_interval(record: Record, digits: int = 3, sign: bool = True) -> str:
    return format_interval((record["low"], record["high"]), digits, sign)
