"""Small pieces of HTML: escaped text, tables, figures, cards."""

from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Any

from harness.analysis.report.chart_style import colour_of, dash_of
from harness.analysis.report.figures import Figure


class Html(str):
    """Text that is markup already; every other text is escaped."""

    __slots__ = ()


class Section:
    """One section of the page: its parts in turn, HTML or figures by the names of their files, of which None is left
    out."""

    def __init__(self, id: str, title: str, *parts: str | Mapping[str, Figure | None]):
        self.id, self.title = id, title
        named = [{"": part} if isinstance(part, str) else part for part in parts]
        self.parts = [(name, one) for part in named for name, one in part.items() if one]
        self.figures = {name: one for name, one in self.parts if isinstance(one, Figure)}

    def render(self, files: bool = True) -> str:
        """files: whether PNG and PDF of its figures lie in the folder figures beside the page."""
        heading = f'<h2 id="{self.id}-title">{escape(self.title)}</h2>'
        html = "".join(one if isinstance(one, str) else figure_slot(name, one, files) for name, one in self.parts)
        return f'<section id="{self.id}" aria-labelledby="{self.id}-title">{heading}\n{html}\n</section>'


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


def record_table(
    caption: str, records: Sequence[Any], columns: Mapping[str, Callable[[Any], str]], text_columns: int = 1
) -> str:
    """A table with a row for each record, its columns by their headings; "" without records."""
    rows = [[text(record) for text in columns.values()] for record in records]
    return html_table(caption, list(columns), rows, text_columns) if rows else ""


def folded(summary: str, body: str) -> str:
    """HTML that opens on a click."""
    return f"<details><summary>{escape(summary)}</summary>{body}</details>"


def figure_slot(name: str, figure: Figure, files: bool) -> str:
    """A place for each panel of a figure, its title above; the caption below, with links to its files."""
    panels = ""
    for i, heading in enumerate(figure.panels):
        above = f'<p class="heading">{escape(heading)}</p>' if heading else ""
        label = escape(". ".join(part for part in (figure.title, heading) if part))
        plot = f'<div class="plot" data-figure="{panel_id(name, i)}" role="img" aria-label="{label}">'
        # An image to those who do not see it: Vega's own parts, which have no names, stay hidden from them.
        panels += f'<div class="panel">{above}{plot}<div aria-hidden="true"></div></div></div>'
    kinds = (Html(f'<a href="figures/{name}.{kind}">{kind.upper()}</a>') for kind in ("png", "pdf"))
    links = f' <span class="files">{" ".join(kinds)}</span>' if files else ""
    title = f'<p class="title">{escape(figure.title)}</p>' if figure.title else ""
    return (
        f'<figure id="{name}">{title}<div class="panels of{min(figure.columns, len(figure.panels))}">{panels}</div>'
        f"<figcaption>{escape(figure.caption)}{links}</figcaption></figure>"
    )


def panel_id(name: str, i: int) -> str:
    return f"{name}-{i}"


def definition_list(pairs: Mapping[str, str]) -> str:
    return "<dl>" + "".join(f"<dt>{escape(k)}</dt><dd>{escape(v)}</dd>" for k, v in pairs.items()) + "</dl>"


def card(title: str, word: str, tone: str, body: str) -> str:
    """tone: good, bad, or open."""
    return f'<article class="card {tone}"><h3>{escape(title)}</h3><p class="word">{escape(word)}</p>{body}</article>'


def code(text: str) -> Html:
    """Text as it was written, spaces and line ends kept."""
    return Html(f"<code>{escape(text)}</code>")


def hyperlink(address: str, text: str) -> Html:
    return Html(f'<a href="{escape(address)}">{escape(text)}</a>')


def line_swatch(place: tuple[int, int]) -> Html:
    """A piece of a line as the figures draw it, from the numbers of its colour and of its dash."""
    dashes = " ".join(map(str, dash_of(place[1])))
    stroke = f'stroke="{colour_of(place[0])}" stroke-width="3" stroke-dasharray="{dashes}"'
    return Html(f'<svg width="36" height="10" aria-hidden="true"><line x1="0" x2="36" y1="5" y2="5" {stroke}/></svg>')
