"""What an address names is what a page shows, or the page says that it is not here; a click carries it on."""

import html
import shutil
from pathlib import Path

import marimo as mo
import pytest
from marimo._runtime.control_flow import MarimoStopError

from apps import scoreboard
from milbench import ui
from milbench.address import followed
from milbench.data.curves import best_threshold
from milbench.data.scoreboard import behind
from milbench.errors import ConfigError
from milbench.files import write_json
from milbench.number_ui import Number
from milbench.promote_ui import final_name, next_step, reports
from milbench.run_config import ARTIFACT_PREFIX, FINAL_FOLDER, PREDICTIONS_FILE
from milbench.search_ui import budget_of
from milbench.workspace import ROOT_VARIABLE, WRITABLE_VARIABLE
from results import make_result


def test_what_is_not_here_is_said_and_nothing_else_is_shown_for_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(ui.STATE_VARIABLE, "study=finals/<ghost>")
    with pytest.raises(MarimoStopError) as stopped:
        ui.picker("study", ["demo/study", "mine"], "Study")
    shown = html.unescape(stopped.value.output.text).encode().decode("unicode_escape")
    assert "finals/&lt;ghost&gt; is not here" in shown
    assert 'href="?study=demo%2Fstudy"' in shown
    assert capsys.readouterr().out == "finals/<ghost> is not here\n"


def test_a_choice_within_another_is_said_on_its_label(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ui.STATE_VARIABLE, "endpoint=ghost&curve=ap_one")
    endpoint = ui.picker("endpoint", ["one", "two"], "Endpoint", within=True)
    assert (endpoint.value, "Endpoint (ghost is not here)" in endpoint.text) == ("one", True)
    curve = ui.picker("curve", {"score": "score", "one": "ap_one"}, "Curve", within=True)
    assert (curve.value, "not here" in curve.text) == ("ap_one", False)


def test_an_address_that_names_nothing_begins_with_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ui.STATE_VARIABLE, "")
    assert ui.picker("study", ["demo/study", "mine"], "Study").value == "demo/study"
    monkeypatch.setenv(ui.STATE_VARIABLE, "study=mine")
    assert ui.picker("study", ["demo/study", "mine"], "Study").value == "mine"


TRIALS, SHARE = Number("Trials", 1, 100_000), Number("Threshold", 0, 1, 0.01)


@pytest.mark.parametrize("given", ["-5", "0", "100001", "2.5", "abc", "nan", "inf", "1,000"])
def test_a_number_that_will_not_do_is_said_with_a_way_back_and_never_replaced(
    given: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(ui.STATE_VARIABLE, f"store=demo/store&trials={given}")
    with pytest.raises(MarimoStopError) as stopped:
        TRIALS.field("trials", 50)
    shown = html.unescape(html.unescape(stopped.value.output.text)).encode().decode("unicode_escape")
    said = f"Trials: got '{given}', want a whole number from 1 to 100,000"
    assert said in shown and 'href="?store=demo%2Fstore&trials=50"' in shown
    assert capsys.readouterr().out == f"{said}\n"


def test_a_number_of_the_address_is_the_controls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ui.STATE_VARIABLE, "trials=7&threshold=0.9")
    assert (TRIALS.field("trials", 50).value, SHARE.slider("threshold", 0.5).value) == (7, 0.9)
    monkeypatch.setenv(ui.STATE_VARIABLE, "")
    assert (TRIALS.field("trials", 50).value, SHARE.slider("threshold", 0.5).value) == (50, 0.5)
    monkeypatch.setenv(ui.STATE_VARIABLE, "threshold=1.01")
    with pytest.raises(MarimoStopError):
        SHARE.slider("threshold", 0.5)


def test_what_is_typed_is_judged_beside_its_field_and_by_the_plan() -> None:
    assert "alert" not in TRIALS.beside(mo.ui.number(value=7)).text
    for typed, got in ((-5, "got -5, "), (2.5, "got 2.5, "), (None, "")):
        assert f"Trials: {got}want a whole number" in TRIALS.beside(mo.ui.number(value=typed)).text
        with pytest.raises(ConfigError, match=f"Trials: {got}want a whole number from 1 to 100,000"):
            budget_of({"trials": typed, "precision": "32-true"})
    assert budget_of({"trials": 7.0, "precision": "32-true"}) == {"trials": 7, "precision": "32-true"}


def test_a_click_in_the_navigation_carries_what_its_page_shows_by_now() -> None:
    page = "http://127.0.0.1:2718/apps/attention/?run=finals%2Fa&store=demo%2Fstore&molecule=m7"
    assert followed("run=old&study=s&nav=1", page) == "run=finals%2Fa&study=s&store=demo%2Fstore"
    assert followed("run=old&nav=1", "") == "run=old"
    assert followed("nav=1", "http://127.0.0.1:2718/dashboard?run=x") == ""
    assert followed("run=old", page) is None


def test_a_threshold_is_of_the_run_it_was_chosen_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ui.STATE_VARIABLE, "run=a&threshold=0.9")
    assert (ui.moved(run="a", part="out of fold"), ui.moved(run="b", part="out of fold")) == (False, True)
    a = behind(make_result())
    endpoint, best = mo.ui.dropdown(["one"], value="one"), round(best_threshold(a.cuts["one"]), 3)
    monkeypatch.setenv(ui.STATE_VARIABLE, "endpoint=one&threshold=0.9")
    started = [scoreboard.choose_threshold.run(endpoint=endpoint, found=a, moved=moved)[1] for moved in (False, True)]
    assert [names["threshold"].value for names in started] == [0.9, best]


def test_optuna_is_read_only_and_its_link_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(WRITABLE_VARIABLE, raising=False)
    assert ">Optuna (read-only)<" in ui.header("home").text
    monkeypatch.setenv(WRITABLE_VARIABLE, "1")
    assert ">Optuna<" in ui.header("home").text


def test_after_a_study_comes_its_final_model_and_then_what_that_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ROOT_VARIABLE, str(tmp_path))
    assert next_step("mine/study", None) == ""
    assert "Next: train the final model" in next_step("mine/study", 2)
    own = tmp_path / "mine/study"
    (own / FINAL_FOLDER).mkdir(parents=True)
    write_json(own / FINAL_FOLDER / "leaderboard_eval.json", {})
    write_json(own / f"{ARTIFACT_PREFIX}_best_params.json", {"best_trial": 1})
    assert "run=mine%2Fstudy" in next_step("mine/study", 1)
    assert "Next: train the final model" in next_step("mine/study", 2)  # the study's own model is of an older best trial
    before = reports(tmp_path, "mine/study")
    shutil.copytree(own / FINAL_FOLDER, tmp_path / final_name("mine/study", 2) / FINAL_FOLDER)
    assert "attention/?run=finals%2Fmine-study-trial2" in next_step("mine/study", 2)
    assert "scoreboard" not in next_step("mine/study", 2)  # no molecules were set apart to score it on
    (tmp_path / final_name("mine/study", 2) / FINAL_FOLDER / PREDICTIONS_FILE).touch()
    assert "scoreboard/?run=finals%2Fmine-study-trial2" in next_step("mine/study", 2)
    assert reports(tmp_path, "mine/study") != before
