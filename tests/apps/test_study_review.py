"""The study app in a browser: select trials, compare them, read curves, keep a note, promote a trial."""

import re
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState, create_trial
from playwright.sync_api import expect

from milbench.review.notes import read_notes
from milbench.storage_url import STUDY_NAME
from milbench.workspace import study_url
from workbench import STUDY, Complaints, Workbench, cell, open_app

pytestmark = pytest.mark.app


def look_at(page: Any, tab: str) -> None:
    page.get_by_role("radio", name=tab).click()


def test_a_study_is_shown_with_its_best_trial_selected_and_its_folds(page: Any, shared_workbench: Workbench) -> None:
    open_app(page, shared_workbench, "study_review", study=STUDY)
    expect(cell(page, "glance")).to_contain_text("3 trials (3 complete); best: trial")
    expect(cell(page, "folds")).to_contain_text("Mean ± sd of the folds")
    expect(cell(page, "folds").locator(".js-plotly-plot")).to_have_count(2)
    expect(page).to_have_url(re.compile(r"trials=\d"))


def test_two_ticked_trials_are_compared_and_stay_so_after_a_reload(page: Any, shared_workbench: Workbench) -> None:
    open_app(page, shared_workbench, "study_review", study=STUDY, trials="0,2", tab="Two trials")
    for _ in range(2):
        expect(cell(page, "two_trials")).to_contain_text("Difference fold by fold")
        expect(cell(page, "two_trials")).to_contain_text("of 2")
        expect(cell(page, "two_trials")).to_contain_text("lower bound of a normalised task weight")
        page.reload()
    checkboxes = cell(page, "trial_table").get_by_role("checkbox", checked=True)
    checkboxes.last.click()
    expect(cell(page, "two_trials")).to_contain_text("Tick two trials above.")


def test_the_dashboard_shows_the_selected_trial_inside_the_app(page: Any, shared_workbench: Workbench) -> None:
    open_app(page, shared_workbench, "study_review", study=STUDY, trials="1", tab="Optuna")
    expect(page.frame_locator("iframe").get_by_text("Trial 1 (")).to_be_visible()


def test_parameters_say_how_many_trials_importance_needs_and_show_slices(page: Any, shared_workbench: Workbench) -> None:
    open_app(page, shared_workbench, "study_review", study=STUDY, tab="Parameters")
    expect(cell(page, "what_mattered")).to_contain_text("3 complete trials; importance needs 10.")
    expect(cell(page, "slice_figures").locator(".js-plotly-plot")).to_have_count(1)


def test_a_note_is_kept_in_the_studys_folder(page: Any, workbench: Workbench) -> None:
    open_app(page, workbench, "study_review", study=STUDY, trials="1", tab="Notes")
    page.get_by_label("Note", exact=True).fill("the first one that works")
    page.get_by_role("button", name="Keep the note").click()
    expect(cell(page, "notes")).to_contain_text("the first one that works")
    assert read_notes(workbench.root / STUDY) == {"study": "the first one that works"}
    page.reload()
    expect(page.get_by_label("Note", exact=True)).to_have_value("the first one that works")  # or Keep would drop it


def test_what_is_typed_stays_while_the_study_goes_on(page: Any, workbench: Workbench) -> None:
    for tab, box, text in (
        ("Notes", page.get_by_label("Note", exact=True), "half a"),
        ("Final model", page.get_by_label("Folder"), "a b"),
    ):
        open_app(page, workbench, "study_review", study=STUDY, trials="1", tab=tab)
        box.fill(text)
        box.blur()
        before = int(re.findall(r"(\d+) trials", cell(page, "glance").inner_text())[0])
        study = optuna.load_study(study_name=STUDY_NAME, storage=study_url(workbench.root / STUDY))
        study.add_trial(create_trial(state=TrialState.FAIL))
        expect(cell(page, "glance")).to_contain_text(f"{before + 1} trials")
        page.wait_for_timeout(6000)  # a tick more
        expect(box).to_have_value(text)
    expect(page.get_by_text("Folder: got 'a b', want letters")).to_be_visible()


def test_back_leaves_the_app_whatever_was_chosen_in_it(page: Any, shared_workbench: Workbench) -> None:
    open_app(page, shared_workbench, "home")
    page.get_by_role("link", name="Study", exact=True).click()
    expect(cell(page, "folds")).to_contain_text("Mean ± sd of the folds")
    look_at(page, "Parameters")
    expect(page).to_have_url(re.compile("tab=Parameters"))
    page.go_back()
    expect(page).to_have_url(re.compile("/apps/home/"))
    expect(cell(page, "studies")).to_contain_text(STUDY)


def test_a_second_window_sees_the_same_live_study_and_has_a_selection_of_its_own(
    page: Any, browser: Any, complaints: Complaints, workbench: Workbench
) -> None:
    other = browser.new_page()
    complaints.listen(other)
    open_app(page, workbench, "study_review", study=STUDY, trials="0")
    open_app(other, workbench, "study_review", study=STUDY, trials="2")
    optuna.load_study(study_name=STUDY_NAME, storage=study_url(workbench.root / STUDY)).add_trial(
        create_trial(state=TrialState.FAIL)
    )
    for window, trial in ((page, "0"), (other, "2")):
        expect(cell(window, "glance")).to_contain_text("4 trials")
        expect(cell(window, "folds")).to_contain_text(f"Trial {trial}")
        expect(window).to_have_url(re.compile(f"trials={trial}(&|$)"))


def test_a_trial_is_promoted_to_a_final_model_of_its_own(page: Any, workbench: Workbench) -> None:
    open_app(page, workbench, "study_review", study=STUDY, trials="1", tab="Final model")
    expect(page.get_by_text("trained once more")).to_be_visible()
    expect(page.get_by_label("Folder")).to_have_value("finals/demo-study-trial1")
    page.get_by_role("button", name="Train trial 1 as a final model").click()
    expect(cell(page, "promoted").locator(".mb-tag")).to_have_text("done", timeout=240_000)
    folder = workbench.root / "finals" / "demo-study-trial1"
    assert (folder / "final_best_train_vs_leaderboard" / "best_model.ckpt").is_file()
    page.reload()
    expect(cell(page, "promoted")).to_contain_text("done")


def test_a_workspace_without_a_study_leads_to_launching_one(page: Any, workbench: Workbench) -> None:
    for found in workbench.root.glob("**/study.db"):
        found.unlink()
    open_app(page, workbench, "study_review")
    expect(page.get_by_text("No study yet.")).to_be_visible()
    expect(page.get_by_role("link", name="Launch one")).to_be_visible()
