"""The bag store: a prepared data set as one folder of Parquet tables, .npy arrays and a manifest (spec section 2)."""

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import torch

from milbench.data.assemble import TableOptions, load_tables
from milbench.data.bags import BagData
from milbench.data.store_writer import SCHEMA, TARGETS, Piece, StorePlan, store_writer
from milbench.data.targets import RawTargets
from milbench.errors import DataError
from milbench.files import file_hash, read_array, read_json
from milbench.tasks import EUOS25, TaskSet

_ARRAYS = ("x2d", "xinst", "offsets")
_PIECE = 4096


def save_store(
    folder: str | Path,
    bags: BagData,
    tasks: TaskSet,
    *,
    provenance: dict[str, Any],
    conformers: pd.DataFrame | None = None,
    coordinates: tuple[np.ndarray, np.ndarray] | None = None,
    units: dict[str, str] | None = None,
    float16: bool = False,
) -> Path:
    """Write `bags` as a bag store at `folder` (which must not exist): whole or not at all.

    `conformers`: further columns by (ID, conf_id), e.g. energies or a simulation's key conformer. `coordinates`: heavy-atom
    positions in Å [Σ atoms, 3] and offsets [ΣN+1], in the atom order of the stored SMILES, conformers in the store's order.
    float16: halve the instance features; the loss goes to the manifest, a column that does not fit is a DataError.
    """
    piece = Piece(
        molecules=_molecule_table(bags, tasks),
        conformers=conformer_table(bags, conformers),
        x2d=bags.x2d.numpy(),
        xinst=bags.xinst.numpy(),
        sizes=bags.bag_sizes,
        raw=bags.raw,
        positions=None if coordinates is None else coordinates[0],
        atoms=None if coordinates is None else np.diff(coordinates[1]),
    )
    about = {"provenance": provenance, "notes": list(bags.notes), "units": units or {}}
    about |= {"content": bags.content} if bags.content else {}
    atoms = None if coordinates is None else len(coordinates[0])
    with store_writer(folder, _plan_of(bags, tasks, atoms, float16 or bags.xinst.dtype == torch.float16), about) as writer:
        writer.add(piece)
    return Path(folder)


def store_from_tables(
    folder: str | Path,
    labels: str | Path,
    feat2d: str | Path,
    instances: Sequence[str | Path],
    tasks: TaskSet = EUOS25,
    options: TableOptions | None = None,
) -> Path:
    """Existing feature tables as a bag store at `folder`; arguments and errors of `load_tables`."""
    bags = load_tables(labels, feat2d, instances, tasks, options)
    sources = [str(source) for source in (labels, feat2d, *instances)]
    return save_store(folder, bags, tasks, provenance={"made_by": "store_from_tables", "tables": sources})


def _plan_of(bags: BagData, tasks: TaskSet, atoms: int | None, float16: bool) -> StorePlan:
    aux = bags.raw.abs.shape[1], bags.raw.fluo.shape[1]
    return StorePlan(tasks, bags.names2d, bags.names_inst, len(bags), len(bags.conf_ids), aux, atoms, float16)


def _molecule_table(bags: BagData, tasks: TaskSet) -> pd.DataFrame:
    table = pd.DataFrame({"ID": bags.ids, "split": bags.split, "cv_fold": bags.fold})
    if bags.smiles is not None:
        table["smiles"] = pd.Series(bags.smiles, dtype="str")
    return table.assign(**{name: bags.raw.y[:, t] for t, name in enumerate(tasks.names)})


def conformer_table(bags: BagData, extra: pd.DataFrame | None = None) -> pd.DataFrame:
    """ID and conf_id of every instance in order, with `extra` columns joined on both."""
    table = pd.DataFrame({"ID": np.repeat(bags.ids, bags.bag_sizes), "conf_id": bags.conf_ids}, dtype="str")
    return table if extra is None else table.merge(extra, on=["ID", "conf_id"], how="left", validate="one_to_one")


def read_manifest(folder: str | Path) -> dict[str, Any]:
    """The manifest of a bag store; a folder that is none, or of another schema, is a DataError."""
    folder = Path(folder)
    if not (folder / "manifest.json").is_file():
        raise DataError(folder, "is not a bag store (no manifest.json)", do="make one with `milbench demo`, or give tables")
    path = folder / "manifest.json"
    manifest = read_json(path)
    schema = manifest.get("schema") if isinstance(manifest, dict) else None
    if schema != SCHEMA:
        raise DataError(path, "schema", got=schema, want=str(SCHEMA), do="prepare it again")
    for key in ("tasks", "features_2d", "features_3d", "notes", "content", "files"):
        if key not in manifest:
            raise DataError(path, f"{key!r} is missing", do="prepare it again")
    return manifest


def store_tasks(folder: str | Path) -> TaskSet:
    """What the molecules of a bag store are labelled for."""
    return TaskSet.from_dict(read_manifest(folder)["tasks"], where=Path(folder) / "manifest.json")


def load_store(folder: str | Path, *, mmap: bool = False, check: bool = False) -> tuple[BagData, TaskSet]:
    """Read a bag store; `mmap` maps the feature arrays instead of loading them.

    The size of every file is always compared with the manifest, its SHA-256 with `check`; a DataError names the file.
    """
    folder = Path(folder)
    manifest = read_manifest(folder)
    check_files(folder, manifest["files"], hashes=check)
    molecules = _parquet(folder / "molecules.parquet")
    conformers = _parquet(folder / "conformers.parquet", ["ID", "conf_id"])
    mmap = mmap and bool(len(conformers)) and bool(manifest["features_3d"])  # nothing cannot be mapped
    arrays = {name: torch.from_numpy(read_array(folder / f"{name}.npy", mmap and name != "offsets")) for name in _ARRAYS}
    bags = BagData(
        ids=molecules["ID"].to_numpy(object),
        conf_ids=conformers["conf_id"].to_numpy(object),
        split=molecules["split"].to_numpy(object),
        fold=molecules["cv_fold"].to_numpy(np.int64),
        smiles=molecules["smiles"].to_numpy(object) if "smiles" in molecules else None,
        raw=RawTargets(*(read_array(folder / f"target_{name}.npy") for name in TARGETS)),
        names2d=tuple(manifest["features_2d"]),
        names_inst=tuple(manifest["features_3d"]),
        notes=tuple(manifest["notes"]),
        content=manifest["content"],
        **arrays,
    )
    return bags, store_tasks(folder)


def check_files(folder: Path, files: dict[str, dict[str, Any]], *, hashes: bool) -> None:
    """Compare a store's files with its manifest: sizes, and with `hashes` contents; a DataError names the one that differs."""
    for name, entry in files.items():
        path = folder / name
        if not path.is_file():
            raise DataError(path, "no such file", do="the store is incomplete; prepare it again")
        size = path.stat().st_size
        if size != entry["bytes"]:
            raise DataError(path, "is not the file that was stored", got=f"{size} bytes", want=f"{entry['bytes']} bytes")
        if hashes and file_hash(path) != entry["sha256"]:
            raise DataError(path, "is not the file that was stored (its content has changed)", do="prepare it again")


def _parquet(path: Path, columns: list[str] | None = None) -> pd.DataFrame:
    try:
        return pd.read_parquet(path, columns=columns)
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(path, f"cannot be read ({' '.join(str(error).split())})", do="prepare it again") from error


def append_store(store: str | Path, more: str | Path, out: str | Path) -> Path:
    """Write a new store `out`: the molecules of `store`, then those of `more`; neither is touched.

    Both need the same tasks and feature columns (prepare `more` with --like). An ID in both is a DataError. Auxiliaries
    that one of them lacks are missing there; coordinates and further columns are kept where both have them.
    """
    stores = [_Opened(Path(store)), _Opened(Path(more))]
    first, second = (opened.bags for opened in stores)
    for what, one, other in (
        ("tasks", stores[0].tasks, stores[1].tasks),
        ("2D features", first.names2d, second.names2d),
        ("conformer features", first.names_inst, second.names_inst),
    ):
        if one != other:
            raise DataError(more, f"has other {what} than {store}", do=f"prepare it with the same settings and --like {store}")
    shared = sorted(set(first.ids) & set(second.ids))
    if shared:
        raise DataError(more, f"{len(shared)} IDs are in {store} too", got=shared[0], do="leave these molecules out, or rename")
    aux = tuple(max(getattr(bags.raw, name).shape[1] for bags in (first, second)) for name in ("abs", "fluo"))
    atoms = [opened.atoms for opened in stores]
    plan = StorePlan(
        tasks=stores[0].tasks,
        names2d=first.names2d,
        names_inst=first.names_inst,
        molecules=len(first) + len(second),
        conformers=len(first.conf_ids) + len(second.conf_ids),
        aux=(aux[0], aux[1]),
        atoms=None if atoms[0] is None or atoms[1] is None else len(atoms[0]) + len(atoms[1]),
        float16=first.xinst.dtype == torch.float16,
    )
    about = {
        "provenance": {"made_by": "append_store", "stores": [opened.manifest["provenance"] for opened in stores]},
        "notes": [*first.notes, *second.notes, f"{len(second)} molecules of {Path(more).name} appended to {len(first)}"],
        "units": stores[0].manifest["units"],
    }
    kept = [[c for c in one if c in set(other)] for one, other in zip(*(opened.table_columns for opened in stores))]
    with store_writer(out, plan, about) as writer:
        for opened in stores:
            for piece in opened.pieces(plan, kept):
                writer.add(piece)
    return Path(out)


class _Opened:
    """A store opened for copying: mapped arrays, tables, coordinates."""

    def __init__(self, folder: Path) -> None:
        self.manifest = read_manifest(folder)
        self.bags, self.tasks = load_store(folder, mmap=True)
        self.tables = [_parquet(folder / f"{name}.parquet") for name in ("molecules", "conformers")]
        has_atoms = "coordinates.npy" in self.manifest["files"] and len(self.bags.conf_ids) > 0
        self.atoms = read_array(folder / "coordinates.npy", mmap=True) if has_atoms else None
        self.atom_offsets = read_array(folder / "coordinate_offsets.npy") if has_atoms else None

    @property
    def table_columns(self) -> list[list[str]]:
        return [list(table.columns) for table in self.tables]

    def pieces(self, plan: StorePlan, columns: list[list[str]]) -> Iterator[Piece]:
        """The store in pieces, with these columns of its tables."""
        offsets, bags = self.bags.offsets.numpy(), self.bags
        for start in range(0, len(bags), _PIECE):
            stop = min(start + _PIECE, len(bags))
            first, last = int(offsets[start]), int(offsets[stop])
            piece = Piece(
                molecules=self.tables[0].iloc[start:stop][columns[0]],
                conformers=self.tables[1].iloc[first:last][columns[1]],
                x2d=bags.x2d[start:stop].numpy(),
                xinst=bags.xinst[first:last].float().numpy(),
                sizes=np.diff(offsets[start : stop + 1]),
                raw=_widened(bags.raw.take(np.arange(start, stop)), plan.aux),
            )
            yield piece if plan.atoms is None else self._with_positions(piece, first, last)

    def _with_positions(self, piece: Piece, first: int, last: int) -> Piece:
        assert self.atoms is not None and self.atom_offsets is not None
        edges = self.atom_offsets[first : last + 1]
        return dataclasses.replace(piece, positions=self.atoms[edges[0] : edges[-1]], atoms=np.diff(edges))


def _widened(raw: RawTargets, aux: tuple[int, int]) -> RawTargets:
    """The targets with this many auxiliaries: those that are not there are missing."""
    values = {f.name: getattr(raw, f.name) for f in dataclasses.fields(raw)}
    for name, width in zip(("abs", "fluo"), aux, strict=True):
        if values[name].shape[1] != width:
            values[name] = np.full((len(raw.y), width), np.nan, np.float32)
            values[f"w_{name}"] = np.zeros((len(raw.y), width), np.float32)
    return RawTargets(**values)
