"""A study tells optuna-dashboard about itself: a figure of each endpoint's AP, a note on the best trial."""

import json
import logging
import sys
from pathlib import Path

import optuna
import pytest
from optuna_dashboard import get_note, save_note
from optuna_dashboard._custom_plot_data import get_plotly_graph_objects

from milbench import cards
from milbench.files import hold_lock
from milbench.tasks import EUOS25
from milbench.training.cross_validation import MILCrossValidator
from milbench.training.study import MILStudyRunner
from runs import cv_run, level, scripted, small_cv

DATA = small_cv(2)


def study_of(folder: Path) -> optuna.Study:
    return optuna.load_study(study_name="milbench", storage=f"sqlite:///{folder / 'study.db'}")


def run(folder: Path, *scores: float, trials: int) -> optuna.Study:
    with scripted([level(score, score, epochs=3) for score in scores]):
        MILStudyRunner(MILCrossValidator(DATA, cv_run(trials=trials)), folder).run()
    return study_of(folder)


def figures(study: optuna.Study) -> dict[str, dict]:
    found = get_plotly_graph_objects(study._storage.get_study_system_attrs(study._study_id))
    return {name: json.loads(figure) for name, figure in found.items()}


def test_the_note_says_which_trial_is_best_with_its_folds_and_parameters(tmp_path: Path) -> None:
    study = run(tmp_path, 0.5, 0.8, 0.6, trials=3)
    note = get_note(study)
    assert "## Best trial: 1, score 0.800" in note
    assert "| endpoint | mean AP | fold 1 | fold 2 |\n| --- | --- | --- | --- |" in note
    assert "| Transmittance_450 | 0.800 | 0.800 | 0.800 |" in note
    assert f"| lam_floor | {study.best_params['lam_floor']:.3f} |" in note


def test_the_figure_has_every_endpoint_and_trial_and_is_overwritten_not_piled_up(tmp_path: Path) -> None:
    study = run(tmp_path, 0.5, 0.8, trials=2)
    assert set(figures(study)) == {cards.FIGURE_ID}
    study = run(tmp_path, 0.6, trials=3)
    figure = figures(study)[cards.FIGURE_ID]
    assert [trace["name"] for trace in figure["data"]] == list(EUOS25.names)
    assert get_note(study).count("Best trial") == 1


def test_what_people_wrote_beside_the_note_stays(tmp_path: Path) -> None:
    study = run(tmp_path, 0.5, trials=1)
    save_note(study, f"{get_note(study)}\n\nMy own remark.")
    study = run(tmp_path, 0.9, trials=2)
    note = get_note(study)
    assert note.endswith("My own remark.")
    assert "## Best trial: 1, score 0.900" in note
    assert note.count("Best trial") == 1


def test_without_a_complete_trial_there_is_no_card(tmp_path: Path) -> None:
    runner = MILStudyRunner(MILCrossValidator(DATA, cv_run()), tmp_path)
    study = runner.open()
    cards.write_cards(study, EUOS25.names, tmp_path)
    assert get_note(study) == ""


def test_while_another_worker_writes_the_cards_this_one_goes_on(tmp_path: Path) -> None:
    study = run(tmp_path, 0.5, trials=1)
    before = get_note(study)
    with hold_lock(tmp_path / "cards.lock"):
        cards.write_cards(study, EUOS25.names, tmp_path)
    assert get_note(study_of(tmp_path)) == before


def test_a_study_without_the_dashboard_runs_and_says_so_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "optuna_dashboard", None)
    monkeypatch.setattr(cards, "_said", set())
    with caplog.at_level(logging.INFO, logger="milbench.cards"):
        study = run(tmp_path, 0.5, 0.6, trials=2)
    assert study.best_value == pytest.approx(0.6)
    assert [record.getMessage() for record in caplog.records if record.name == "milbench.cards"] == [
        "no cards for optuna-dashboard: optuna_dashboard is not installed (pip install 'milbench[apps]')"
    ]
