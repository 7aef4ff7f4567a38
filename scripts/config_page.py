"""Makes docs/reference/configs.md, every setting with its default, from configs/ and the types of the configuration:

python scripts/config_page.py
"""

import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, get_type_hints

ROOT = Path(__file__).resolve().parent.parent
CONFIGS, PAGE = ROOT / "configs", ROOT / "docs" / "reference" / "configs.md"
HEAD = """# Settings

Made by `python scripts/config_page.py` from `configs/`. Every setting is an override, `optim.lr=1e-4`; a group takes a
choice, `algo=grpo`. `python scripts/train.py --cfg job` prints a whole configuration, `--help` a command's settings.
"""
LINE = re.compile(r"^( *)([\w.*-]+):(?: +(?!#)(.*?))?(?: +# (.*))?$")


def cell(text: str) -> str:
    """Text that ends no cell of a table."""
    return text.replace("|", "\\|")


class Setting(NamedTuple):
    name: str
    default: str
    meaning: str


def settings(text: str) -> Iterator[Setting]:
    """The keys of a YAML file with value and comment, dotted below their sections; the list of defaults is left out."""
    above: list[tuple[int, str]] = []
    for line in text.splitlines():
        found = LINE.match(line)
        if not found or found[2] == "defaults":
            continue
        depth, name, value, meaning = len(found[1]), found[2], found[3], found[4] or ""
        above = [each for each in above if each[0] < depth]
        if value is not None or meaning:
            yield Setting(".".join([*(key for _, key in above), name]), cell(value or ""), cell(meaning))
        if value is None:
            above.append((depth, name))


def table(found: list[Setting], prefix: str = "") -> list[str]:
    """A Markdown table of settings; none for none."""
    if not found:
        return []
    rows = (
        f"| `{prefix}{name}` | {f'`{default}`' if default else ''} | {meaning} |" for name, default, meaning in found
    )
    return ["| setting | default | meaning |", "|---|---|---|", *rows, ""]


def group_section(group: str, default: str) -> Iterator[str]:
    """A group: what its type says, the settings of its default, and the choices with what only they have."""
    from harness.config.schema import Config

    files = {path.stem: path.read_text() for path in sorted((CONFIGS / group).glob("*.yaml"))}
    common = list(settings(files[default]))
    yield from (f"## {group}", "")
    described = get_type_hints(Config)[group]
    if inspect.isclass(described) and described.__doc__:
        yield from (" ".join((inspect.getdoc(described) or "").split()), "")
    yield from table(common, f"{group}.")
    yield from (f"| `{group}=` | |", "|---|---|")
    for name, text in files.items():
        own = [f"`{each.name}`" for each in settings(text) if each.name not in {one.name for one in common}]
        more = f" Its own settings: {', '.join(own)}." if own else ""
        yield f"| {name}{' (default)' * (name == default)} | {comment(text)}{more} |"
    yield ""


def comment(text: str) -> str:
    """The comment that a file begins with."""
    lines = [line for line in text.splitlines() if not line.startswith("# @package")]
    first = next((number for number, line in enumerate(lines) if not line.startswith("#")), len(lines))
    return " ".join(line.removeprefix("# ") for line in lines[:first])


def config_page() -> str:
    """The Markdown page."""
    from harness.commands.main import COMMANDS

    train = (CONFIGS / "train.yaml").read_text()
    groups = re.findall(r"^  - (\w+): (\w+)$", train, re.M)
    lines = [HEAD, "## One run", "", *table(list(settings(train)))]
    for group, default in groups:
        lines += group_section(group, default)
    for command in list(COMMANDS)[1:]:  # the first is train, above
        text = (CONFIGS / f"{command}.yaml").read_text()
        lines += [f"## Command `{command}`", "", comment(text), "", *table(list(settings(text)))]
    return "\n".join(lines).rstrip() + "\n"


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    PAGE.write_text(config_page())
    print(PAGE.relative_to(ROOT))
