"""Finds the commands in the Markdown pages: shell blocks, indented blocks and inline code.

A block after a line `<!-- not run: REASON -->` is left out. Tokens with an ellipsis stand for what a reader adds.
"""

import re
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

PROGRAMS = ("python", "bash", "torchrun", "rl-scaling")
# Lines of shell blocks that set up or change the reader's machine.
INSTALLATION = ("pip install", "uv ", "source .venv/bin/activate", "wandb login", "git clone", "pre-commit install")
SKIPPED = re.compile(r"<!-- not run: \S.* -->\s*$")
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.M | re.S)
INDENTED = re.compile(r"(?<=\n\n)(?: {4}.*\n)+")
INLINE = re.compile(r"`([^`]+)`")


@dataclass(frozen=True)
class Command:
    """Text as in the page, its words as bash passes them on, the Python blocks of the page, and the files that the page
    gives whole: path -> content."""

    page: str
    text: str
    words: tuple[str, ...]
    python: tuple[str, ...] = ()
    files: Mapping[str, str] = field(default_factory=dict, hash=False)

    @property
    def program(self) -> str:
        """The script, module, or shell script that it starts."""
        return next((w for w in self.words[1:] if re.match(r"[\w./]+$", w) and not w.isdigit()), "")

    @property
    def arguments(self) -> list[str]:
        return list(self.words[self.words.index(self.program) + 1 :])


def words_of(text: str) -> tuple[str, ...]:
    """The words after bash's quoting and expansions."""
    listed = subprocess.run(["bash", "-c", f"printf '%s\\0' {text}"], capture_output=True, text=True, check=True)
    return tuple(listed.stdout.split("\0")[:-1])


def lines_of(block: str) -> Iterator[str]:
    """The commands of a shell block: continued lines joined, comments and installation left out."""
    for line in re.sub(r"\\\n\s*", "", block).splitlines():
        line = re.sub(r"(^|\s)#.*$", "", line).strip()
        if line and not line.startswith(INSTALLATION):
            yield line


def texts_of(page: str) -> Iterator[str]:
    """Each command of a page, in the order: shell blocks, indented blocks, inline code."""
    prose = page
    for found in FENCE.finditer(page):
        prose = prose.replace(found[0], "")
        if found[1] in ("bash", "sh", "shell") and not SKIPPED.search(page[: found.start()]):
            yield from lines_of(found[2])
    for found in INDENTED.finditer(prose):
        if not SKIPPED.search(prose[: found.start()]):
            yield from (line for line in lines_of(found[0]) if line.split()[0] in PROGRAMS)
    for found in INLINE.finditer(prose):
        text = " ".join(word for word in found[1].split() if "…" not in word)
        if text.split()[:1] and text.split()[0] in PROGRAMS and " " in text:
            yield text


def files_of(page: str) -> dict[str, str]:
    """The blocks of a page, whole as pasted, whose first comment (behind Hydra's `@package`) is their path."""
    named = ((re.match(r"(?:# @.*\n)?# (\S+\.(?:py|yaml))\n", block[2]), block[2]) for block in FENCE.finditer(page))
    return {found[1]: text for found, text in named if found}


def write_files(files: Mapping[str, str], folder: Path) -> None:
    """Those of `files_of`, under the folder."""
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def pages(root: Path) -> list[Path]:
    return [root / "README.md", root / "CONTRIBUTING.md", *sorted((root / "docs").rglob("*.md"))]


def commands(root: Path) -> list[Command]:
    """All commands of the pages, each once."""
    found: dict[str, Command] = {}
    for path in pages(root):
        page = path.read_text()
        python = tuple(block[2] for block in FENCE.finditer(page) if block[1] == "python")
        for text in texts_of(page):
            name = str(path.relative_to(root))
            found.setdefault(text, Command(name, text, words_of(text), python, files_of(page)))
    return list(found.values())
