"""What a study would cost: an epoch is timed by a process of its own, the rest is arithmetic. Loads torch to time alone."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from milbench.data.manifest import read_manifest
from milbench.errors import DataError
from milbench.files import content_hash, read_json, write_json
from milbench.flags import flags_of
from milbench.jobs import Job, submit
from milbench.launch import LaunchPlan, middle_config
from milbench.plural import plural
from milbench.run_config import CostConfig, PipelineConfig
from milbench.workers import environments

COST = "cost.json"
_BUDGET = {"study_dir": Path(), "trials": 1, "max_epochs": 1, "patience": 1, "min_w": 0.3}
"""What changes the sum, but no epoch."""


@dataclass(frozen=True)
class Cost:
    """An epoch of a fold of `molecules` in `steps` batches, timed with one worker's share of this machine (`device`)."""

    molecules: int
    steps: int
    epoch_s: float
    memory_mb: float
    batch_size: int
    folds: int
    device: str

    def rows(self, trials: int, max_epochs: int, workers: int) -> list[tuple[str, str, str]]:
        """Of an epoch, a fold, a trial, the study and its memory: what, how much, and what it is made of."""
        fold_s = self.epoch_s * max_epochs
        trial_s = fold_s * self.folds
        rounds = -(-trials // workers)
        batches = f"{plural(self.steps, 'batch', 'batches')} of {self.batch_size}, and the validation"
        beside = "one after the other" if workers == 1 else f"{workers} at a time"
        return [
            ("An epoch of a fold", duration(self.epoch_s), batches),
            ("A fold", duration(fold_s), plural(max_epochs, "epoch")),
            ("A trial", duration(trial_s), plural(self.folds, "fold")),
            ("The study", duration(trial_s * rounds), f"{plural(trials, 'trial')}, {beside}"),
            ("Memory", f"{self.memory_mb * workers / 1024:.1f} GiB", plural(workers, "worker")),
        ]

    @property
    def assumption(self) -> str:
        """What the figures take for granted."""
        return (
            f"If every trial used all epochs, one fold after the other; pruned and early-stopped trials, and folds trained "
            "together, are cheaper. Starting, saving and scoring a fold come on top: with small data they take longer than its "
            f"epochs. Timed on {self.device}, as busy as it "
            "was, with every searched hyperparameter in the middle of its range: wide and deep models take longer."
        )


def duration(seconds: float) -> str:
    """A time as people say it, in the largest unit that fits."""
    for unit, size in (("days", 86400.0), ("h", 3600.0), ("min", 60.0), ("s", 1.0)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds * 1000:.0f} ms"


def run_cost(config: CostConfig) -> list[str]:
    """Time an epoch of the study that `config` asks for; gives the estimate in lines."""
    from milbench.pipeline import HPODataBuilder, PipelineEnvironmentFactory
    from milbench.training.timing import time_fold

    environment = PipelineEnvironmentFactory(config).checked()
    data = HPODataBuilder(dataclasses.replace(environment, config=dataclasses.replace(config, run_hpo=False))).build(quiet=True)
    hpo = middle_config(environment.run, data.tasks)
    device = _device(config)
    timing = time_fold(data.cv, hpo)
    cost = Cost(**vars(timing), batch_size=hpo.optimization.batch_size, folds=data.cv.n_folds, device=device)
    if config.json is not None:
        write_json(config.json, vars(cost))
    rows = cost.rows(config.trials, config.max_epochs, config.workers)
    return [*(f"{what:<20}{value:>10}  {of}" for what, value, of in rows), cost.assumption]


def _device(config: PipelineConfig) -> str:
    """What a worker has for itself, in words; of a CPU it takes its share from here on."""
    import torch

    if config.nn_accelerator != "cpu" and torch.cuda.is_available():
        return f"one {torch.cuda.get_device_name(0)} ({config.precision})"
    threads = int(next(environments(config.workers, []))["OMP_NUM_THREADS"])
    torch.set_num_threads(threads)
    return f"{plural(threads, 'core')} of this machine ({config.precision})"


def cost_folder(root: Path, plan: LaunchPlan) -> Path:
    """Where the timing of a plan lies: one for all plans whose epochs are the same."""
    what = flags_of(dataclasses.replace(plan, **_BUDGET))
    return root / "jobs" / f"cost-{content_hash(text=repr([read_manifest(plan.store)['content'], *what]))[:10]}"


def start_timing(root: Path, plan: LaunchPlan) -> Job:
    """Time an epoch of the plan, as a job."""
    plan.checked()
    folder = cost_folder(root, plan)
    return submit(["cost", *flags_of(plan), "--json", str(folder / COST)], folder)


def read_cost(folder: Path) -> Cost | None:
    """What was timed; None before it is."""
    path = folder / COST
    if not path.is_file():
        return None
    found: Mapping[str, Any] = read_json(path)
    if not isinstance(found, dict) or found.keys() != {field.name for field in dataclasses.fields(Cost)}:
        raise DataError(path, "is not what `milbench cost` writes", do="remove it, and time again")
    return Cost(**found)
