"""Jobs on a real cluster: queued, followed, stopped, resumed, and ending as those of this machine do."""

import os
import signal
from pathlib import Path

import pytest
from optuna.trial import TrialState
from slurm_node import SlurmNode, wait_until

from milbench import jobs
from milbench.cli import main
from milbench.cluster import ClusterFlags
from milbench.flags import flags_of
from milbench.pipeline import MILPipelineOrchestrator
from milbench.testing import SyntheticTables, make_tables
from milbench.training.claims import WORKER
from reliability import Figure
from runs import BEST_PARAMS, arguments, config_for, finished, same_weights, trials_of, weights

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> SyntheticTables:
    return make_tables(tmp_path_factory.mktemp("tables"), 90)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's settings lie here."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    (tmp_path / "milbench").mkdir()
    return tmp_path


def until_state(folder: Path, *states: str, patience: float = 180) -> jobs.JobState:
    def reached() -> bool:
        state = jobs.state_of(folder)
        assert state.state in states or state.state in {"queued", "running"}, (state, jobs.log_tail(folder))
        return state.state in states

    wait_until(reached, f"{folder} to be {' or '.join(states)}", lambda: "\n".join(jobs.log_tail(folder)), patience)
    return jobs.state_of(folder)


def test_a_run_on_the_cluster_is_queued_stopped_and_resumed_and_ends_as_here(
    slurm: SlurmNode, tables: SyntheticTables, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (home / "milbench" / "cluster.toml").write_text('partition = "other"\ntime = 8\nsbatch = ["--hold"]\n')
    folder = home / "study"
    config = config_for(tables, folder, trials=3, max_epochs=8, slurm=ClusterFlags("slurm", cpus=1))
    assert main(arguments(config)) == 0
    number = jobs.read_job(folder).ids[0]
    assert f"started on slurm: {number}" in capsys.readouterr().out
    queued = jobs.state_of(folder)
    assert (queued.state, queued.stage, queued.cluster) == ("queued", "pending (JobHeldUser)", "slurm")
    assert main(arguments(config)) == 2  # one job a folder
    assert "a job is running here" in capsys.readouterr().err

    slurm.ask("scontrol", "release", number)
    wait_until(lambda: jobs.state_of(folder).done >= 1, "the first fold", lambda: "\n".join(jobs.log_tail(folder)))
    assert jobs.state_of(folder).state == "running"
    stopped = jobs.stop(folder)
    assert (stopped.state, stopped.stage) == ("stopped", "stopped by SIGTERM")
    assert slurm.state(number) == "CANCELLED"

    jobs.resume(folder)
    slurm.ask("scontrol", "release", jobs.read_job(folder).ids[0])
    said = "\n".join(jobs.follow(folder))
    assert "leaderboard_attn.parquet" in said  # its last line
    assert until_state(folder, "done").done
    here = config_for(tables, home / "here", trials=3, max_epochs=8)
    MILPipelineOrchestrator(here).run()
    assert finished(folder) == finished(here.study_dir)
    assert same_weights(weights(folder), weights(here.study_dir))


def workers_of(folder: Path, *states: TrialState) -> set[str]:
    """Who runs, or ran, trials in these states. Before the first epoch nobody: a study that is being made is left alone."""
    if not (folder / "metrics.jsonl").is_file():
        return set()
    return {trial.user_attrs[WORKER] for trial in trials_of(folder) if trial.state in states}


@pytest.mark.timeout(600)
def test_a_study_of_two_array_workers_one_cancelled_midway_and_requeued_ends_complete(
    slurm: SlurmNode, tables: SyntheticTables, home: Path, reliability: Figure
) -> None:
    folder = home / "study"
    config = config_for(tables, folder, trials=8, max_epochs=10, patience=10, workers=2, pruner_kind="none")
    command = ["hpo", *(flag for flag in flags_of(config) if flag != "--run_hpo")]
    assert main([*command, "--cluster", "slurm", "--partition", "main", "--time", "10"]) == 0
    number = jobs.read_job(folder).ids[0]
    assert "--array=0-1%2" in (folder / "job.sh").read_text()

    def log() -> str:
        return "\n".join(jobs.log_tail(folder))

    wait_until(lambda: len(workers_of(folder, TrialState.RUNNING)) == 2, "two workers to be at work", log)
    before = workers_of(folder, TrialState.RUNNING)
    slurm.ask("scancel", f"{number}_1")
    slurm.await_state(f"{number}_1", "CANCELLED")
    assert jobs.state_of(folder).state == "running"  # the other one is at it
    slurm.ask("scontrol", "requeue", f"{number}_1")
    assert until_state(folder, "done", patience=400).done
    states = [trial.state for trial in trials_of(folder)]
    assert states.count(TrialState.COMPLETE) == 8
    assert set(states) <= {TrialState.COMPLETE, TrialState.FAIL}  # nothing is left running; what was interrupted was run again
    assert before <= workers_of(folder, TrialState.COMPLETE, TrialState.FAIL)
    assert {slurm.state(f"{number}_{task}") for task in range(2)} == {"COMPLETED"}
    assert (folder / BEST_PARAMS).is_file()
    figure = f"{states.count(TrialState.COMPLETE)} of 8 trials, {states.count(TrialState.RUNNING)} left running"
    reliability("a study of two SLURM array workers, one scancelled midway and requeued, ends complete", figure)


def process_of(folder: Path) -> int:
    """The process that works in a folder, as the job's script started it."""
    words = ((int(path.parent.name), path.read_bytes().split(b"\0")) for path in Path("/proc").glob("[0-9]*/cmdline"))
    return next(number for number, line in words if str(folder).encode() in line)


def has_waiting(process: int, number: signal.Signals) -> bool:
    """Whether this signal was sent to a process that is stopped and could not take it yet."""
    status = Path(f"/proc/{process}/status").read_text().splitlines()
    return any(line.startswith("ShdPnd:") and int(line.split()[1], 16) >> (number - 1) & 1 for line in status)


@pytest.mark.timeout(900)
def test_a_job_whose_time_is_up_saves_itself_queues_again_and_ends_as_the_uninterrupted_one(
    slurm: SlurmNode, tables: SyntheticTables, home: Path, reliability: Figure
) -> None:
    long = {"trials": 1, "max_epochs": 40, "patience": 40}
    (home / "milbench" / "cluster.toml").write_text('partition = "main"\ntime = 2\nnotice_s = 25\n')
    folder = home / "study"
    assert main(arguments(config_for(tables, folder, **long, slurm=ClusterFlags("slurm")))) == 0
    number = jobs.read_job(folder).ids[0]
    wait_until((folder / "metrics.jsonl").is_file, "the first epoch", lambda: "\n".join(jobs.log_tail(folder)))
    process = process_of(folder)
    os.kill(process, signal.SIGSTOP)  # held amid its work until SLURM's warning is there, however fast the machine
    MILPipelineOrchestrator(config_for(tables, home / "here", **long)).run()  # meanwhile
    wait_until(lambda: has_waiting(process, signal.SIGUSR1), "the warning that the time is nearly over", slurm.logs)
    os.kill(process, signal.SIGCONT)

    assert until_state(folder, "done", patience=600).stage == "done"
    restarts = int(slurm.ask("scontrol", "show", "job", number).partition("Restarts=")[2].split()[0])
    assert restarts >= 1 and sum("time is up: queued again" in line for line in jobs.log_tail(folder)) == restarts
    assert finished(folder) == finished(home / "here")
    here, there = weights(home / "here"), weights(folder)
    assert same_weights(there, here)
    figure = f"queued again {restarts} ×; {len(there)} of {len(here)} tensors of the final model bitwise equal, the same trials"
    reliability("a SLURM job whose walltime ends saves itself, queues again and ends as the uninterrupted one", figure)


def test_a_job_that_slurm_refuses_is_one_line_and_leaves_no_job_behind(
    slurm: SlurmNode, tables: SyntheticTables, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = config_for(tables, home / "study", slurm=ClusterFlags("slurm", partition="nowhere"))
    assert main(arguments(config)) == 1
    assert "invalid partition specified: nowhere" in capsys.readouterr().err
    assert jobs.jobs_in(home) == []
    assert not (home / "study" / jobs.JOB).exists()
