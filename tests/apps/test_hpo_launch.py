"""The launch app in a browser: knobs and batches, a real study started, watched, reloaded, stopped and gone on with."""

import re
from typing import Any

import pytest
from playwright.sync_api import expect

from milbench.jobs import state_of, stop
from milbench.launch import to_url
from runs import PINS
from workbench import STORE, Workbench, cell, open_app

pytestmark = pytest.mark.app
TINY = to_url({name: str(value) for name, value in PINS.items()})


def test_a_turned_knob_changes_command_batches_and_address(page: Any, shared_workbench: Workbench) -> None:
    open_app(page, shared_workbench, "hpo_launch", store=STORE, folds=2)
    runs = shared_workbench.root.name  # as `milbench serve` was given it
    expect(cell(page, "launch_button")).to_contain_text(f"milbench hpo --store {runs}/{STORE} --study_dir {runs}/search-1")
    expect(cell(page, "preview")).to_contain_text("1 batch of 256")
    page.get_by_label("Any other parameter").fill("batch_size=32")
    page.get_by_label("Any other parameter").press("Tab")
    expect(cell(page, "preview")).to_contain_text("1 batch of 32")
    expect(cell(page, "launch_button")).to_contain_text("--fix batch_size=32")
    expect(page).to_have_url(re.compile("search=batch_size"))
    page.reload()
    expect(cell(page, "preview")).to_contain_text("1 batch of 32")
    cell(page, "search_space").get_by_text("Losses and imbalance").click()
    expect(cell(page, "search_space")).to_contain_text("Transmittance_340: focal exponent")


def test_an_impossible_value_is_one_line_and_nothing_can_be_launched(page: Any, shared_workbench: Workbench) -> None:
    open_app(page, shared_workbench, "hpo_launch", store=STORE, search="lr=7")
    expect(cell(page, "preview")).to_contain_text("lr: lr is out of range, got 7.0")
    expect(page.get_by_role("button", name="Launch the study")).to_be_disabled()


def test_a_number_out_of_range_is_said_beside_its_field_and_nothing_can_be_launched(
    page: Any, shared_workbench: Workbench
) -> None:
    open_app(page, shared_workbench, "hpo_launch", store=STORE, folds=2, trials=3)
    launch, field = (
        page.get_by_role("button", name="Launch the study"),
        page.get_by_role("textbox", name=re.compile(">Trials<")),
    )
    expect(launch).to_be_enabled()
    for typed, got in (("-5", "got -5, "), ("", "")):
        field.fill(typed)
        field.press("Tab")
        said = f"Trials: {got}want a whole number from 1 to 100,000"
        expect(cell(page, "what").get_by_role("alert")).to_have_text(said)
        expect(cell(page, "launch_button")).to_contain_text(said)
        expect(launch).to_be_disabled()
    assert "trials=3" in page.url
    field.fill("7")
    field.press("Tab")
    expect(launch).to_be_enabled()
    expect(cell(page, "launch_button")).to_contain_text("--trials 7")
    expect(cell(page, "what").get_by_role("alert")).to_have_count(0)
    expect(page).to_have_url(re.compile("trials=7"))


def test_a_number_of_the_address_that_is_none_is_refused_with_a_way_back(page: Any, shared_workbench: Workbench) -> None:
    open_app(page, shared_workbench, "hpo_launch", store=STORE, folds="many", trials=3)
    expect(cell(page, "controls")).to_contain_text("Folds: got 'many', want a whole number from 2 to 20")
    expect(page.get_by_role("button", name="Launch the study")).to_have_count(0)
    cell(page, "controls").get_by_role("link", name="5").click()
    expect(cell(page, "launch_button")).to_contain_text("--trials 3")


def test_a_study_is_launched_watched_reloaded_stopped_and_gone_on_with(page: Any, workbench: Workbench) -> None:
    settings = {
        "store": STORE,
        "folds": 2,
        "trials": 4,
        "max_epochs": 30,
        "patience": 30,
        "nn_accelerator": "cpu",
        "search": TINY,
    }
    open_app(page, workbench, "hpo_launch", **settings)
    page.get_by_role("button", name="Launch the study").click()
    folder = workbench.root / "search-1"
    tag = cell(page, "progress").locator(".mb-tag")
    try:
        expect(tag).to_have_text("running", timeout=120_000)
        expect(cell(page, "live").locator(".js-plotly-plot").first).to_be_visible(timeout=120_000)
        page.reload()
        expect(cell(page, "live")).to_contain_text("Trial", timeout=120_000)
        expect(page).to_have_url(re.compile("study=search-1"))
        page.get_by_role("button", name="Stop").click()
        expect(tag).to_have_text("stopped", timeout=120_000)
        assert state_of(folder).state == "stopped"
        page.get_by_role("button", name="Resume").click()
        expect(tag).to_have_text("done", timeout=280_000)
        expect(cell(page, "trial_table")).to_contain_text("complete")
        assert state_of(folder).state == "done"
    finally:
        stop(folder, grace_s=5)


def test_an_epoch_is_timed_as_a_job_and_kept_for_every_budget(workbench: Workbench, page: Any) -> None:
    plan = {"store": STORE, "folds": 2, "nn_accelerator": "cpu", "search": TINY}
    open_app(page, workbench, "hpo_launch", trials=3, **plan)
    page.get_by_role("button", name="Time an epoch").click()
    expect(cell(page, "cost")).to_contain_text("3 trials, one after the other", timeout=120_000)
    open_app(page, workbench, "hpo_launch", trials=7, max_epochs=10, **plan)
    expect(cell(page, "cost")).to_contain_text("7 trials, one after the other")


def test_a_workspace_without_data_leads_to_preparing_them(page: Any, workbench: Workbench) -> None:
    for found in workbench.root.glob("**/manifest.json"):
        found.unlink()
    open_app(page, workbench, "hpo_launch")
    expect(page.get_by_text("No data set yet.")).to_be_visible()
