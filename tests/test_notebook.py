"""examples/first_study.ipynb runs from top to bottom on the outputs of a study."""

import ast
from pathlib import Path

import pytest

from harness.study.tables import write_tables
from tests.study.test_expand_and_tables import launched, study

ROOT = Path(__file__).parent.parent
nbformat = pytest.importorskip("nbformat", reason="extra `dev`")
NOTEBOOK = nbformat.read(ROOT / "examples/first_study.ipynb", as_version=4)


def test_the_notebook_is_committed_without_outputs_and_its_cells_are_python():
    cells = [cell for cell in NOTEBOOK.cells if cell.cell_type == "code"]
    assert [cell.outputs for cell in cells] == [[]] * len(cells)
    assert all(ast.parse(cell.source) for cell in cells)


@pytest.mark.slow
def test_the_notebook_runs_on_a_study_and_shows_its_tables_and_figures(tmp_path, monkeypatch):
    from nbclient import NotebookClient

    found = study(tmp_path / "outputs", name="quickstart")
    launched(found)
    write_tables(found)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    notebook = NotebookClient(NOTEBOOK, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    shown = [output.get("data", {}) for cell in notebook.cells for output in cell.get("outputs", [])]
    assert sum("text/html" in data for data in shown) >= 3
    assert sum("image/png" in data for data in shown) == 3
