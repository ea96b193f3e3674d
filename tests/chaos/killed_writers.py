"""What a process does that is killed while it writes: version after version of one file, each of one piece."""

from collections.abc import Callable
from itertools import count
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from builders import make_bags
from milbench.data.store import load_store, save_store
from milbench.files import read_json, read_tensors, remove, sweep_orphans, write_json, write_table, write_tensors
from milbench.tasks import EUOS25


def _write_store(folder: Path, version: int) -> None:
    """A store is written once; a newer one replaces it here by another name."""
    bags = make_bags(40)
    bags.raw.w[:] = version
    save_store(folder / f"{version:06}.store", bags, EUOS25, provenance={"version": version})
    for older in sorted(folder.glob("*.store"))[:-2]:
        remove(older)


def _read_store(folder: Path) -> list[int]:
    versions = []
    for path in sorted(folder.glob("*.store")):
        bags, _ = load_store(path, check=True)
        (version,) = np.unique(bags.raw.w)
        assert version == int(path.stem)
        versions.append(int(version))
    return versions


def _one(values: object) -> list[int]:
    (version,) = np.unique(np.asarray(values))
    return [int(version)]


WRITE: dict[str, Callable[[Path, int], None]] = {
    "checkpoint": lambda folder, n: write_tensors(folder / "a.ckpt", {"n": n, "x": torch.full((300_000,), float(n))}),
    "json": lambda folder, n: write_json(folder / "a.json", {"x": [n] * 20_000}),
    "parquet": lambda folder, n: write_table(folder / "a.parquet", pd.DataFrame({"x": np.full(200_000, n)})),
    "store": _write_store,
}
READ: dict[str, Callable[[Path], list[int]]] = {
    "checkpoint": lambda folder: _one(read_tensors(folder / "a.ckpt")["x"]),
    "json": lambda folder: _one(read_json(folder / "a.json")["x"]),
    "parquet": lambda folder: _one(pd.read_parquet(folder / "a.parquet")["x"]),
    "store": _read_store,
}


def write_for_ever(kind: str, folder: Path, first: int, begun: Connection) -> None:
    """Start as every command does, by sweeping what killed writers left; then write until killed."""
    sweep_orphans(folder)
    begun.send(len(list(folder.glob(".*"))))
    for version in count(first):
        WRITE[kind](folder, version)
