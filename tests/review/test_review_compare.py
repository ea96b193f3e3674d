"""Importance, two trials side by side, notes, promotion."""

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pandas as pd
import pytest

from milbench.configs import HPOConfig
from milbench.errors import DataError, StudyError
from milbench.pipeline import MILPipelineOrchestrator, PipelineConfigFactory, PipelineEnvironmentFactory
from milbench.review.compare import compare
from milbench.review.importance import LEAST, importance
from milbench.review.notes import read_notes, write_note
from milbench.review.promote import promotion, study_config
from milbench.review.study import StudyView
from milbench.run_config import PipelineConfig
from milbench.tasks import EUOS25
from milbench.trial_tables import params_table, rows, trials_table
from runs import PINS


def view_of(study: optuna.Study, tasks: tuple[str, ...] = ()) -> StudyView:
    """A study whose scores are all that is known."""
    trials = study.get_trials()
    nothing = pd.DataFrame({"trial": [], "fold": [], "epoch": []})
    return StudyView(
        Path(), tasks, {"max_epochs": 3}, trials_table(trials, tasks, 3), params_table(trials), nothing, nothing, tuple(trials)
    )


def searched(n: int, value: Any) -> StudyView:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(seed=0))
    study.optimize(
        lambda trial: value(
            trial.suggest_float("x", 0, 1), trial.suggest_categorical("c", ["a", "b"]), trial.suggest_float("idle", 0, 1)
        ),
        n,
    )
    return view_of(study)


def test_the_parameter_that_decides_is_the_most_important_and_the_others_are_told_from_it() -> None:
    table = importance(searched(60, lambda x, c, idle: x)).set_index("parameter")
    assert table.index[0] == "x"
    assert table.loc["x", "importance"] > 3 * table.loc["x", "chance"]
    assert (table.loc[["c", "idle"], "importance"] < 0.15).all()
    assert table["importance"].sum() == pytest.approx(1)


def test_importance_looks_for_high_targets() -> None:
    low = importance(searched(60, lambda x, c, idle: -x))
    assert low["parameter"][0] == "x"
    halves = importance(searched(60, lambda x, c, idle: max(x - 0.5, 0) + (c == "a") * 0.01))
    assert halves["parameter"][0] == "x"


def test_where_nothing_decides_hardly_anything_passes_its_chance_mark() -> None:
    rng = np.random.default_rng(0)
    tables = [importance(searched(40, lambda x, c, idle: rng.random())) for _ in range(6)]
    passed = sum(int((table["importance"] > table["chance"]).sum()) for table in tables)
    assert passed <= 4


def test_too_few_trials_have_no_importance() -> None:
    assert importance(searched(LEAST - 1, lambda x, c, idle: x)).empty


def test_importance_for_an_endpoint_is_for_its_own_ap() -> None:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(seed=0))

    def objective(trial: optuna.Trial) -> float:
        x, z = trial.suggest_float("x", 0, 1), trial.suggest_float("z", 0, 1)
        trial.set_user_attr("ap_a", x)
        trial.set_user_attr("ap_b", z)
        return x

    study.optimize(objective, 40)
    view = view_of(study, ("a", "b"))
    foremost = [importance(view, target)["parameter"][0] for target in ("value", "ap_a", "ap_b")]
    assert foremost == ["x", "x", "z"]


def test_only_what_differs_is_listed_with_its_meaning(view: StudyView) -> None:
    one, other = view.complete["number"].tolist()[:2]
    found = compare(view, one, other).parameters
    a, b = view.searched(one), view.searched(other)
    assert found["parameter"].tolist() == [name for name in a if a[name] != b[name]]
    assert found["first"].tolist() == [a[name] for name in found["parameter"]]
    assert (
        dict(zip(found["parameter"], found["meaning"], strict=True))["lam_floor"] == "lower bound of a normalised task weight"
    )
    assert compare(view, one, one).parameters.empty


def test_differences_are_paired_fold_by_fold(view: StudyView) -> None:
    one, other = view.complete["number"].tolist()[:2]
    table = compare(view, one, other).scores.set_index("figure")
    a, b = (rows(view.folds, trial=number)["ap_Transmittance_450"].to_numpy() for number in (one, other))
    row = table.loc["Transmittance_450"]
    assert row["difference"] == pytest.approx((b - a).mean())
    assert row["difference_sd"] == pytest.approx((b - a).std(ddof=1))
    assert (row["better"], row["folds"]) == ((b > a).sum(), 2)
    assert table.loc["score", "first"] == pytest.approx(rows(view.trials, number=one)["value"].iloc[0])


def test_a_pruned_trial_is_compared_on_the_folds_it_finished(view: StudyView) -> None:
    pruned = rows(view.trials, state="pruned").iloc[0]
    table = compare(view, view.complete["number"].iloc[0], pruned["number"]).scores
    assert (table["folds"] == pruned["folds"]).all()


def test_comparing_with_a_trial_that_is_not_there_is_one_line(view: StudyView) -> None:
    with pytest.raises(StudyError, match="has no trial 99; choose one of its table"):
        compare(view, 0, 99)


def test_notes_are_kept_changed_and_dropped(tmp_path: Path) -> None:
    assert read_notes(tmp_path) == {}
    write_note(tmp_path, 7, "  overfits after epoch 5 ")
    assert write_note(tmp_path, "study", "second attempt") == {"7": "overfits after epoch 5", "study": "second attempt"}
    assert write_note(tmp_path, 7, "") == read_notes(tmp_path) == {"study": "second attempt"}
    (tmp_path / "notes.json").write_text("[1]")
    with pytest.raises(DataError, match=r"notes\.json: is not a file of notes; move it away"):
        read_notes(tmp_path)


def test_a_promoted_trial_is_the_whole_configuration_of_that_trial(view: StudyView, tmp_path: Path) -> None:
    number = int(view.complete["number"].iloc[-1])
    made = promotion(view, number, tmp_path / "final")
    config = HPOConfig.from_params(made.params, EUOS25)
    flat = config.to_params(EUOS25)
    assert {name: flat[name] for name in view.searched(number)} == view.searched(number)
    assert {name: flat[name] for name in PINS} == PINS
    assert made.params["best_trial"] == number


def test_the_promotion_command_trains_on_the_studys_data_and_settings(view: StudyView, study_dir: Path, tmp_path: Path) -> None:
    made = promotion(view, 0, tmp_path / "final")
    assert made.command[0] == "run"
    parsed = PipelineConfigFactory().parse(made.command[1:])
    asked = study_config(study_dir)
    assert parsed.study_dir == tmp_path / "final"
    assert (parsed.store, parsed.max_epochs, parsed.folds, parsed.min_w) == (asked.store, 3, 2, asked.min_w)
    assert not parsed.run_hpo
    assert not parsed.fix
    made.prepare()
    made.prepare()  # the same again is no harm
    with pytest.raises(StudyError, match="holds another run; choose another name"):
        promotion(view, 1, tmp_path / "final").prepare()


def test_a_final_run_in_the_studys_folder_changes_nothing_of_a_promotion(
    view: StudyView, study_dir: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "study"
    shutil.copytree(study_dir, folder)
    asked = study_config(folder)
    MILPipelineOrchestrator(PipelineConfig(study_dir=folder, store=asked.store, max_epochs=1, nn_accelerator="cpu")).run()
    assert json.loads((folder / "run_meta.json").read_text())["arguments"]["fix"] == []
    assert study_config(folder) == asked
    here = dataclasses.replace(view, folder=folder)
    assert promotion(here, 0, tmp_path / "final") == promotion(view, 0, tmp_path / "final")


def test_what_is_of_the_search_alone_is_left_out_of_a_promotion(view: StudyView, study_dir: Path, tmp_path: Path) -> None:
    folder = tmp_path / "study"
    shutil.copytree(study_dir, folder)
    meta = json.loads((folder / "run_meta.json").read_text())
    meta["search"]["arguments"] |= {"workers": 2, "enqueue": "trials.json", "fold_models": True, "storage": "journal:x"}
    (folder / "run_meta.json").write_text(json.dumps(meta))
    made = promotion(dataclasses.replace(view, folder=folder), 0, tmp_path / "final")
    made.prepare()
    assert PipelineEnvironmentFactory(PipelineConfigFactory().parse(made.command[1:])).create().run.pins == {}
    assert not made.config.fold_models


def test_a_folder_in_which_nothing_was_searched_cannot_be_promoted_from(study_dir: Path, tmp_path: Path) -> None:
    meta = json.loads((study_dir / "run_meta.json").read_text())
    del meta["search"]
    meta["arguments"]["run_hpo"] = False
    (tmp_path / "run_meta.json").write_text(json.dumps(meta))
    with pytest.raises(DataError, match="does not say how it was searched; run its search again"):
        study_config(tmp_path)


def test_a_study_whose_data_are_gone_cannot_be_promoted(view: StudyView, study_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"does not say what it was run on"):
        study_config(tmp_path)
    meta = (study_dir / "run_meta.json").read_text()
    (tmp_path / "run_meta.json").write_text(meta.replace("/store", "/gone"))
    with pytest.raises(DataError, match="is not there any more"):
        study_config(tmp_path)
