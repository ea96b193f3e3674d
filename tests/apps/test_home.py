"""The home app in a browser."""

from typing import Any

import pytest
from playwright.sync_api import expect

from workbench import STORE, STUDY, Workbench, cell, open_app

pytestmark = pytest.mark.app


def test_home_shows_data_study_and_final_model(page: Any, shared_workbench: Workbench) -> None:
    open_app(page, shared_workbench, "home")
    expect(cell(page, "data_sets")).to_contain_text(STORE)
    expect(cell(page, "studies")).to_contain_text("3 of 3 trials")
    expect(cell(page, "final_models")).to_contain_text(STUDY)
