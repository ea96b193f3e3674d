"""Small data sets, task sets and models that the tests share."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from milbench.configs import HPOConfig
from milbench.data.assemble import load_tables
from milbench.data.bags import BagBatch, BagData, make_batch
from milbench.data.cv import MILCVData
from milbench.data.folds import stratified_folds
from milbench.data.store import save_store
from milbench.data.targets import RawTargets
from milbench.models import MILModelBuilder, MILTaskAttnMixerWithAux
from milbench.tasks import EUOS25, AuxTarget, Endpoint, TaskSet

TINY = {
    "mol_hidden": 8,
    "mol_layers": 1,
    "inst_hidden": 8,
    "inst_layers": 1,
    "attn_heads": 2,
    "proj_dim": 8,
    "mixer_hidden": 8,
    "mixer_layers": 1,
    "head_num_layers": 1,
    "batch_size": 16,
    "accumulate_grad_batches": 1,
}
"""Hyperparameters of the smallest model that is still the whole model."""


def tiny_config(tasks: TaskSet = EUOS25, **params: object) -> HPOConfig:
    """`TINY`, changed by `params`."""
    return HPOConfig.from_params({**TINY, **params}, tasks)


def make_tasks(n_tasks: int, n_abs: int = 0, n_fluo: int = 0) -> TaskSet:
    """A task set with names that the library has never seen."""
    endpoints = tuple(Endpoint(f"assay_{t}", weight=f"w_{t}" if t % 2 else None, quota_per_256=t) for t in range(n_tasks))
    aux = [tuple(AuxTarget(f"{kind}_{j}") for j in range(n)) for kind, n in (("absorb", n_abs), ("glow", n_fluo))]
    return TaskSet(f"{n_tasks} assays", endpoints, *aux)


def make_bags(
    n: int = 60,
    n_tasks: int = 4,
    *,
    n_abs: int = 2,
    n_fluo: int = 4,
    f2: int = 5,
    f3: int = 6,
    sizes: np.ndarray | None = None,
    missing: float = 0.0,
    seed: int = 0,
) -> BagData:
    """A data set of n molecules with 1-6 conformers; every task has positives; a quarter of the auxiliaries is missing."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 7, size=n) if sizes is None else sizes
    y = (rng.random((n, n_tasks)) < 0.3).astype(np.float32)
    y[: 2 * n_tasks] = np.tile(np.eye(n_tasks, dtype=np.float32), (2, 1))[:n]
    y[rng.random(y.shape) < missing] = np.nan

    def aux(width: int) -> np.ndarray:
        values = rng.normal(300, 40, (n, width)).astype(np.float32)
        values[rng.random(values.shape) < 0.25] = np.nan
        return values

    def weights(width: int) -> np.ndarray:
        return rng.uniform(0.5, 2, (n, width)).astype(np.float32)

    return BagData(
        ids=np.array([f"M{i}" for i in range(n)], dtype=object),
        x2d=torch.from_numpy(rng.normal(3, 2, (n, f2)).astype(np.float32)),
        xinst=torch.from_numpy(rng.normal(-1, 5, (sizes.sum(), f3)).astype(np.float32)),
        offsets=torch.from_numpy(np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)),
        conf_ids=np.concatenate([np.arange(size).astype(str).astype(object) for size in sizes]),
        split=np.full(n, "train", dtype=object),
        fold=np.full(n, -1, dtype=np.int64),
        raw=RawTargets(y, weights(n_tasks), aux(n_abs), weights(n_abs), aux(n_fluo), weights(n_fluo)),
        names2d=tuple(f"d{j}" for j in range(f2)),
        names_inst=tuple(f"g{j}" for j in range(f3)),
    )


def store_from_tables(folder: Path, labels: Path, feat2d: Path, instances: Sequence[Path]) -> Path:
    """Feature tables with the EUOS25 endpoints as a bag store at `folder`."""
    bags = load_tables(labels, feat2d, instances)
    return save_store(folder, bags, EUOS25, provenance=bags.provenance)


def make_cv(bags: BagData | None = None, n_folds: int = 3, tasks: TaskSet | None = None, **options: object) -> MILCVData:
    """`bags` in stratified folds."""
    bags = make_bags() if bags is None else bags
    t = bags.raw.y.shape[1]
    tasks = tasks or (EUOS25 if t == 4 else make_tasks(t, bags.raw.abs.shape[1], bags.raw.fluo.shape[1]))
    return MILCVData(bags, stratified_folds(bags.raw.y, n_folds), tasks, **options)  # type: ignore[arg-type]


def make_model(bags: BagData | None = None, seed: int = 0, **params: object) -> MILTaskAttnMixerWithAux:
    """The whole model for `bags`, in evaluation mode, every parameter moved off its initial zeros and ones."""
    data = make_cv(bags)
    model = MILModelBuilder(seed).build(tiny_config(data.tasks, **params), data.fold(0))
    stir(model)
    return model.eval()


def stir(module: torch.nn.Module, seed: int = 0) -> None:
    """Add noise to every parameter, so that nothing hides behind an initial zero."""
    rng = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=rng))


def batch_of(*sizes: int, f2: int = 5, f3: int = 6, seed: int = 0) -> BagBatch:
    """A batch of molecules with these numbers of conformers."""
    rng = torch.Generator().manual_seed(seed)
    offsets = torch.tensor([0, *np.cumsum(sizes)])
    return make_batch(torch.randn(len(sizes), f2, generator=rng), torch.randn(int(offsets[-1]), f3, generator=rng), offsets)
