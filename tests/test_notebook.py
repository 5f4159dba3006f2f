"""The notebook, executed as it is."""

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NOTEBOOK = ROOT / "notebooks" / "anchoredit.ipynb"


def test_the_notebook_is_kept_without_outputs():
    nbformat = pytest.importorskip("nbformat")
    book = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(book)
    codes = [cell for cell in book.cells if cell.cell_type == "code"]
    assert len(codes) > 5
    assert all(not cell.outputs and cell.execution_count is None for cell in codes)


@pytest.mark.slow
def test_the_notebook_edits_looks_into_the_memory_trains_and_plots(
    tmp_path, monkeypatch
):
    nbclient = pytest.importorskip("nbclient")
    nbformat = pytest.importorskip("nbformat")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setenv("XLA_FLAGS", "")
    book = nbformat.read(NOTEBOOK, as_version=4)
    run = nbclient.NotebookClient(
        book, timeout=3000, resources={"metadata": {"path": str(NOTEBOOK.parent)}}
    )
    run.execute()
    shown = [
        sum("image/png" in output.get("data", {}) for output in cell.get("outputs", []))
        for cell in book.cells
    ]
    # Two sheets, three readings, one plot of all; the losses, and a sheet of one edit.
    assert [pictures for pictures in shown if pictures] == [1, 1, 3, 1, 1, 1]
