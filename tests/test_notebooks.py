"""Every notebook runs from top to bottom on the embedded default, holds what it claims, and shows its outputs."""

import nbformat
import pytest
from notebooks_run import FOLDER, executed

NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))


@pytest.mark.quality
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_runs(path, tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    before = nbformat.read(path, as_version=4)
    assert "assert " in "".join(cell.source for cell in before.cells)  # of its claims
    kinds = [[output.output_type for output in cell.get("outputs", [])] for cell in before.cells]
    n_code = sum(cell.cell_type == "code" for cell in before.cells)
    assert sum(map(len, kinds)) >= min(4, n_code - 1)
    text = path.read_text()
    assert "/tmp" not in text
    assert "/home" not in text
    after = executed(path)
    assert [[output.output_type for output in cell.get("outputs", [])] for cell in after.cells] == kinds
