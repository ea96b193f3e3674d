"""Where a study lives: every kind of storage runs one, a folder remembers its own."""

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import optuna
import pytest

from milbench.errors import ConfigError, StudyError
from milbench.training.cross_validation import MILCrossValidator
from milbench.training.storage import load_study, open_storage, torn_lines
from milbench.training.study import MILStudyRunner
from runs import cv_run, level, scripted, small_cv

DATA = small_cv(2)
CURVES = [level(0.5, 0.6, epochs=2), level(0.4, 0.5, epochs=2)]


@pytest.fixture(autouse=True)
def optuna_as_before() -> Iterator[None]:
    before = optuna.logging.get_verbosity()
    yield
    optuna.logging.set_verbosity(before)


def run(folder: Path, url: str | None) -> optuna.Study:
    with scripted(CURVES):
        return MILStudyRunner(MILCrossValidator(DATA, cv_run()), folder, url).run()


@contextmanager
def proxy(folder: Path) -> Iterator[str]:
    """`milbench proxy` on a free port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "milbench.cli", "proxy", "--storage", f"sqlite:///{folder}/p.db", "--port", str(port)]
    with subprocess.Popen(command) as server:
        try:
            yield f"grpc://127.0.0.1:{port}"
        finally:
            server.kill()


@pytest.mark.parametrize("kind", ["journal", "log", "sqlite", "grpc"])
def test_a_study_runs_in_any_storage_as_it_does_in_its_folder(tmp_path: Path, kind: str) -> None:
    places = {"journal": f"journal:{tmp_path}/j", "log": f"{tmp_path}/study.log", "sqlite": f"sqlite:///{tmp_path}/x.db"}
    here = run(tmp_path / "here", None)
    with proxy(tmp_path) if kind == "grpc" else _given(places[kind]) as url:
        there = run(tmp_path / "there", url)
        assert [(t.state, t.value, t.params) for t in there.trials] == [(t.state, t.value, t.params) for t in here.trials]
        assert not (tmp_path / "there" / "study.db").exists()
        assert len(load_study(tmp_path / "there").trials) == 2  # the folder knows where


@contextmanager
def _given(url: str) -> Iterator[str]:
    yield url


def test_a_folder_goes_on_where_its_study_lives_and_refuses_another_place(tmp_path: Path) -> None:
    run(tmp_path / "s", f"journal:{tmp_path}/j")
    assert len(run(tmp_path / "s", None).trials) == 2
    with pytest.raises(StudyError, match=r"holds a study that lives in journal:.*; leave out --storage"):
        run(tmp_path / "s", f"journal:{tmp_path}/other")
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("journal:/no/such/folder/j", "no folder /no/such/folder"),
        ("grpc://nowhere", "not grpc://HOST:PORT"),
        ("redis://localhost", "unknown kind of storage"),
        ("postgresql://me@localhost:1/x?password=secret", "has its password where logs would show it"),
    ],
)
def test_a_storage_that_cannot_be_is_one_line(tmp_path: Path, url: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why) as caught:
        open_storage(tmp_path, url)
    assert "secret" not in str(caught.value)


def test_a_journal_with_a_torn_line_is_refused_with_the_remedy(tmp_path: Path) -> None:
    path = tmp_path / "j.log"
    run(tmp_path / "s", str(path))
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"op_code":8,"wor')
    assert torn_lines(path) == [whole.count(b"\n") + 1]
    with pytest.raises(StudyError, match=r"has a line that is torn; mend it: milbench doctor --study .*j\.log --repair"):
        run(tmp_path / "s", None)


def test_opening_a_storage_loads_no_torch() -> None:
    code = "import sys, milbench.training.storage, milbench.study_doctor; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "False"
