"""For your own tests: contract checks of a part that you wrote, and small tables from which a tiny model learns."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from milbench.errors import ConfigError
from milbench.files import make_folder, write_table
from milbench.models.contracts import check_aggregator, check_embedder, check_predictor
from milbench.seeds import stream
from milbench.tasks import EUOS25, TaskSet

__all__ = ["SyntheticTables", "check_aggregator", "check_embedder", "check_predictor", "make_tables"]

PREVALENCE = (0.25, 0.2, 0.35, 0.15, 0.3, 0.2, 0.25)
"""Share of positives of task 0, 1, …, repeated as often as needed."""
FEWEST_POSITIVES = 3
"""Of each task in each split, so that no score is undefined."""
KEY = 4.0
"""How far a key conformer stands out, where the noise has a standard deviation of 0.5."""
_NOISE_COLUMNS = 2


@dataclass(frozen=True)
class SyntheticTables:
    """Where `make_tables` wrote what, in the form that `load_tables` and `milbench run` read."""

    labels: Path
    feat2d: Path
    feat3d: Path
    feat3d_qm: Path

    @property
    def instances(self) -> tuple[Path, Path]:
        """Both instance tables."""
        return self.feat3d, self.feat3d_qm


def make_tables(
    folder: str | Path,
    n_molecules: int = 120,
    tasks: TaskSet = EUOS25,
    seed: int = 0,
    *,
    suffix: str = ".parquet",
    conformers: tuple[int, int] = (1, 6),
    leaderboard: float = 0.25,
    aux_missing: float = 0.3,
) -> SyntheticTables:
    """Write small tables for any task set; a model learns them from the conformers, since each positive has a key conformer.

    A molecule that is positive for task t has one conformer whose column t of feat3d is `KEY` higher, the key; a negative has
    none. `suffix` is ".parquet" or ".csv". `conformers` = (fewest, most) of a molecule. `leaderboard` is the share of molecules
    in that split, the others are `train`. `aux_missing` is the share of auxiliary values left empty. The same arguments write
    the same tables. SYNTHETIC: no molecule stands behind a row.
    """
    if suffix not in {".parquet", ".csv"}:
        raise ConfigError("make_tables", "suffix", got=suffix, want=".parquet or .csv")
    rng = stream(seed, "make_tables", n_molecules, len(tasks))
    split = np.where(np.arange(n_molecules) < round(n_molecules * (1 - leaderboard)), "train", "leaderboard")
    y = _labels(rng, split, len(tasks))
    ids = np.array([f"M{i:05d}" for i in range(n_molecules)], dtype=object)
    sizes = rng.integers(conformers[0], conformers[1], size=n_molecules, endpoint=True)
    signal = _signal(rng, y, sizes)
    mean_signal = np.add.reduceat(signal, np.cumsum(sizes) - sizes, axis=0) / sizes[:, None]
    labels = pd.DataFrame({"ID": ids, "split": split})
    for t, endpoint in enumerate(tasks.endpoints):
        labels[endpoint.label] = y[:, t]
    for column in _extra_columns(tasks, weights=True):
        labels[column] = rng.uniform(0.5, 1.5, n_molecules).round(3)
    for column in _extra_columns(tasks, weights=False):
        value = 400 + 50 * mean_signal.mean(axis=1) + rng.normal(0, 5, n_molecules)
        labels[column] = np.where(rng.random(n_molecules) < aux_missing, np.nan, value.round(2))
    keys = {"ID": np.repeat(ids, sizes), "conf_id": np.concatenate([np.arange(n) for n in sizes])}
    out = SyntheticTables(*(make_folder(folder) / f"{name}{suffix}" for name in ("labels", "feat2d", "feat3d", "feat3d_qm")))
    write_table(out.labels, labels)
    write_table(out.feat2d, _frame({"ID": ids}, "mol", 0.7 * y + rng.normal(size=y.shape), _noise(rng, n_molecules)))
    write_table(out.feat3d, _frame(keys, "geom", signal, _noise(rng, len(signal))))
    qm = {**keys, "status": "ok", "error": ""}
    write_table(out.feat3d_qm, _frame(qm, "qm", signal[:, :1] + rng.normal(0, 0.5, (len(signal), 1)), _noise(rng, len(signal))))
    return out


def _labels(rng: np.random.Generator, split: np.ndarray, n_tasks: int) -> np.ndarray:
    """0/1 [M, T] with each task's share of positives in each split, at least `FEWEST_POSITIVES`."""
    y = np.zeros((len(split), n_tasks), dtype=np.int64)
    for part in np.unique(split):
        members = np.flatnonzero(split == part)
        for t in range(n_tasks):
            count = max(FEWEST_POSITIVES, round(PREVALENCE[t % len(PREVALENCE)] * len(members)))
            y[rng.permutation(members)[:count], t] = 1
    return y


def _signal(rng: np.random.Generator, y: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """One column a task [ΣN, T]: noise, and `KEY` higher in the key conformer of a positive."""
    signal = rng.normal(0, 0.5, (sizes.sum(), y.shape[1]))
    first = np.cumsum(sizes) - sizes
    for molecule, t in np.argwhere(y == 1):
        signal[first[molecule] + rng.integers(sizes[molecule]), t] += KEY
    return signal


def _extra_columns(tasks: TaskSet, *, weights: bool) -> list[str]:
    targets = (*tasks.aux_abs, *tasks.aux_fluo)
    names = [x.weight for x in (*tasks.endpoints, *targets)] if weights else [x.column for x in targets]
    return list(dict.fromkeys(name for name in names if name is not None))


def _noise(rng: np.random.Generator, n: int) -> np.ndarray:
    return rng.normal(size=(n, _NOISE_COLUMNS))


def _frame(keys: dict[str, object], prefix: str, *blocks: np.ndarray) -> pd.DataFrame:
    values = np.concatenate(blocks, axis=1).round(4)
    return pd.DataFrame({**keys, **{f"{prefix}_{j:02d}": values[:, j] for j in range(values.shape[1])}})
