"""All studies of a workspace as one storage: each under its own number and name, none mixed up with another."""

from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from milbench.all_studies import TRIALS, AllStudies
from milbench.workspace import study_number
from studies import make_study


@pytest.fixture
def root(tmp_path: Path) -> Path:
    make_study(tmp_path / "a" / "study", values=(0.2, 0.7))
    make_study(tmp_path / "b", values=(0.1, 0.3, 0.9))
    return tmp_path


def test_studies_have_their_folders_names_and_their_own_trials(root: Path) -> None:
    storage = AllStudies(root)
    found = {study.study_name: study._study_id for study in storage.get_all_studies()}
    assert found == {name: study_number(root, root / name) for name in ("a/study", "b")}
    for name, values in (("a/study", [0.2, 0.7]), ("b", [0.1, 0.3, 0.9])):
        trials = storage.get_all_trials(found[name], states=(TrialState.COMPLETE,))
        assert [trial.value for trial in trials] == values
        assert storage.get_best_trial(found[name]).value == max(values)
        for trial in trials:
            assert trial._trial_id // TRIALS == found[name]
            assert storage.get_trial(trial._trial_id).value == trial.value
        study = optuna.load_study(study_name=name, storage=storage)
        assert (study.best_value, len(study.trials)) == (max(values), len(values) + 2)
    assert max(found.values()) * TRIALS + TRIALS < 2**53  # a browser's whole numbers


def test_a_note_lands_in_its_own_study(root: Path) -> None:
    storage = AllStudies(root)
    number = study_number(root, root / "b")
    storage.set_study_system_attr(number, "note", "good")
    trial = storage.get_all_trials(number)[-1]  # it is running: finished ones are closed
    storage.set_trial_user_attr(trial._trial_id, "remark", "odd")
    own = optuna.load_study(study_name="milbench", storage=f"sqlite:///{root / 'b' / 'study.db'}")
    assert own._storage.get_study_system_attrs(own._study_id)["note"] == "good"
    assert own.trials[-1].user_attrs == {"remark": "odd"}
    assert "note" not in storage.get_study_system_attrs(study_number(root, root / "a" / "study"))


def test_a_study_that_cannot_be_read_hides_no_other_and_a_gone_one_is_a_key_error(root: Path) -> None:
    (root / "torn").mkdir()
    (root / "torn" / "study.db").write_bytes(b"x" * 5000)
    storage = AllStudies(root)
    assert {study.study_name for study in storage.get_all_studies()} == {"a/study", "b"}
    for number in (study_number(root, root / "torn"), 12345):
        with pytest.raises(KeyError):
            storage.get_all_trials(number)


def test_studies_and_trials_are_not_made_here(root: Path) -> None:
    storage = AllStudies(root)
    with pytest.raises(NotImplementedError):
        storage.create_new_study([optuna.study.StudyDirection.MAXIMIZE])
    with pytest.raises(NotImplementedError):
        storage.create_new_trial(study_number(root, root / "b"))


@pytest.mark.parametrize("kind", ["sqlite:///", "journal:"])
def test_a_study_that_lives_elsewhere_is_read_from_there(root: Path, kind: str) -> None:
    make_study(root / "c", values=(0.4, 0.6), url=f"{kind}{root / 'shared.log'}")
    assert not (root / "c" / "study.db").exists()
    storage, number = AllStudies(root), study_number(root, root / "c")
    assert storage.get_best_trial(number).value == 0.6
    assert [trial.number for trial in optuna.load_study(study_name="c", storage=storage).trials] == [0, 1, 2, 3]
