"""What lies below a folder is found, at a glance, and what cannot be read is said."""

import os
import shutil
import sqlite3
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import optuna
import pytest

from builders import store_from_tables
from milbench.data.recent import signature
from milbench.errors import StudyError
from milbench.files import read_json, write_json
from milbench.jobs import Job
from milbench.run_config import FINAL_FOLDER
from milbench.testing import make_tables
from milbench.training.storage import load_study
from milbench.workspace import (
    clock,
    dashboard_url,
    data_of,
    open_study,
    run_status,
    scan,
    searches,
    stores_for,
    study_files,
    study_folders,
    study_number,
    study_progress,
)
from studies import make_study


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A workspace with a store, a study and a final model."""
    tables = make_tables(tmp_path / "tables", n_molecules=30)
    store_from_tables(tmp_path / "runs" / "mine" / "store", tables.labels, tables.feat2d, [tables.feat3d])
    study = make_study(tmp_path / "runs" / "mine" / "study")
    write_json(study / "run_meta.json", {"arguments": {"store": "runs/mine/store", "run_hpo": True, "trials": 9}})
    scores = {"macro_ap": 0.5, "min_ap": 0.2, "macro_auc": 0.7, "tasks": {}}
    (study / FINAL_FOLDER).mkdir()
    write_json(study / FINAL_FOLDER / "leaderboard_eval.json", {"monitored": scores, "leaderboard": None, "note": ""})
    return tmp_path / "runs"


def test_stores_studies_and_final_models_are_found(root: Path) -> None:
    found = scan(root)
    (store,), (study,), (final,) = found.stores, found.studies, found.finals
    assert (store.name, store.molecules, len(store.tasks)) == ("mine/store", 30, 4)
    assert store.conformers > 30
    assert not store.simulated
    assert study.name == final.name == "mine/study"
    assert study.states == {"COMPLETE": 3, "PRUNED": 1, "RUNNING": 1}
    assert (study.best_trial, study.best_value, study.finished, study.budget) == (1, 0.7, 4, 9)
    assert study.store == "runs/mine/store"
    assert final.monitored["macro_ap"] == 0.5
    assert found.problems == ()


def test_predictions_of_a_run_that_is_no_study_are_found_beside_those_of_studies(root: Path) -> None:
    (root / "baselines" / "lightgbm").mkdir(parents=True)
    for folder in (root / "baselines" / "lightgbm", root / "mine" / "study"):
        (folder / "oof.parquet").touch()
    found = scan(root)
    assert {folder.name for folder in found.scored} == {"lightgbm", "study"}
    assert len(found.studies) == 1


def test_a_workspace_that_is_not_there_is_empty(tmp_path: Path) -> None:
    found = scan(tmp_path / "nothing")
    assert (found.stores, found.studies, found.finals, found.jobs, found.problems) == ((), (), (), (), ())


def test_nothing_changed_is_an_equal_workspace_and_a_new_trial_is_not(root: Path) -> None:
    before = scan(root)
    assert scan(root) == before
    study = optuna.load_study(study_name="milbench", storage=f"sqlite:///{root / 'mine/study/study.db'}")
    study.add_trial(optuna.trial.create_trial(value=0.8, params={}, distributions={}))
    after = scan(root)
    assert after != before
    assert after.studies[0].best_value == 0.8


def test_what_cannot_be_read_is_said_and_hides_nothing_else(root: Path) -> None:
    (root / "broken").mkdir()
    (root / "broken" / "manifest.json").write_text("{")
    (root / "other").mkdir()
    write_json(root / "other" / "manifest.json", {"name": "of another program"})
    (root / "torn").mkdir()
    (root / "torn" / "study.db").write_bytes(b"not a database at all" * 100)
    found = scan(root)
    assert [info.name for info in found.stores] == ["mine/store"]
    assert len(found.studies) == 1
    assert len(found.problems) == 3
    assert any("torn/study.db" in line and "cannot be read as a study" in line for line in found.problems)


def test_looking_does_not_make_or_change_files(root: Path) -> None:
    def files() -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in root.rglob("*") if path.is_file()}

    before = files()
    scan(root)
    open_study(root / "mine/study").get_trials()
    assert files() == before


def test_a_study_that_was_deleted_and_made_again_is_read_anew(root: Path) -> None:
    assert scan(root).studies[0].best_value == 0.7
    shutil.rmtree(root / "mine/study")
    make_study(root / "mine/study", values=(0.1,))
    assert scan(root).studies[0].best_value == 0.1


def test_a_study_in_a_journal_is_found_and_followed(root: Path) -> None:
    url = f"journal:{root / 'shared.log'}"
    study = make_study(root / "of_a_journal", url=url)
    found = next(info for info in scan(root).studies if info.name == "of_a_journal")
    assert (found.best_trial, found.best_value, found.finished) == (1, 0.7, 4)
    before = signature(*study_files(study))
    load_study(study).add_trial(optuna.trial.create_trial(value=0.8, params={}, distributions={}))
    assert signature(*study_files(study)) != before
    assert open_study(study).best_value == 0.8
    with (root / "shared.log").open("ab") as journal:
        journal.write(b'{"op_code": 4, "wor')
    assert open_study(study).best_value == 0.8  # a line that is just being written
    with (root / "shared.log").open("ab") as journal:
        journal.write(b'{"op_code": 4}\n{"op_code": 4}\n')
    with pytest.raises(StudyError, match=r"line of it is torn.*milbench doctor --study .*of_a_journal --repair"):
        open_study(study)
    assert any("shared.log" in line for line in scan(root).problems)


def test_a_study_that_cannot_be_shown_says_so(root: Path) -> None:
    (root / "far").mkdir()
    write_json(root / "far" / "study.json", {"storage": "grpc://somewhere:13000"})
    make_study(root / "gone", url=f"journal:{root / 'gone.log'}")
    (root / "gone.log").unlink()
    problems = "\n".join(scan(root).problems)
    assert "far: has its study behind grpc://somewhere:13000, which is not shown here" in problems
    assert "gone.log: is not there any more" in problems
    assert root / "far" in study_folders(root)  # the study app lists it, and says the same


def test_a_run_whose_process_is_gone_is_lost(tmp_path: Path) -> None:
    gone = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True, check=True)
    status = {"state": "running", "stage": "study", "pid": int(gone.stdout), "time": time.time()}
    write_json(tmp_path / "status.json", status)
    assert run_status(tmp_path)[:2] == ("lost", "ended without a word while at: study")
    write_json(tmp_path / "status.json", {**status, "pid": os.getpid()})
    assert run_status(tmp_path)[:2] == ("running", "study")
    write_json(tmp_path / "status.json", {**status, "host": "another-machine"})
    assert run_status(tmp_path)[0] == "running"  # nothing is known of it


def test_a_study_keeps_its_number_and_address(root: Path) -> None:
    number = study_number(root, root / "mine/study")
    assert number == study_number(root.absolute(), root.absolute() / "mine" / "study")
    assert number != study_number(root, root / "mine/study2")
    assert dashboard_url(root, root / "mine/study", 3) == f"/dashboard/studies/{number}/trials?numbers=3"


def test_opening_what_is_no_study_is_said_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="holds no study"):
        open_study(tmp_path)
    sqlite3.connect(tmp_path / "study.db").close()
    (tmp_path / "study.db").write_bytes(b"x" * 5000)
    with pytest.raises(StudyError, match="cannot be read as a study"):
        open_study(tmp_path)


def test_a_moment_is_told_with_its_day_unless_that_is_today() -> None:
    now = time.time()
    assert clock(now) == time.strftime("%H:%M", time.localtime(now))
    assert clock(0) == time.strftime("%d %b %H:%M", time.localtime(0))


def test_a_promoted_model_is_a_final_model_and_no_study(root: Path) -> None:
    final = root / "finals" / "study-trial1"
    final.mkdir(parents=True)
    Job(final, ("run", "--store", "runs/mine/store", "--study_dir", str(final))).save()
    assert [study.name for study in scan(root).studies] == ["mine/study"]  # while it waits to be trained
    write_json(final / "run_meta.json", {"arguments": {"store": "runs/mine/store", "run_hpo": False}})
    (final / "metrics.jsonl").touch()
    shutil.copytree(root / "mine/study" / FINAL_FOLDER, final / FINAL_FOLDER)
    found = scan(root)
    assert [study.name for study in found.studies] == ["mine/study"]
    assert {model.name for model in found.finals} == {"mine/study", "finals/study-trial1"}


def test_how_far_a_study_is_in_words(root: Path) -> None:
    study = scan(root).studies[0]
    assert study_progress(study) == "4 of 9 trials done"
    assert study_progress(replace(study, states={"RUNNING": 1}, budget=3)) == "0 of 3 trials done"
    assert study_progress(replace(study, states={"COMPLETE": 1}, budget=None)) == "1 trial done"


def test_the_store_of_a_run_is_the_first_to_be_offered(root: Path) -> None:
    shutil.copytree(root / "mine/store", root / "newer")
    assert stores_for(scan(root), root / "mine/study")[0] == "mine/store"
    assert set(stores_for(scan(root), root / "mine/study")) == {"mine/store", "newer"}
    (root / "amine").mkdir()
    shutil.copytree(root / "mine/store", root / "amine/store")  # ends alike, and comes first
    write_json(root / "mine/study/run_meta.json", {"arguments": {"store": "../mine/store"}})
    assert stores_for(scan(root), root / "mine/study")[0] == "mine/store"


def test_a_run_says_what_it_was_trained_on_and_is_offered_no_data_of_other_endpoints(root: Path) -> None:
    assert data_of(scan(root), root / "mine/study") == "Data set mine/store"
    manifest = read_json(root / "mine/store/manifest.json")
    shutil.copytree(root / "mine/store", root / "other")
    write_json(root / "mine/store/manifest.json", manifest | {"provenance": {"simulated": True}})
    assert data_of(scan(root), root / "mine/study") == "Data set mine/store, its endpoints simulated"
    manifest["tasks"]["endpoints"][0]["name"] = "quench"
    write_json(root / "other/manifest.json", manifest)
    assert stores_for(scan(root), root / "mine/study") == ["mine/store"]
    shutil.rmtree(root / "mine/store")
    assert stores_for(scan(root), root / "mine/study") == ["other"]
    assert data_of(scan(root), root / "mine/study") == ""


def test_a_final_model_on_given_parameters_is_no_search(root: Path) -> None:
    for name, command in (("begun", ("hpo",)), ("both", ("run", "--run_hpo")), ("finals/mine-trial0", ("run",))):
        (root / name).mkdir(parents=True)
        Job((root / name).absolute(), command, submitted=len(name)).save()
    assert [path.relative_to(root.absolute()).as_posix() for path in searches(root)] == ["begun", "both", "mine/study"]
