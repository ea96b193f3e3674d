"""Every app in a browser while there is nothing yet, for as long as it takes its ticker to ask for news."""

from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from milbench.address import APPS
from workbench import Complaints, cell, open_app, start_workbench

pytestmark = pytest.mark.app
NEWS_MS = 6500
"""Longer than the slowest ticker, which asks every 5 s."""
SAID = {"data_prep": "No data yet.", "hpo_launch": "No data set yet.", "study_review": "No study yet."}


def test_no_app_fails_in_an_empty_workspace_when_it_asks_for_news(
    page: Any, browser: Any, complaints: Complaints, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    workbench = start_workbench(tmp_path / "empty", tmp_path / "serve.txt")
    pages = {app.name: browser.new_page() for app in APPS}
    for name, shown in pages.items():
        complaints.listen(shown)
        open_app(shown, workbench, name)
    (tmp_path / "mine.csv").write_text("ID,smiles\na,CC\n")  # outside of the workspace, which stays empty
    open_app(page, workbench, "data_prep", source=tmp_path / "mine.csv", name="../evil")
    page.wait_for_timeout(NEWS_MS)
    for name, text in SAID.items():
        expect(pages[name].locator("#App")).to_contain_text(text)
    expect(cell(page, "preparation")).to_contain_text("want letters, digits")
    for shown in [*pages.values(), page]:
        shown.goto("about:blank")
    for shown in pages.values():
        shown.close()
    workbench.stop()
