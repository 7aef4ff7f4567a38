"""What mkdocs.yml cannot say: studies stand under Results, and links to files outside docs/ become their paths."""

import re
from pathlib import Path, PurePosixPath
from typing import Any

LINK = re.compile(r"(?<!!)\[([^\]]+)\]\(([^)#:]+)\)")


def on_config(config: Any) -> Any:
    """Adds the studies of docs/results to the navigation."""
    folder = Path(config.docs_dir)
    pages = [folder / "results/README.md", *sorted(folder.glob("results/*/README.md"))]
    config.nav.append({"Results": [str(page.relative_to(folder)) for page in pages]})
    return config


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Text of links to files outside docs/, which the site does not hold: their path in the repository."""
    return LINK.sub(lambda link: inside_docs(link, PurePosixPath(page.file.src_uri).parent), markdown)


def on_post_build(config: Any) -> None:
    """The page of claims, which is HTML already, links to pages of the site."""
    atlas = Path(config.site_dir) / "results/atlas.html"
    atlas.write_text(atlas.read_text().replace('README.md"', 'index.html"'))


def inside_docs(link: re.Match[str], folder: PurePosixPath) -> str:
    """The link as it is, or `path` in code for a target above docs/."""
    parts: list[str] = ["docs"]
    for part in (folder / link[2]).parts:
        if part == "..":
            parts.pop()
        else:
            parts.append(part)
    return link[0] if parts[0] == "docs" else f"`{'/'.join(parts)}`"
