"""Small pieces of HTML: escaped text, tables, figures, cards."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any


class Html(str):
    """Text that is markup already; every other text is escaped."""

    __slots__ = ()


@dataclass(frozen=True)
class Section:
    """One section of the page: its HTML, and the Plotly specifications of its figures by id."""

    id: str
    title: str
    html: str
    figures: Mapping[str, dict[str, Any]] = field(default_factory=dict)

    def render(self) -> str:
        heading = f'<h2 id="{self.id}-title">{escape(self.title)}</h2>'
        return f'<section id="{self.id}" aria-labelledby="{self.id}-title">{heading}\n{self.html}\n</section>'


def paragraphs(texts: Sequence[str]) -> str:
    return "".join(f"<p>{escape(text)}</p>" for text in texts)


def bullet_list(texts: Sequence[str]) -> str:
    return "<ul>" + "".join(f"<li>{escape(text)}</li>" for text in texts) + "</ul>" if texts else ""


def html_table(caption: str, header: Sequence[str], rows: Sequence[Sequence[str]], text_columns: int = 1) -> str:
    """A table that scrolls by itself on a narrow screen; the first columns are text, the others numbers."""

    def cell(tag: str, i: int, content: str) -> str:
        kind = ' class="number"' if i >= text_columns else ""
        scope = ' scope="col"' if tag == "th" else ""
        return f"<{tag}{kind}{scope}>{content if isinstance(content, Html) else escape(content)}</{tag}>"

    head = "".join(cell("th", i, name) for i, name in enumerate(header))
    body = "".join("<tr>" + "".join(cell("td", i, one) for i, one in enumerate(row)) + "</tr>" for row in rows)
    return (
        f'<div class="scroll" role="region" aria-label="{escape(caption)}" tabindex="0"><table>'
        f"<caption>{escape(caption)}</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def figure_slot(name: str, caption: str, shown: bool = True) -> str:
    """A place for the Plotly figure `name`; the caption is read aloud, and shown below."""
    label = escape(caption)
    below = f"<figcaption>{label}</figcaption>" if shown else ""
    plot = f'<div class="plot" data-figure="{name}" role="img" aria-label="{label}"></div>'
    return f"<figure>{plot}{below}</figure>"


def definition_list(pairs: Mapping[str, str]) -> str:
    return "<dl>" + "".join(f"<dt>{escape(k)}</dt><dd>{escape(v)}</dd>" for k, v in pairs.items()) + "</dl>"


def card(title: str, word: str, mood: str, body: str) -> str:
    """mood: good, bad, or open."""
    return f'<article class="card {mood}"><h3>{escape(title)}</h3><p class="word">{escape(word)}</p>{body}</article>'


def hyperlink(address: str, text: str) -> Html:
    return Html(f'<a href="{escape(address)}">{escape(text)}</a>')


def line_swatch(colour: str, dashes: str) -> Html:
    """A piece of a line as the figures draw it."""
    stroke = f'stroke="{colour}" stroke-width="3" stroke-dasharray="{dashes}"'
    return Html(f'<svg width="36" height="10" aria-hidden="true"><line x1="0" x2="36" y1="5" y2="5" {stroke}/></svg>')
