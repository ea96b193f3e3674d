"""A worker of a study for the chaos tests: storage, claims, leases and processes are the real ones, folds are not trained.

python study_worker.py FOLDER URL TRIALS PROCESSES STEP_S: that many workers, forked after the imports, until TRIALS are done.
"""

import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import optuna
import pandas as pd

sys.path.insert(0, str(Path(__file__).parents[1]))  # run as a program, without pytest's paths

from builders import make_bags, make_cv
from milbench.run_config import CVRunConfig, PrunerConfig
from milbench.tasks import Endpoint, TaskSet
from milbench.training.cross_validation import MILCrossValidator
from milbench.training.study import MILStudyRunner

STEPS = 4
DATA = make_cv(make_bags(n_tasks=1, n_abs=0, n_fluo=0), tasks=TaskSet("one", (Endpoint("glow"),)))


@dataclass(frozen=True)
class Scripted(MILCrossValidator):
    """The objective: two parameters whose score is known, reported step by step."""

    step_s: float = 0.0

    def objective(self, trial: optuna.Trial) -> Any:
        value = trial.suggest_float("x", 0, 1) - 0.1 * trial.suggest_float("y", 0, 1)
        for step in range(STEPS):
            time.sleep(self.step_s)
            trial.report(value, step)
            if trial.should_prune():
                raise optuna.TrialPruned
        metrics = SimpleNamespace(ap=np.array([value]))
        return SimpleNamespace(value=value, macro_ap=value, folds=(SimpleNamespace(metrics=metrics),))

    def out_of_fold(self, result: Any) -> pd.DataFrame:
        return pd.DataFrame({"ID": ["a"], "pred_glow": [result.value]})


def main(folder: str, url: str, trials: str, processes: str, step_s: str) -> int:
    sys.modules["optuna_dashboard"] = None  # type: ignore[assignment]  # no cards: they are another test's
    run = CVRunConfig(trials=int(trials), max_epochs=STEPS, pruner=PrunerConfig(startup_trials=5, warmup_steps=1))
    runner = MILStudyRunner(Scripted(DATA, run, step_s=float(step_s)), Path(folder), None if url == "default" else url)
    return forked(runner, int(processes))


def forked(runner: MILStudyRunner, processes: int) -> int:
    """Be `processes` workers; gives how many did not end well."""
    children = []
    for _ in range(processes):
        pid = os.fork()
        if pid == 0:
            runner.work()
            os._exit(0)
        children.append(pid)
    return sum(os.waitpid(pid, 0)[1] != 0 for pid in children)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
