"""The shards as an array of jobs, on SLURM or as submitit's local jobs: the code of a local run, one shard a job."""

import time
from contextlib import closing
from typing import Any

from milbench.chem.shards import run_shard
from milbench.chem.work import Work
from milbench.chem.worker import Worker
from milbench.errors import ConfigError, DataError
from milbench.prepare_config import PrepareConfig
from milbench.progress import Advance

_POLL = 1.0  # s
_DEFAULTS = {"name": "milbench-prepare", "cpus_per_task": 1, "timeout_min": 240}


def run_on_cluster(config: PrepareConfig, work: Work, todo: list[int], advance: Advance) -> None:
    """Submit the shards `todo` and wait; DataError when some did not finish, with the folder of their logs."""
    try:
        import submitit
    except ImportError as error:
        raise ConfigError("--cluster", "submitit is not installed", do="pip install 'milbench[slurm]'") from error
    logs = work.folder / "jobs"
    try:
        executor = submitit.AutoExecutor(folder=logs, cluster=config.cluster)
        executor.update_parameters(**{**_DEFAULTS, **_options(config)})
    except (RuntimeError, NameError, ValueError, TypeError) as error:
        raise ConfigError("--cluster", f"submitit refuses ({error})", do="mend --cluster_options") from error
    jobs = executor.map_array(run_alone, [config] * len(todo), [work] * len(todo), todo)
    while not all(job.done() for job in jobs):
        advance(work.n_rows - len(work.unfinished) * config.shard_size, "")
        time.sleep(_POLL)
    if work.unfinished:
        do = f"read their logs in {logs} and run the same command again"
        raise DataError(config.source, f"{len(work.unfinished)} of {work.n_shards} shards did not finish", do=do)


def run_alone(config: PrepareConfig, work: Work, index: int) -> None:
    """One shard, unless another job has finished it: what a job of the array does."""
    if work.shard(index).is_dir():
        return
    with closing(Worker(config)) as worker:
        run_shard(config, work, index, worker, lambda: None)


def _options(config: PrepareConfig) -> dict[str, Any]:
    pairs = [option.partition("=") for option in config.cluster_options]
    for name, equals, _ in pairs:
        if not name or not equals:
            raise ConfigError("--cluster_options", got=name, want="NAME=VALUE")
    return {name: int(value) if value.isdigit() else value for name, _, value in pairs}
