"""Synthetic bags that the benchmarks of training share: Gaussian features, EUOS25-like labels, bags of a given kind."""

import dataclasses

import numpy as np
import torch

from milbench.configs import HPOConfig, RuntimeConfig
from milbench.data.bags import BagData
from milbench.data.targets import RawTargets
from milbench.tasks import EUOS25, Endpoint, TaskSet

F2, F3, FOLDS = 217, 256, 5
PREVALENCE = (0.056, 0.0147, 0.1669, 0.0024)
MEAN_10 = 0.0984  # a geometric draw with this parameter, clipped at 40, has mean 10
LONG_TAIL = (1.4304, 1.3)  # a log-normal draw with these, rounded up and clipped at 160, has mean 10 and median 5


def bag_sizes(kind: str, n: int, rng: np.random.Generator) -> np.ndarray:
    """Conformers of n molecules: "1-40", "long-tailed" (1-160), both of mean 10; or a number, for all alike."""
    if kind == "1-40":
        return rng.geometric(MEAN_10, n).clip(1, 40)
    if kind == "long-tailed":
        return np.ceil(rng.lognormal(*LONG_TAIL, n)).clip(1, 160).astype(np.int64)
    return np.full(n, int(kind))


def synthetic_bags(n: int, seed: int = 0, kind: str = "1-40", n_tasks: int = 4) -> BagData:
    """n molecules with F2 and F3 Gaussian features, rare labels, and auxiliaries of which 30 % are missing."""
    rng = np.random.default_rng(seed)
    offsets = np.concatenate([[0], np.cumsum(bag_sizes(kind, n, rng))])
    x2d, xinst = (rng.standard_normal((rows, width), dtype=np.float32) for rows, width in ((n, F2), (offsets[-1], F3)))

    def aux(width: int) -> np.ndarray:
        return np.where(rng.random((n, width)) < 0.3, np.nan, rng.standard_normal((n, width))).astype(np.float32)

    def weights(width: int) -> np.ndarray:
        return rng.uniform(0.5, 1.5, (n, width)).astype(np.float32)

    y = (rng.random((n, n_tasks)) < np.resize(PREVALENCE, n_tasks)).astype(np.float32)
    return BagData(
        ids=np.arange(n).astype(str),
        x2d=torch.from_numpy(x2d),
        xinst=torch.from_numpy(xinst),
        offsets=torch.from_numpy(offsets),
        conf_ids=(np.arange(offsets[-1]) - np.repeat(offsets[:-1], np.diff(offsets))).astype("U4"),  # as `prepare` numbers them
        split=np.full(n, "train"),
        fold=np.arange(n) % FOLDS,
        raw=RawTargets(y, weights(n_tasks), aux(2), weights(2), aux(4), weights(4)),
        names2d=tuple(f"a{j}" for j in range(F2)),
        names_inst=tuple(f"b{j}" for j in range(F3)),
    )


def tasks_of(n_tasks: int) -> TaskSet:
    """EUOS25 with so many endpoints."""
    endpoints = tuple(Endpoint(f"t{t}", quota_per_256=1.0) for t in range(n_tasks))
    return EUOS25 if n_tasks == len(EUOS25) else dataclasses.replace(EUOS25, name="synthetic", endpoints=endpoints)


def config_of(hidden: int, batch_size: int, tasks: TaskSet = EUOS25) -> HPOConfig:
    """The default hyperparameters with one width everywhere, on the CPU."""
    params = {"mol_hidden": hidden, "inst_hidden": hidden, "mixer_hidden": hidden}
    config = HPOConfig.from_params(params, tasks, runtime=RuntimeConfig(accelerator="cpu"))
    return dataclasses.replace(config, optimization=dataclasses.replace(config.optimization, batch_size=batch_size))
