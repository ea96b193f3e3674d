"""Endpoints of a user's own: found in the table, named in the error, declared in a file that `--tasks` takes."""

from pathlib import Path

import pytest

from milbench.chem.look import look_at
from milbench.cli import main
from milbench.columns import Columns
from milbench.data.labelled import endpoint_columns, read_labelled
from milbench.data.tables import read_table
from milbench.errors import ConfigError, DataError
from milbench.tasks import EUOS25, load_tasks, write_tasks

ROWS = "ID,smiles,fluorescent,toxic,split,count,alike\na,CCO,0,1,train,0,1\nb,CCN,1,,train,1,1\nc,CCC,,0,train,2,1\n"


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """A table with two endpoints of its own: not split, not a count, not a column that is 1 everywhere."""
    (tmp_path / "mine.csv").write_text(ROWS)
    return tmp_path / "mine.csv"


def test_columns_that_look_like_endpoints_are_found_only_where_none_of_the_task_sets_own_is_there(mine: Path) -> None:
    assert endpoint_columns(read_table(mine), EUOS25) == ("fluorescent", "toxic")
    assert look_at(mine, EUOS25).suggested == ("fluorescent", "toxic")
    mine.write_text(ROWS.replace("toxic", "Transmittance_340"))
    assert endpoint_columns(read_table(mine), EUOS25) == ()
    assert (look_at(mine, EUOS25).suggested, look_at(mine, EUOS25).unlabelled) == ((), False)


def test_a_table_without_labels_is_told_from_one_with_some_and_from_a_list_of_structures(mine: Path) -> None:
    assert look_at(mine, EUOS25).unlabelled
    mine.write_text("ID,smiles,count\na,CCO,0\nb,CCN,2\n")
    look = look_at(mine, EUOS25)
    assert (look.unlabelled, look.suggested, look.notes) == (True, (), ())
    (mine.parent / "some.smi").write_text("CCO a\nCCN b\n")
    look = look_at(mine.parent / "some.smi", EUOS25)
    assert not look.unlabelled and any("these labels are all missing" in note for note in look.notes)


def test_the_error_names_them_and_the_flag(mine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["folds", str(mine), "--out", str(mine.with_name("out.csv"))]) == 2
    said = capsys.readouterr().err
    assert "columns that look like endpoints: fluorescent, toxic" in said
    assert "--tasks FILE.toml" in said


def test_a_split_column_that_was_named_must_be_there(mine: Path) -> None:
    tasks = load_tasks(str(write_tasks(mine.with_suffix(".toml"), ["fluorescent", "toxic"])))
    assert set(read_labelled(mine, tasks).split) == {"train"}
    with pytest.raises(DataError, match=r"mine\.csv: column 'splitt' is missing; did you mean 'split'"):
        read_labelled(mine, tasks, Columns(split="splitt"))


def test_the_file_that_declares_them_is_taken_by_tasks_and_never_overwrites_another(mine: Path) -> None:
    file = write_tasks(mine.with_suffix(".toml"), ["fluorescent", 'a "quoted" µ\\name'])
    assert load_tasks(str(file)).names == ("fluorescent", 'a "quoted" µ\\name')
    assert write_tasks(file, ["fluorescent", 'a "quoted" µ\\name']) == file
    with pytest.raises(ConfigError, match="is there already and says otherwise"):
        write_tasks(file, ["toxic"])
    tasks = load_tasks(str(write_tasks(mine.with_name("both.toml"), ["fluorescent", "toxic"])))
    assert read_labelled(mine, tasks).names == ("fluorescent", "toxic")
    with pytest.raises(DataError, match="column 'nothing' is missing"):
        read_labelled(mine, load_tasks(str(write_tasks(mine.with_name("no.toml"), ["fluorescent", "nothing"]))))
