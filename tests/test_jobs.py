"""Jobs: real detached processes of real commands, started, watched, stopped, killed and run again.

The command that takes as long as a test wants is `milbench params --tasks PIPE`: it reads a named pipe, and waits for it.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from milbench import jobs
from milbench.cli import main
from milbench.errors import ConfigError, DataError
from milbench.jobs_commands import JobsConfig, spelled, start_of
from milbench.storage_url import shown, with_password, without_passwords
from milbench.tasks import EUOS25

WAIT_S = 60


def until(over: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not over():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def until_state(folder: Path, state: str) -> jobs.JobState:
    until(lambda: jobs.state_of(folder).state == state)
    return jobs.state_of(folder)


@pytest.fixture
def pipe(tmp_path: Path) -> Iterator[Path]:
    """A tasks file that is not there before `feed`; whatever still waits for it is ended with the test."""
    path = tmp_path / "tasks.json"
    os.mkfifo(path)
    yield path
    for state in jobs.jobs_in(tmp_path):
        jobs.stop(state.folder, 0.0)


def waiting(folder: Path, pipe: Path) -> jobs.Job:
    """A job that runs, and waits for the pipe."""
    job = jobs.submit(["params", "--tasks", str(pipe)], folder)
    until_state(folder, "running")
    return job


def feed(pipe: Path) -> None:
    pipe.write_text(json.dumps(EUOS25.to_dict()))


def test_a_job_runs_to_its_end_and_its_folder_says_all(tmp_path: Path, pipe: Path) -> None:
    folder = tmp_path / "runs" / "one"
    job = waiting(folder, pipe)
    assert job.command == ("params", "--tasks", str(pipe))
    feed(pipe)
    state = until_state(folder, "done")
    assert (state.name, state.kind, state.folder, state.command) == ("one", "params", folder, job.command)
    assert state.started is not None
    assert state.updated is not None
    assert job.submitted <= state.started <= state.updated
    assert any(line.startswith("lr ") for line in jobs.log_tail(folder))
    meta = json.loads((folder / "run_meta.json").read_text())
    assert meta["arguments"] == {"tasks": str(pipe)}
    assert "milbench" in meta["versions"]
    assert meta["hardware"]["cores"] == os.cpu_count()


TERMINAL = """
import os, pty, subprocess, sys, time
submitter, terminal = pty.fork()
if submitter == 0:  # a shell's place: it leads the session of a terminal of its own
    subprocess.run([sys.executable, "-m", "milbench.cli", "jobs", "start", *sys.argv[1:]], check=True)
    time.sleep(600)
sys.stdin.readline()
os.close(terminal)  # hangs up: the session ends
print(os.WTERMSIG(os.waitpid(submitter, 0)[1]))
"""


def test_a_job_outlives_its_submitter_and_the_terminal(tmp_path: Path, pipe: Path) -> None:
    folder = tmp_path / "job"
    command = [sys.executable, "-c", TERMINAL, str(folder), "params", "--tasks", str(pipe)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as window:
        until(lambda: (folder / jobs.JOB).is_file())
        until_state(folder, "running")
        said, _ = window.communicate("close\n", timeout=WAIT_S)
    assert int(said) == signal.SIGHUP
    time.sleep(0.5)
    assert jobs.state_of(folder).state == "running"
    feed(pipe)
    until_state(folder, "done")


def test_a_stopped_job_says_so_and_runs_again_as_it_was_submitted(
    tmp_path: Path, pipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "job"
    monkeypatch.chdir(tmp_path)
    first = jobs.submit(["params", "--tasks", pipe.name], folder)
    until_state(folder, "running")
    assert jobs.stop(folder).state == "stopped"
    assert "run the same command again to go on" in "\n".join(jobs.log_tail(folder))
    monkeypatch.chdir("/")
    second = jobs.resume(folder)
    assert (second.command, second.cwd) == (first.command, tmp_path)
    assert second.id != first.id
    until_state(folder, "running")
    feed(pipe)
    until_state(folder, "done")


def test_a_job_that_does_not_stop_is_ended(tmp_path: Path, pipe: Path) -> None:
    job = waiting(tmp_path / "job", pipe)
    os.kill(int(job.ids[0]), signal.SIGSTOP)  # it hears nothing
    state = jobs.stop(tmp_path / "job", grace_s=0.3)
    assert (state.state, state.stage) == ("stopped", "ended after 0.3 s")


def test_a_killed_job_is_lost_not_running(tmp_path: Path, pipe: Path) -> None:
    job = waiting(tmp_path / "job", pipe)
    os.kill(int(job.ids[0]), signal.SIGKILL)
    assert "starting" in until_state(tmp_path / "job", "lost").stage


def test_sigterm_stops_a_job_as_ctrl_c_does(tmp_path: Path, pipe: Path) -> None:
    job = waiting(tmp_path / "job", pipe)
    os.kill(int(job.ids[0]), signal.SIGTERM)
    assert until_state(tmp_path / "job", "stopped").stage == "stopped by SIGTERM"


def test_a_folder_has_one_job_at_a_time(tmp_path: Path, pipe: Path) -> None:
    before = waiting(tmp_path / "job", pipe)
    with pytest.raises(ConfigError, match="a job is running here; stop it first"):
        jobs.submit(["params"], tmp_path / "job")
    with pytest.raises(ConfigError, match="a job is running here"):
        jobs.resume(tmp_path / "job")
    assert jobs.read_job(tmp_path / "job") == before


@pytest.mark.parametrize(
    ("command", "stage", "logged"),
    [
        (["doctor", "no.csv"], "no.csv: no such file; check the path", "no such file"),
        (["params", "--nonsense"], "the command line was refused, log.txt says why", "nonsense"),
    ],
)
def test_a_job_that_fails_says_why(tmp_path: Path, command: list[str], stage: str, logged: str) -> None:
    jobs.submit(command, tmp_path / "job")
    assert until_state(tmp_path / "job", "failed").stage == stage
    said = "\n".join(jobs.log_tail(tmp_path / "job"))
    assert logged in said
    assert "Traceback" not in said
    assert said.count("no such file") <= 1  # once in the log, not again as the terminal would show it


def test_following_gives_what_was_said_and_what_comes_until_the_end(tmp_path: Path, pipe: Path) -> None:
    waiting(tmp_path / "job", pipe)
    lines = jobs.follow(tmp_path / "job")
    feed(pipe)
    said = list(lines)
    assert any(line.startswith("lr ") for line in said)
    assert said == jobs.log_tail(tmp_path / "job", len(said) + 1)


def test_jobs_are_listed_newest_first_and_what_is_none_is_named(
    tmp_path: Path, pipe: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    jobs.submit(["params"], tmp_path / "a" / "deep")
    until_state(tmp_path / "a" / "deep", "done")
    waiting(tmp_path / "b", pipe)
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "job.json").write_text('{"job": "of another program"}')
    assert [(state.name, state.state) for state in jobs.jobs_in(tmp_path)] == [("b", "running"), ("deep", "done")]
    assert main(["jobs", str(tmp_path)]) == 0
    said = capsys.readouterr()
    assert [line.split()[:2] for line in said.out.splitlines()] == [["running", "params"], ["done", "params"]]
    assert "describes no job of milbench" in said.err


def test_the_command_line_starts_follows_and_stops(tmp_path: Path, pipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = str(tmp_path / "job")
    assert main(["jobs", "start", folder, "params", "--tasks", str(pipe)]) == 0
    assert f"milbench jobs follow {folder}" in capsys.readouterr().out
    until_state(tmp_path / "job", "running")
    assert main(["jobs", "stop", folder]) == 0
    assert capsys.readouterr().out.startswith("stopped")
    assert main(["jobs", "resume", folder]) == 0
    until_state(tmp_path / "job", "running")
    feed(pipe)
    assert main(["jobs", "follow", folder]) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("done")


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["follow"], "jobs follow: got '', want the job's folder"),
        (["stop", "none"], "none: no job was started here; see `milbench jobs`"),
        (["start", "x"], "jobs start: no command, want a command of milbench"),
        (["start", "x", "run", "--study-dir", "y"], "--study_dir: got 'y', want"),
        (["no/such/root"], "no/such/root: no such folder"),
    ],
)
def test_a_mistake_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], args: list[str], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["jobs", *args]) == 2
    err = capsys.readouterr().err
    assert said in err
    assert err.count("\n") == 1


def test_a_job_json_that_is_none_is_a_data_error(tmp_path: Path) -> None:
    (tmp_path / "job.json").write_text("[]")
    with pytest.raises(DataError, match="describes no job of milbench"):
        jobs.state_of(tmp_path)


URL = "postgresql://me:se%2Fcr@et@host:5432/db"


def test_a_runs_folder_is_its_study_folder_and_a_password_is_in_nothing_that_can_be_read(tmp_path: Path) -> None:
    job = jobs.submit(["run", "--store", "none", "--storage", "postgresql://me:secret@localhost:1/x"], tmp_path / "job")
    assert job.command[-2:] == ("--study_dir", str(tmp_path / "job"))
    assert "none" in until_state(tmp_path / "job", "failed").stage
    assert "secret" not in "".join(path.read_text() for path in (tmp_path / "job").iterdir())


def test_a_url_without_its_password_gets_it_back_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    args, environment = without_passwords(["--storage", URL, "--trials", "3"])
    assert args == ["--storage", "postgresql://me@host:5432/db", "--trials", "3"]
    assert without_passwords([f"--storage={URL}"])[0] == ["--storage=postgresql://me@host:5432/db"]
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert with_password(args[1]) == "postgresql://me:se%2Fcr%40et@host:5432/db"
    assert with_password("sqlite:////a@b/study.db") == "sqlite:////a@b/study.db"
    assert with_password("postgresql://host/db") == "postgresql://host/db"
    assert shown(URL) == "postgresql://me:***@host:5432/db"


def test_the_words_of_a_started_command_are_not_flags_of_jobs() -> None:
    assert spelled(["jobs"]) == ["jobs"]
    assert spelled(["jobs", "runs"]) == ["jobs", "list", "runs"]
    assert spelled(["jobs", "stop", "f"]) == ["jobs", "stop", "f"]
    assert start_of(["jobs", "start", "f", "run", "--fix", "a=1"]) == JobsConfig("start", ("f", "run", "--fix", "a=1"))
    assert start_of(["jobs", "start", "--help"]) is None


def test_jobs_load_no_torch() -> None:
    code = "import sys, milbench.jobs, milbench.jobs_commands; print([n for n in ('torch', 'optuna') if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
