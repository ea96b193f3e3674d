"""What the data app writes on the command line is what the commands take."""

import dataclasses
from pathlib import Path

import pandas as pd
import pytest

from milbench import ui
from milbench.cli import main
from milbench.errors import ConfigError
from milbench.jobs import JobState
from milbench.palette import STATES
from milbench.preparation import STEPS, Preparation, files_below, folder_named, found_at, name_for
from milbench.preparation_ui import MADE, NONE_MADE, fold_choice
from milbench.workspace import scan

SMILES = ("CCO", "c1ccccc1", "CC(C)O", "Cc1ccccc1", "CCN", "c1ccncc1", "CCCO", "Oc1ccccc1", "CCOC", "Nc1ccccc1")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Ten molecules whose identifier, structure and endpoint have names of their own."""
    rows = [f"m{i},{smiles},{i % 2}" for i, smiles in enumerate(SMILES)]
    (tmp_path / "mine.csv").write_text("\n".join(["key,structure,glows", *rows]))
    (tmp_path / "mine.toml").write_text('name = "mine"\n[[endpoints]]\nname = "glow"\ncolumn = "glows"\n')
    return tmp_path / "mine.csv"


def test_every_command_is_taken_and_does_its_step(source: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan = Preparation(source.parent / "runs" / "mine", source, str(source.with_suffix(".toml")), "key", "structure")
    for step in STEPS:
        plan.job(step).mkdir(parents=True)  # as a job has it
    assert main(plan.doctor_command()) in {0, 1}
    assert plan.findings.is_file()
    assert main(plan.folds_command("stratified", 2)) == 0
    assert plan.fold_report.is_file()
    assert main(plan.prepare_command(["conjugation"], ["usr"], conformers=2, with_folds=True)) == 0, capsys.readouterr().err
    (store,) = scan(source.parent / "runs").stores
    assert (store.folder, store.molecules, store.tasks) == (plan.store, 10, ("glow",))


def test_the_smiles_column_that_was_named_is_the_one_that_folds_and_doctor_read(
    source: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    named = Preparation(source.parent / "mine", source, str(source.with_suffix(".toml")), "key", "structure")
    for step in STEPS:
        named.job(step).mkdir(parents=True)
    assert main(named.folds_command("scaffold", 2)) == 0, capsys.readouterr().err
    assert pd.read_parquet(named.folded).groupby("cv_fold").size().min() > 1
    main(named.doctor_command())
    assert "no molecule appears twice" in named.findings.read_text()
    unnamed = dataclasses.replace(named, smiles_col="")
    capsys.readouterr()
    assert main(unnamed.folds_command("scaffold", 2)) == 2
    assert "no SMILES column, which --by scaffold needs; add one, or name it: --smiles_col" in capsys.readouterr().err
    assert main(dataclasses.replace(named, smiles_col="structures").folds_command("scaffold", 2)) == 2
    assert "column 'structures' is missing; did you mean 'structure'?" in capsys.readouterr().err


def test_without_folds_the_source_itself_is_prepared(source: Path) -> None:
    plan = Preparation(source.parent / "runs" / "mine", source)
    with pytest.raises(ConfigError, match="folds: none were made; make some first, or prepare without"):
        plan.prepare_command(["maccs"], ["usr"], 3, with_folds=True)
    plan.folder.mkdir(parents=True)
    plan.folded.touch()
    assert plan.prepare_command(["maccs"], ["usr"], 3, with_folds=True)[1] == str(plan.folded)
    assert plan.prepare_command(["maccs"], ["usr"], 3)[1] == str(source)


def test_folds_can_be_asked_for_once_they_are_made() -> None:
    none, some = fold_choice(False), fold_choice(True)
    assert (none.value, some.value) == (False, True)
    assert NONE_MADE in none.text
    assert MADE in some.text
    assert ["disabled='true'" in box.text for box in (none, some)] == [True, False]


def test_a_job_is_stopped_while_it_goes_on_and_resumed_where_it_did_not_end_well(tmp_path: Path) -> None:
    job = JobState("prepare", "prepare", "stopped", "", 8, 62, None, None, tmp_path, (), "local")
    shown = {state: ui.job_buttons(dataclasses.replace(job, state=state), "stop", "resume") for state in STATES}
    assert [state for state, buttons in shown.items() if buttons == ["stop"]] == ["queued", "running"]
    assert [state for state, buttons in shown.items() if buttons == ["resume"]] == ["stopped", "failed", "lost"]
    assert ui.job_buttons(None, "stop", "resume") == []


@pytest.mark.parametrize("name", ["..", "../evil", ".hidden", "a b", "a;b"])
def test_a_name_that_is_no_folders_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="name: got"):
        folder_named(tmp_path, name)


def test_no_features_at_all_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--sets_2d: names no set"):
        Preparation(tmp_path / "ok", tmp_path / "x.csv").prepare_command([], ["usr"], 3)


def test_files_of_stores_studies_and_unfinished_work_are_not_offered(tmp_path: Path) -> None:
    for name in (
        "a.csv",
        "deep/b.sdf",
        "deep/c.txt",
        "store/manifest.json",
        "store/x.parquet",
        ".hidden/d.csv",
        "s.work/e.csv",
    ):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    assert files_below(tmp_path) == [tmp_path / "a.csv", tmp_path / "deep/b.sdf"]
    assert files_below(tmp_path / "nothing") == []


def test_a_table_without_text_that_can_be_smiles_is_not_offered(tmp_path: Path) -> None:
    tables = {
        "own": pd.DataFrame({"Molecule": ["a"], "Structure": ["CCO"], "active": [1]}),
        "folds": pd.DataFrame({"ID": ["a"], "split": ["train"], "cv_fold": [0]}),
        "predictions": pd.DataFrame({"ID": ["a"], "pred_x": [0.5], "label_x": [1.0]}),
        "categories": pd.DataFrame({"ID": ["a"], "smiles": pd.Categorical(["CCO"])}),
    }
    for name, table in tables.items():
        table.to_csv(tmp_path / f"{name}.csv", index=False)
        table.to_parquet(tmp_path / f"{name}.parquet")
    (tmp_path / "late.csv").write_text("ID,smiles\na,\nb,CCO\n")
    (tmp_path / "torn.parquet").write_text("torn")
    (tmp_path / "z.smi").write_text("CCO a\n")
    offered = {path.name for path in files_below(tmp_path)}
    assert offered == {f"{name}.{kind}" for name in ("own", "categories") for kind in ("csv", "parquet")} | {
        "late.csv",
        "torn.parquet",
        "z.smi",
    }


def test_a_path_is_looked_for_in_the_workspace_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "runs").mkdir()
    (tmp_path / "here.csv").touch()
    monkeypatch.chdir(tmp_path)
    assert found_at(tmp_path / "runs", " here.csv ") == Path("here.csv")
    (tmp_path / "runs" / "here.csv").touch()
    assert found_at(tmp_path / "runs", "here.csv") == tmp_path / "runs" / "here.csv"
    assert found_at(tmp_path / "runs", str(tmp_path / "here.csv")) == tmp_path / "here.csv"


def test_a_data_set_is_called_after_its_file_or_its_folder(tmp_path: Path) -> None:
    assert name_for(Path("x/my data (2).csv")) == "my_data_2_"
    assert name_for(Path("runs/mine/imported.parquet")) == "mine"
    (tmp_path / "mine" / "store").mkdir(parents=True)
    (tmp_path / "mine" / "store" / "manifest.json").touch()
    assert name_for(tmp_path / "mine" / "store") == "mine"
