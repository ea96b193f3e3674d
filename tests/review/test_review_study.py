"""A study read into tables says what the study recorded, and reading disturbs nothing."""

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import optuna
import pandas as pd
import pytest
from optuna.trial import TrialState
from reviewed import TRIALS

from milbench.errors import DataError, StudyError
from milbench.files import append_json
from milbench.review.epochs import epochs_of, epochs_table
from milbench.review.study import StudyView, pruning_points, read_study, shown_trials
from milbench.tasks import EUOS25
from milbench.trial_tables import rows
from runs import trials_of


def test_every_trial_fold_and_epoch_of_the_study_is_in_its_table(view: StudyView, study_dir: Path) -> None:
    trials = trials_of(study_dir)
    assert len(view.trials) == len(trials) == TRIALS
    assert view.counts().keys() == {"complete", "pruned"}
    assert len(view.curves) == sum(len(trial.intermediate_values) for trial in trials)
    assert len(view.folds) == sum(f"fold_{k}_score" in trial.user_attrs for trial in trials for k in range(2))
    for trial in trials:
        row = rows(view.trials, number=trial.number).iloc[0]
        assert row["state"] == trial.state.name.lower()
        assert view.searched(trial.number) == trial.params
        assert view.params.loc[trial.number, "lam_floor"] == trial.params["lam_floor"]
        for fold in rows(view.folds, trial=trial.number).to_dict("records"):
            assert fold["score"] == trial.user_attrs[f"fold_{fold['fold']}_score"]
            assert fold["ap_Transmittance_450"] == trial.user_attrs[f"fold_{fold['fold']}_ap_Transmittance_450"]
    assert view.tasks == EUOS25.names
    assert (view.n_folds, view.max_epochs) == (2, 3)


def test_values_are_those_of_complete_trials_and_the_best_is_the_studys(view: StudyView, study_dir: Path) -> None:
    study = optuna.load_study(study_name="milbench", storage=f"sqlite:///{study_dir / 'study.db'}")
    assert view.best == study.best_trial.number
    assert view.complete["value"].tolist() == sorted(
        (t.value for t in study.trials if t.state == TrialState.COMPLETE), reverse=True
    )
    assert rows(view.trials, state="pruned")["value"].isna().all()


def test_mean_and_spread_over_folds_are_those_of_the_folds(view: StudyView) -> None:
    by_trial = view.by_trial.set_index("trial")
    folds = rows(view.folds, trial=view.best)
    assert by_trial.loc[view.best, "n"] == 2
    assert by_trial.loc[view.best, "score_mean"] == pytest.approx(rows(view.trials, number=view.best)["value"].iloc[0])
    assert by_trial.loc[view.best, "macro_ap_sd"] == pytest.approx(np.std(folds["macro_ap"], ddof=1))


def test_an_epoch_has_its_score_from_the_study_and_its_endpoints_from_the_log(view: StudyView) -> None:
    curves = view.curves
    assert curves[["score", "train_loss", "val_macro_ap", "ap_Fluorescence_340_450"]].notna().all().all()
    np.testing.assert_allclose(curves["score"], 0.7 * curves["val_macro_ap"] + 0.3 * curves["val_min_ap"])
    np.testing.assert_allclose(curves[view.task_columns("ap")].mean(axis=1), curves["val_macro_ap"])


def test_pruning_points_are_the_last_reports_of_pruned_trials(view: StudyView, study_dir: Path) -> None:
    stops = pruning_points(view)
    pruned = [trial for trial in trials_of(study_dir) if trial.state == TrialState.PRUNED]
    assert pruned
    assert [(s["trial"], s["fold"] * 3 + s["epoch"]) for s in stops.to_dict("records")] == [
        (t.number, t.last_step) for t in pruned
    ]
    assert stops["score"].tolist() == [t.intermediate_values[t.last_step] for t in pruned]


def test_the_trials_are_shown_best_first_and_pruned_ones_last(view: StudyView) -> None:
    shown = shown_trials(view)
    n = len(view.complete)
    assert shown["trial"].tolist()[:n] == view.complete["number"].tolist()
    assert set(shown["state"][n:]) == {"pruned"}
    newest = shown_trials(view, newest=True)
    assert newest["trial"].tolist() == sorted(shown["trial"], reverse=True)
    assert newest.index.tolist() == list(range(len(newest)))
    assert shown.columns.tolist() == ["trial", "state", "score", "macro AP", *EUOS25.names, "folds", "seconds"]


def test_a_study_is_read_without_torch_and_without_touching_its_files(study_dir: Path) -> None:
    def digests() -> dict[str, str]:
        return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in study_dir.glob("*") if path.is_file()}

    before = digests()
    code = "import sys; from pathlib import Path; from milbench.review.study import read_study; read_study(Path(sys.argv[1]))"
    code += "; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code, study_dir], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
    assert digests() == before


def test_a_view_is_read_again_only_when_the_study_has_changed(study_dir: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(study_dir, tmp_path / "copy"))
    first = read_study(folder)
    assert read_study(folder) is first
    append_json(folder / "metrics.jsonl", {"trial": 99, "fold": 0, "epoch": 0, "train_loss": 1.0})
    again = read_study(folder)
    assert len(rows(again.curves, trial=99)) == 1
    assert len(again.curves) == len(first.curves) + 1


def test_a_running_trial_is_seen_while_it_runs(study_dir: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(study_dir, tmp_path / "copy"))
    before = read_study(folder)
    trial = optuna.load_study(study_name="milbench", storage=f"sqlite:///{folder / 'study.db'}").ask()
    trial.suggest_float("lam_floor", 0.35, 0.85)
    trial.report(0.4, 0)
    view = read_study(folder)
    assert view.counts() == {**before.counts(), "running": 1}
    assert rows(view.curves, trial=trial.number)["score"].tolist() == [0.4]


def test_a_folder_without_a_study_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match=r"holds no study .*; launch one"):
        read_study(tmp_path)


def test_another_programs_study_is_one_line(tmp_path: Path) -> None:
    optuna.create_study(study_name="milbench", storage=f"sqlite:///{tmp_path / 'study.db'}")
    with pytest.raises(StudyError, match="holds a study that milbench did not make; open it in the dashboard"):
        read_study(tmp_path)


def lines(folder: Path, *epochs: dict[str, object]) -> None:
    (folder / "metrics.jsonl").write_text("".join(json.dumps(epoch) + "\n" for epoch in epochs))


def test_an_epoch_run_twice_counts_once_and_the_final_training_is_no_trial(tmp_path: Path) -> None:
    epochs = [{"trial": t, "fold": 0, "epoch": 0, "train_loss": loss} for t, loss in ((0, 1.0), (0, 2.0), (1, 3.0))]
    lines(tmp_path, *epochs, {"trial": "final", "fold": "final", "epoch": 0, "train_loss": 9.0})
    table = epochs_table(tmp_path, ["a"])
    assert table["train_loss"].tolist() == [2.0, 3.0]
    assert table["ap_a"].isna().all()


def test_a_log_that_grows_is_read_on_and_its_unfinished_line_waits(tmp_path: Path) -> None:
    lines(tmp_path, {"trial": 0, "fold": 0, "epoch": 0})
    assert len(epochs_of(tmp_path)) == 1
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"trial": 0, "fold": 0, "epoch": 1}\n{"trial": 0, "fo')
    assert [row["epoch"] for row in epochs_of(tmp_path)] == [0, 1]
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('ld": 0, "epoch": 2}\n')
    assert [row["epoch"] for row in epochs_of(tmp_path)] == [0, 1, 2]
    lines(tmp_path, {"trial": 7, "fold": 0, "epoch": 5})
    assert [row["trial"] for row in epochs_of(tmp_path)] == [7]


def test_a_log_line_that_is_no_json_is_named(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text("not json\n")
    with pytest.raises(DataError, match=r"metrics\.jsonl: holds a line that is no JSON, got 'not json'"):
        epochs_of(tmp_path)


def test_no_log_is_an_empty_table(tmp_path: Path) -> None:
    table = epochs_table(tmp_path, ["a"])
    assert isinstance(table, pd.DataFrame)
    assert table.columns.tolist() == ["trial", "fold", "epoch", "train_loss", "val_macro_ap", "val_min_ap", "ap_a"]
    assert table.empty
