"""Writes a bag store piece by piece: memory holds one piece, whatever the size of the data."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from milbench.data.manifest import SCHEMA, TARGETS
from milbench.data.targets import RawTargets
from milbench.errors import DataError
from milbench.files import array_writer, atomic_folder, content_hash, file_hash, write_json
from milbench.tasks import TaskSet
from milbench.version import __version__

_LARGEST_HALF = float(np.finfo(np.float16).max)
_SMALLEST_HALF = float(np.finfo(np.float16).tiny)


@dataclass(frozen=True)
class StorePlan:
    """What must be known before the first piece: the tasks, feature names, and how much of everything will come.

    aux: number of absorbance and of fluorescence columns. atoms: heavy atoms of all conformers together, None for a store
    without coordinates. float16: instance features in half precision.
    """

    tasks: TaskSet
    names2d: tuple[str, ...]
    names_inst: tuple[str, ...]
    molecules: int
    conformers: int
    aux: tuple[int, int] = (0, 0)
    atoms: int | None = None
    float16: bool = False


@dataclass(frozen=True)
class Piece:
    """The next m molecules and their r conformers.

    molecules: ID, split, cv_fold, smiles where known, and further columns; conformers: ID, conf_id and further columns. Every
    piece has the same columns. x2d [m, F2], xinst [r, F3], sizes [m], raw targets of m molecules; positions [Σ atoms, 3] in
    Å and atoms [r], or None.
    """

    molecules: pd.DataFrame
    conformers: pd.DataFrame
    x2d: np.ndarray
    xinst: np.ndarray
    sizes: np.ndarray
    raw: RawTargets
    positions: np.ndarray | None = None
    atoms: np.ndarray | None = None


@dataclass
class StoreWriter:
    """Takes the pieces of a store in order; made by `store_writer`."""

    folder: Path
    plan: StorePlan
    _stack: ExitStack
    loss: "HalfLoss | None" = None
    _arrays: dict[str, Callable[[np.ndarray], None]] = field(default_factory=dict)
    _tables: dict[str, pq.ParquetWriter] = field(default_factory=dict)
    _ends: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        p = self.plan
        t, (a, f) = len(p.tasks), p.aux
        shapes = {"x2d": (p.molecules, len(p.names2d)), "xinst": (p.conformers, len(p.names_inst))}
        shapes |= {f"target_{k}": (p.molecules, n) for k, n in zip(TARGETS, (t, t, a, a, f, f), strict=True)}
        for name, shape in shapes.items():
            self._open(name, shape, np.float16 if p.float16 and name == "xinst" else np.float32)
        self._open_offsets("offsets", p.molecules)
        if p.atoms is not None:
            self._open("coordinates", (p.atoms, 3), np.float32)
            self._open_offsets("coordinate_offsets", p.conformers)
        self.loss = HalfLoss(p.names_inst) if p.float16 else None

    def add(self, piece: Piece) -> None:
        """Append one piece."""
        self.table("molecules", piece.molecules)
        self.table("conformers", piece.conformers)
        self._arrays["x2d"](piece.x2d)
        self._arrays["xinst"](piece.xinst if self.loss is None else self.loss.halved(piece.xinst))
        self._add_offsets("offsets", piece.sizes)
        for name in TARGETS:
            self._arrays[f"target_{name}"](getattr(piece.raw, name))
        if piece.positions is not None and piece.atoms is not None:
            self._arrays["coordinates"](piece.positions)
            self._add_offsets("coordinate_offsets", piece.atoms)

    def table(self, name: str, rows: pd.DataFrame) -> None:
        """Append rows to the store's table `name`.parquet; every piece has the columns and types of the first."""
        if name not in self._tables:
            schema = pa.Schema.from_pandas(rows, preserve_index=False).remove_metadata()
            self._tables[name] = self._stack.enter_context(pq.ParquetWriter(self.folder / f"{name}.parquet", schema))
        self._tables[name].write_table(pa.Table.from_pandas(rows, self._tables[name].schema, preserve_index=False))

    def _open(self, name: str, shape: tuple[int, ...], dtype: type) -> None:
        self._arrays[name] = self._stack.enter_context(array_writer(self.folder / f"{name}.npy", shape, dtype))

    def _open_offsets(self, name: str, n: int) -> None:
        self._open(name, (n + 1,), np.int64)
        self._ends[name] = 0
        self._arrays[name](np.zeros(1))

    def _add_offsets(self, name: str, sizes: np.ndarray) -> None:
        ends = self._ends[name] + np.cumsum(sizes, dtype=np.int64)
        self._arrays[name](ends)
        self._ends[name] = int(ends[-1]) if len(ends) else self._ends[name]


@dataclass
class HalfLoss:
    """Halves instance features and keeps account of what that costs."""

    names: tuple[str, ...]
    relative: float = 0.0

    def __post_init__(self) -> None:
        self._n, self._first = 0, np.zeros(len(self.names))
        self._sum, self._squares, self._error = (np.zeros(len(self.names)) for _ in range(3))

    def halved(self, rows: np.ndarray) -> np.ndarray:
        """float16 [r, F] of float32 [r, F]; a finite value that does not fit is a DataError that names its column."""
        too_large = (np.abs(rows) > _LARGEST_HALF) & np.isfinite(rows)
        if too_large.any():
            row, column = np.argwhere(too_large)[0]
            want = f"at most {_LARGEST_HALF:.0f} in float16"
            raise DataError("--float16", column=self.names[column], got=float(rows[row, column]), want=want, do="store float32")
        half = rows.astype(np.float16)
        if len(rows):
            self._account(rows.astype(np.float64), np.nan_to_num(np.abs(half.astype(np.float64) - rows)))
        return half

    def _account(self, rows: np.ndarray, error: np.ndarray) -> None:
        if not self._n:
            self._first = np.nan_to_num(rows[0])
        shifted = np.nan_to_num(rows - self._first)
        self._n += len(rows)
        self._sum += shifted.sum(axis=0)
        self._squares += (shifted**2).sum(axis=0)
        self._error = np.maximum(self._error, error.max(axis=0))
        normal = np.abs(rows) >= _SMALLEST_HALF
        self.relative = max(self.relative, float((error[normal] / np.abs(rows[normal])).max(initial=0)))

    def report(self) -> dict[str, Any]:
        """max_relative_error (of values of 6e-5 or more), and the largest error in standard deviations of its column."""
        sd = np.sqrt(np.maximum(self._squares / max(self._n, 1) - (self._sum / max(self._n, 1)) ** 2, 0))
        in_sd = np.divide(self._error, sd, out=np.zeros_like(sd), where=sd > 0)
        worst = int(in_sd.argmax()) if len(in_sd) else None
        return {
            "max_relative_error": self.relative,
            "max_error_in_sd": 0.0 if worst is None else float(in_sd[worst]),
            "worst_column": "" if worst is None else self.names[worst],
        }


@contextmanager
def store_writer(folder: str | Path, plan: StorePlan, about: dict[str, Any]) -> Iterator[StoreWriter]:
    """A writer of a store at `folder` (which must not exist); the store is there, once the context ends well.

    about: provenance, notes, units, content and what else belongs in the manifest; it may be added to until the end. Without
    `content`, that is the hash of all files.
    """
    with atomic_folder(folder) as partial:
        with ExitStack() as stack:
            writer = StoreWriter(partial, plan, stack)
            yield writer
        files = {f.name: {"bytes": f.stat().st_size, "sha256": file_hash(f)} for f in sorted(partial.iterdir())}
        manifest = {
            "schema": SCHEMA,
            "milbench": __version__,
            "tasks": plan.tasks.to_dict(),
            "counts": {"molecules": plan.molecules, "conformers": plan.conformers},
            "features_2d": list(plan.names2d),
            "features_3d": list(plan.names_inst),
            "content": hash_of_files(files),
            "files": files,
            **({} if writer.loss is None else {"float16": writer.loss.report()}),
            **about,
        }
        write_json(partial / "manifest.json", manifest)


def hash_of_files(files: dict[str, dict[str, Any]]) -> str:
    """SHA-256 over the names and hashes of a store's files."""
    return content_hash(text="\n".join(f"{name} {entry['sha256']}" for name, entry in sorted(files.items())))
