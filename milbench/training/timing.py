"""How long an epoch of a fold takes on this machine, and how much memory: a sample of it is trained for a few epochs."""

import contextlib
import dataclasses
import time
from dataclasses import dataclass

import numpy as np

from milbench.configs import HPOConfig
from milbench.data.cv import MILCVData
from milbench.data.folds import stratified_folds
from milbench.training.fold import MILFoldTrainer
from milbench.training.memory import peak_memory_mb, reset_peak_memory

STEPS = 12
"""Batches of an epoch of the sample, about."""
WARM, LEAST, MOST, ENOUGH_S = 1, 2, 8, 10.0
"""Epochs that are not counted, that are timed at least and at most, and the seconds after which it is enough."""


@dataclass(frozen=True)
class Timing:
    """An epoch of a whole fold: its training molecules, steps (batches), seconds with the validation; peak memory in MiB."""

    molecules: int
    steps: int
    epoch_s: float
    memory_mb: float


def time_fold(data: MILCVData, config: HPOConfig) -> Timing:
    """Train on a sample of the first fold until its epochs are timed; nothing is kept."""
    moments = [time.perf_counter()]

    def hook(_: object) -> None:
        moments.append(time.perf_counter())
        timed = len(moments) - 1 - WARM
        if timed >= MOST or (timed >= LEAST and moments[-1] - moments[0] > ENOUGH_S):
            raise _Enough

    reset_peak_memory()
    epochs = WARM + MOST
    sample = sample_folds(data, STEPS * config.optimization.batch_size).fold(0)
    with contextlib.suppress(_Enough):
        MILFoldTrainer(data.tasks, epochs, epochs).train(sample, config, hook)
    molecules = int(((data.fold_of >= 0) & (data.fold_of != data.fold_names[0])).sum())
    epoch_s = float(np.median(np.diff(moments)[WARM:])) * molecules / len(sample.train)
    return Timing(molecules, -(-molecules // config.optimization.batch_size), epoch_s, peak_memory_mb())


def sample_folds(data: MILCVData, molecules: int) -> MILCVData:
    """About so many training molecules and their part of the others, balanced over label patterns; all if there are fewer."""
    used = np.flatnonzero(data.fold_of >= 0)
    share = molecules / max(1, int((data.fold_of[used] != data.fold_names[0]).sum()))
    if share > 0.5:
        return data
    kept = used[stratified_folds(data.bags.raw.y[used], round(1 / share)) == 0]
    fold_of = np.full(len(data.fold_of), -1, dtype=np.int64)
    fold_of[kept] = data.fold_of[kept]
    return dataclasses.replace(data, fold_of=fold_of)


class _Enough(Exception):
    """The epochs are timed."""
