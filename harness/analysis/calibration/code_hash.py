"""A hash of the code that judges curves: a calibration holds for the code that it was made with."""

import ast
import hashlib
from collections.abc import Sequence
from pathlib import Path

from harness.analysis.data.options import default_options

ANALYSIS = Path(__file__).parents[1]
JUDGES = (
    "calibration/confusion.py",
    "calibration/simulate.py",
    "data/curves.py",
    "stats/covariance.py",
    "stats/fitting.py",
    "stats/line_tests.py",
    "stats/intervals.py",
    "stats/laws.py",
    "stats/slopes.py",
    "verdict/decide.py",
    "verdict/rules.py",
)
MECHANISM = (  # what finds learning times and exponents of difficulty, and the tables that they are tried on
    "calibration/mechanism.py",
    "calibration/simulate.py",
    "data/crossing.py",
    "data/curves.py",
    "data/difficulty_times.py",
    "stats/contrasts.py",
    "stats/slopes.py",
    "verdict/difficulty.py",
    "verdict/learning_times.py",
)


def code_hash(names: Sequence[str]) -> str:
    """Of some of the files above and the default options; comments, docstrings and layout do not count."""
    digest = hashlib.blake2b(digest_size=16)
    for name in names:
        digest.update(without_docstrings((ANALYSIS / name).read_text()).encode())
    digest.update(repr(default_options()).encode())
    return digest.hexdigest()


def without_docstrings(source: str) -> str:
    """The syntax tree of a module as text, without docstrings."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            node.body = node.body[1:]
    return ast.dump(tree)
