"""The home app in a browser."""

from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from milbench.jobs import state_of, stop
from workbench import STORE, STUDY, Workbench, cell, loaded, log_in, open_app, start_workbench, wait_for

pytestmark = pytest.mark.app


def test_home_shows_data_study_and_final_model(page: Any, shared_workbench: Workbench) -> None:
    open_app(page, shared_workbench, "home")
    expect(cell(page, "data_sets")).to_contain_text(STORE)
    expect(cell(page, "studies")).to_contain_text("3 of 3")
    expect(cell(page, "final_models")).to_contain_text(STUDY)


def test_the_navigation_leads_to_every_app_and_to_the_dashboard_and_back(page: Any, shared_workbench: Workbench) -> None:
    open_app(page, shared_workbench, "home", store=STORE)
    for title in ("Data", "Home"):
        page.get_by_role("navigation", name="Apps").get_by_role("link", name=title, exact=True).click()
        expect(page.get_by_role("heading", level=1)).to_have_text(title)
        expect(page.locator(".mb-nav [aria-current=page]")).to_have_text(title)
        assert "store=demo%2Fstore" in page.url
        loaded(page)
    cell(page, "studies").get_by_role("link", name="in Optuna").click()
    expect(page.get_by_text(STUDY).first).to_be_visible()
    page.get_by_text("Hyperparameter Importance").first.wait_for()
    page.wait_for_load_state("networkidle")


def test_a_first_time_user_makes_the_demo_stops_it_and_goes_on(page: Any, tmp_path: Path) -> None:
    workbench = start_workbench(tmp_path / "runs", tmp_path / "log.txt")
    job = tmp_path / "runs" / "demo" / "job"
    try:
        log_in(page, workbench)
        expect(cell(page, "what_next")).to_contain_text("Nothing is here yet")
        page.get_by_role("button", name="Make the demo").click()
        expect(cell(page, "jobs")).to_contain_text("running")
        wait_for(lambda: state_of(job).total == 600)
        page.reload()
        expect(cell(page, "jobs")).to_contain_text("of 600")
        page.get_by_role("button", name="Stop the demo").click()
        expect(cell(page, "jobs")).to_contain_text("stopped")
        assert state_of(job).state == "stopped"
        page.get_by_role("button", name="Make the demo").click()
        expect(cell(page, "jobs")).to_contain_text("running")
    finally:
        page.close()
        stop(job)
        workbench.stop()


def test_what_appears_while_the_page_is_open_is_shown(page: Any, workbench: Workbench, workspace: Path) -> None:
    open_app(page, workbench, "home")
    expect(cell(page, "studies")).to_contain_text(STUDY)
    (workspace / "demo" / "study").rename(workspace / "demo" / "renamed")
    expect(cell(page, "studies")).to_contain_text("demo/renamed")
    (workspace / "torn").mkdir()
    (workspace / "torn" / "manifest.json").write_text("{")
    expect(cell(page, "problems")).to_contain_text("torn/manifest.json")
