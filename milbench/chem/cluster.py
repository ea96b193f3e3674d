"""The shards as an array of SLURM jobs: the code of a local run, a share of the shards a job."""

import logging
import math
import os
import sys
import time
from pathlib import Path

from milbench import slurm
from milbench.chem.shards import run_shards
from milbench.chem.work import Work
from milbench.errors import DataError
from milbench.files import make_folder, read_json, write_json
from milbench.prepare_config import PrepareConfig
from milbench.progress import Advance

log = logging.getLogger(__name__)
MOST_TASKS = 1000
"""SLURM's own default limit to the tasks of an array."""
_POLL_S = 2.0


def run_on_cluster(config: PrepareConfig, work: Work, todo: list[int], advance: Advance) -> None:
    """Submit the shards `todo` and wait; DataError when some did not finish, with the folder of their logs."""
    logs, options = make_folder(work.folder / "jobs"), config.slurm.options("prepare")
    tasks = min(math.ceil(len(todo) / (options.cpus or 1)), MOST_TASKS)
    plan = {"source": config.source.absolute(), "out": config.out.absolute(), "settings": config.settings()}
    _cancel_earlier(logs)
    write_json(logs / "plan.json", {**plan, "todo": todo, "tasks": tasks, "rows": work.n_rows, "shards": work.n_shards})
    command = [options.python or sys.executable, "-P", "-m", "milbench.chem.cluster", str(logs.absolute() / "plan.json")]
    script = slurm.Script(command, options, "milbench-prepare", logs.absolute() / "%A_%a.txt", Path.cwd(), tasks)
    job = slurm.submit(script, logs / "job.sh")
    write_json(logs / "submitted.json", job)
    log.info("prepare: SLURM job %s, %d tasks; their logs are in %s", job, tasks, logs)
    phase = slurm.phase_of(job)
    try:
        while phase.name != "gone":
            advance(max(work.n_rows - len(work.unfinished) * config.shard_size, 0), phase.words)
            time.sleep(_POLL_S)
            phase = slurm.phase_of(job)
    finally:
        if phase.name != "gone":
            slurm.cancel(job)
    if work.unfinished:
        do = f"read their logs in {logs} and run the same command again"
        said = f" (SLURM says: {phase.words})" if phase.words else ""
        raise DataError(config.source, f"{len(work.unfinished)} of {work.n_shards} shards did not finish{said}", do=do)


def _cancel_earlier(logs: Path) -> None:
    """End what a killed call left in the queue: it would compute the same shards."""
    path = logs / "submitted.json"
    if path.is_file() and slurm.phase_of(read_json(path)).name != "gone":
        slurm.cancel(read_json(path))


def run_share(path: Path, task: int) -> None:
    """The shards of a plan that are this task's and not finished yet."""
    plan = read_json(path)
    settings = plan["settings"] | {"source": plan["source"], "out": plan["out"]}
    config = PrepareConfig.from_plain(settings | {"processes": int(os.environ.get("SLURM_CPUS_ON_NODE", "1"))})
    work = Work(config.work, plan["rows"], plan["shards"])
    unfinished = set(work.unfinished)
    share = [index for index in plan["todo"][task :: plan["tasks"]] if index in unfinished]
    if share:
        run_shards(config, work, share, lambda: None)


if __name__ == "__main__":
    run_share(Path(sys.argv[1]), int(os.environ["SLURM_ARRAY_TASK_ID"]))
