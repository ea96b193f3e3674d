"""Every notebook runs from top to bottom on a small demo, and is kept without outputs."""

import os
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from workbench import make_workspace

NOTEBOOKS = sorted((Path(__file__).parent.parent / "notebooks").glob("*.ipynb"))
by_name = pytest.mark.parametrize("path", NOTEBOOKS, ids=[path.stem for path in NOTEBOOKS])


@by_name
def test_a_notebook_is_short_and_kept_without_outputs(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    assert 5 <= len(notebook.cells) < 20
    for cell in notebook.cells:
        assert cell.cell_type != "code" or (not cell.outputs and cell.execution_count is None)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with the demo of 60 molecules."""
    kept = os.environ.get("MILBENCH_TEST_WORKSPACE")
    if kept is not None and Path(kept).is_dir():
        return Path(kept)
    found = tmp_path_factory.mktemp("notebooks") / "runs"
    make_workspace(found)
    return found


@pytest.mark.slow
@by_name
def test_a_notebook_runs_from_top_to_bottom(path: Path, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MILBENCH_ROOT", str(root))
    monkeypatch.setenv("PYTHONWARNINGS", "ignore")
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, timeout=240, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}).execute()
