"""The workspace, the server and the browser of the app tests. Chromium and its flags are in `workbench.py`."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from workbench import TOAST, Complaints, Workbench, chromium, make_workspace, start_workbench


@pytest.fixture(scope="session")
def demo_workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with a store, a study and a final model, as `make_workspace` makes it. To be read only.

    MILBENCH_TEST_WORKSPACE names one that is kept from session to session (made if it is not there), while you work on an app.
    """
    kept = os.environ.get("MILBENCH_TEST_WORKSPACE")
    if kept is not None:
        if not Path(kept).is_dir():
            make_workspace(Path(kept))
        return Path(kept)
    root = tmp_path_factory.mktemp("workspace") / "runs"
    make_workspace(root)
    return root


@pytest.fixture
def workspace(demo_workspace: Path, tmp_path: Path) -> Path:
    """A copy of it that a test may change."""
    return Path(shutil.copytree(demo_workspace, tmp_path / "runs"))


@pytest.fixture(scope="session")
def shared_workbench(demo_workspace: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workbench]:
    """One server on the workspace that is read only."""
    workbench = start_workbench(demo_workspace, tmp_path_factory.mktemp("serve") / "log.txt")
    yield workbench
    workbench.stop()


@pytest.fixture
def workbench(workspace: Path, tmp_path: Path, browser: Any, complaints: Complaints) -> Iterator[Workbench]:
    """A server of its own on a workspace that may change; its pages are closed before it stops."""
    workbench = start_workbench(workspace, tmp_path / "serve.txt")
    yield workbench
    for page in browser.pages:
        if page.url.startswith(workbench.origin):
            hear_toasts(page, complaints)
            page.close()
    workbench.stop()


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Chromium with an empty profile, 1280 × 800."""
    with chromium(tmp_path_factory.mktemp("profile")) as context:
        yield context


@pytest.fixture
def complaints() -> Complaints:
    """Everything that went wrong in the test's pages."""
    return Complaints()


@pytest.fixture
def page(browser: Any, complaints: Complaints) -> Iterator[Any]:
    """A page of the browser; a cell that raises, an error on its console, a failed request or one elsewhere fails the test."""
    page = browser.new_page()
    complaints.listen(page)
    yield page
    if not page.is_closed():  # as `workbench` does when it goes first
        hear_toasts(page, complaints)
        page.close()
    assert complaints.lines == []


def hear_toasts(page: Any, complaints: Complaints) -> None:
    """Complain of what marimo says of a cell that raised."""
    for toast in page.get_by_text(TOAST).all_inner_texts():
        complaints.add(toast)
