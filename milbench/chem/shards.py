"""Shards: stretches of the input's rows, each computed and written whole."""

import queue
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
from joblib import cpu_count

from milbench.chem.compute import Recipe, Result
from milbench.chem.inputs import ID, STRUCTURE
from milbench.chem.work import Work
from milbench.chem.worker import Worker
from milbench.files import atomic_folder, read_array, write_array, write_table
from milbench.prepare_config import PrepareConfig

_ARRAYS = ("x2d", "xinst", "positions", "energies")


@dataclass(frozen=True)
class Shard:
    """A finished shard of n rows, of which m were computed, with r conformers.

    rows, n of them: ID, source, dropped ("" for the m), detail, smiles, inchikey, changes, conformers, atoms (heavy atoms of a
    conformer). x2d [m, F2], xinst [r, F3], positions [Σ atoms, 3], energies [r].
    """

    rows: pd.DataFrame
    x2d: np.ndarray
    xinst: np.ndarray
    positions: np.ndarray
    energies: np.ndarray

    @property
    def computed(self) -> pd.DataFrame:
        """The m rows that were computed, in order."""
        return self.rows.loc[self.rows["dropped"] == ""]


def run_shard(config: PrepareConfig, work: Work, index: int, worker: Worker, advance: Callable[[], None]) -> None:
    """Compute a shard with `worker` and write it; `advance` is called after each molecule."""
    table = pq.read_table(work.input(index))
    structures = table[STRUCTURE].to_pylist()
    results = []
    for result in worker.results(structures):
        results.append(result)
        advance()
    shard = _collected(table[ID].to_pylist(), structures, results, config)
    with atomic_folder(work.shard(index)) as partial:
        write_table(partial / "rows.parquet", shard.rows)
        for name in _ARRAYS:
            write_array(partial / f"{name}.npy", getattr(shard, name))


def run_shards(config: PrepareConfig, work: Work, todo: list[int], advance: Callable[[], None]) -> None:
    """Compute the shards `todo` with processes of this machine, a thread each: it hands over, collects and writes."""
    waiting: queue.SimpleQueue[int] = queue.SimpleQueue()
    for index in todo:
        waiting.put(index)
    cores = config.processes or cpu_count()

    def run(worker: Worker) -> None:
        while not waiting.empty():
            try:
                index = waiting.get_nowait()
            except queue.Empty:
                return
            run_shard(config, work, index, worker, advance)

    with ExitStack() as stack:
        workers = [stack.enter_context(closing(Worker(config))) for _ in range(min(cores, len(todo)))]
        pool = stack.enter_context(ThreadPoolExecutor(len(workers)))
        try:
            for future in as_completed([pool.submit(run, worker) for worker in workers]):
                future.result()
        finally:
            for worker in workers:
                worker.stop()


def _collected(ids: list[str], structures: list[str], results: list[Result], config: PrepareConfig) -> Shard:
    rows = pd.DataFrame(
        {
            "ID": ids,
            "source": [""] * len(ids) if config.sdf else structures,
            **{name: [getattr(result, name) for result in results] for name in ("dropped", "detail", "smiles", "inchikey")},
            "changes": [", ".join(result.changes) for result in results],
            "conformers": [len(result.x3d) for result in results],
            "atoms": [result.positions.shape[1] for result in results],
        }
    )
    kept = [result for result in results if not result.dropped]
    width2d, width3d = map(len, Recipe.of(config).names)
    return Shard(
        rows,
        np.concatenate([np.zeros((0, width2d), np.float32), *(result.x2d[None] for result in kept)]),
        np.concatenate([np.zeros((0, width3d), np.float32), *(result.x3d for result in kept)]),
        np.concatenate([np.zeros((0, 3), np.float32), *(result.positions.reshape(-1, 3) for result in kept)]),
        np.concatenate([np.zeros(0), *(result.energies for result in kept)]),
    )


def read_shard(folder: Path) -> Shard:
    """Read a finished shard."""
    return Shard(pd.read_parquet(folder / "rows.parquet"), *(read_array(folder / f"{name}.npy") for name in _ARRAYS))
