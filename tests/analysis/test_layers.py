"""The folders of the analysis form layers, and imports run one way through them."""

from pathlib import Path

import pytest

from tests.test_imports import ROOT, imports

LAYERS = ("data", "stats", "verdict", "transfer", "report", "calibration")
ALLOWED = {
    "data": {"data"},
    "stats": {"data", "stats"},
    "verdict": {"data", "stats", "verdict"},
    "transfer": {"data", "stats", "transfer"},
    "report": {"data", "stats", "verdict", "transfer", "report"},
    "calibration": set(LAYERS),
}
ANALYSIS = ROOT / "harness" / "analysis"


@pytest.mark.parametrize("layer", LAYERS)
def test_a_layer_imports_only_itself_and_what_lies_below(layer: str) -> None:
    used = {
        name.split(".")[2] for path in files(layer) for name in imports(path) if name.startswith("harness.analysis.")
    }
    assert used <= ALLOWED[layer]


def test_every_file_of_the_analysis_lies_in_a_layer_or_opens_them() -> None:
    assert {path.name for path in ANALYSIS.glob("*.py")} == {"__init__.py", "analysis.py", "command.py"}
    assert {path.name for path in ANALYSIS.iterdir() if path.is_dir() and path.name != "__pycache__"} == set(LAYERS)


def files(layer: str) -> list[Path]:
    found = sorted((ANALYSIS / layer).glob("*.py"))
    assert found
    return found
