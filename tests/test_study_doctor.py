"""`milbench doctor --study`: what is wrong with a study is named, and mended after a backup."""

import json
import socket
from pathlib import Path

import pytest
from optuna.trial import TrialState

from milbench.cli import main
from milbench.training.cross_validation import MILCrossValidator
from milbench.training.storage import load_study
from milbench.training.study import MILStudyRunner
from runs import cv_run, level, scripted, small_cv, trials_of

pytestmark = pytest.mark.usefixtures("logging_as_before")
DATA = small_cv(2)


def run(folder: Path, url: str | None = None) -> MILStudyRunner:
    runner = MILStudyRunner(MILCrossValidator(DATA, cv_run()), folder, url)
    with scripted([level(0.5, 0.6, epochs=2), level(0.4, 0.5, epochs=2)]):
        runner.run()
    return runner


def doctor(capsys: pytest.CaptureFixture[str], target: object, *flags: str) -> tuple[int, str]:
    status = main(["doctor", "--study", str(target), *flags])
    return status, capsys.readouterr().out


def test_a_sound_study_is_called_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(tmp_path)
    for target in (tmp_path, tmp_path / "study.db", f"sqlite:///{tmp_path}/study.db"):
        status, said = doctor(capsys, target)
        assert (status, said.strip()) == (0, "info     trials: 2 finished of 2")


def test_a_torn_journal_is_mended_after_a_backup_and_loses_no_record(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "j.log"
    run(tmp_path / "s", str(path))
    *lines, last = path.read_bytes().splitlines(keepends=True)
    torn = b"".join(lines) + b'{"op_code":8,"worker_id":"x","tri' + last  # a record appended to the torn line of a dead worker
    path.write_bytes(torn)
    status, said = doctor(capsys, tmp_path / "s")
    assert status == 2
    assert f"line {len(lines) + 1} is torn" in said
    assert path.read_bytes() == torn
    assert doctor(capsys, tmp_path / "s", "--repair")[0] == 1
    assert path.read_bytes() == b"".join(lines) + last
    assert [backup.read_bytes() for backup in tmp_path.glob("j.log.*.bak")] == [torn]
    assert doctor(capsys, path)[0] == 0
    assert [trial.value for trial in load_study(tmp_path / "s").trials] == pytest.approx([0.55, 0.45])


def test_a_torn_end_is_dropped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "j.log"
    run(tmp_path / "s", str(path))
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"op_code":8')
    assert doctor(capsys, path, "--repair")[0] == 1
    assert path.read_bytes() == whole


def test_trials_of_dead_workers_are_named_and_marked_on_request(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runner = run(tmp_path)
    dead = runner.open().ask()
    number = (tmp_path / "workers").stat().st_ino
    dead.set_user_attr("worker", f"{socket.gethostname()}-{number:x}-000000000000")
    dead.set_user_attr("configuration", 2)
    status, said = doctor(capsys, tmp_path)
    assert status == 1
    assert "1 trial(s) of workers that are gone are RUNNING" in said
    assert doctor(capsys, tmp_path, "--repair")[0] == 0
    assert trials_of(tmp_path)[2].state == TrialState.FAIL


def test_missing_artifacts_and_settings_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(tmp_path)
    (tmp_path / "oof.parquet").unlink()
    status, said = doctor(capsys, tmp_path, "--json", str(tmp_path / "found.json"))
    assert status == 1
    assert "oof.parquet: not there" in said
    assert {one["check"] for one in json.loads((tmp_path / "found.json").read_text())} == {"trials", "artifacts"}


@pytest.mark.parametrize("content", ["garbage " * 200, None])
def test_a_file_that_is_no_study_is_an_error_and_stays(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str | None
) -> None:
    if content is not None:
        (tmp_path / "study.db").write_text(content)
    status, said = doctor(capsys, tmp_path, "--repair")
    assert status == 2
    assert said.startswith("error")
    assert (tmp_path / "study.db").is_file() == (content is not None)


def test_a_doctor_with_nothing_to_look_at_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 2
    assert "nothing to look at" in capsys.readouterr().err
