"""What an address names is what a page shows, or the page says that it is not here."""

import html

import pytest
from marimo._runtime.control_flow import MarimoStopError

from milbench import ui


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
