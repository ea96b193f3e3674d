"""The bag store: a prepared data set as one folder of Parquet tables, .npy arrays and a manifest (spec section 2)."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import torch

from milbench.version import __version__
from milbench.data.bags import BagData
from milbench.data.targets import RawTargets
from milbench.errors import DataError
from milbench.files import atomic_folder, read_array, read_json, write_array, write_json, write_table
from milbench.tasks import TaskSet

SCHEMA = 1
_ARRAYS = ("x2d", "xinst", "offsets")
_TARGETS = ("y", "w", "abs", "w_abs", "fluo", "w_fluo")


def save_store(
    folder: str | Path,
    bags: BagData,
    tasks: TaskSet,
    *,
    provenance: dict[str, Any],
    conformers: pd.DataFrame | None = None,
    coordinates: tuple[np.ndarray, np.ndarray] | None = None,
    units: dict[str, str] | None = None,
) -> Path:
    """Write `bags` as a bag store at `folder` (which must not exist): whole or not at all.

    `conformers`: further columns by (ID, conf_id), e.g. energies or a simulation's key conformer. `coordinates`: heavy-atom
    positions in Å [Σ atoms, 3] and offsets [ΣN+1], in the atom order of the stored SMILES, conformers in the store's order.
    """
    table = pd.DataFrame({"ID": bags.ids, "split": bags.split, "cv_fold": bags.fold})
    if bags.smiles is not None:
        table["smiles"] = bags.smiles
    for t, name in enumerate(tasks.names):
        table[name] = bags.raw.y[:, t]
    with atomic_folder(folder) as partial:
        write_table(partial / "molecules.parquet", table)
        write_table(partial / "conformers.parquet", conformer_table(bags, conformers))
        for name in _ARRAYS:
            write_array(partial / f"{name}.npy", getattr(bags, name).numpy())
        for name in _TARGETS:
            write_array(partial / f"target_{name}.npy", getattr(bags.raw, name))
        if coordinates is not None:
            write_array(partial / "coordinates.npy", coordinates[0].astype(np.float32))
            write_array(partial / "coordinate_offsets.npy", coordinates[1].astype(np.int64))
        manifest = {
            "schema": SCHEMA,
            "milbench": __version__,
            "tasks": tasks.to_dict(),
            "counts": {"molecules": len(bags), "conformers": len(bags.conf_ids)},
            "features_2d": list(bags.names2d),
            "features_3d": list(bags.names_inst),
            "units": units or {},
            "notes": list(bags.notes),
            "provenance": provenance,
            "content": bags.content,
        }
        write_json(partial / "manifest.json", manifest)
    return Path(folder)


def conformer_table(bags: BagData, extra: pd.DataFrame | None = None) -> pd.DataFrame:
    """ID and conf_id of every instance in order, with `extra` columns joined on both."""
    table = pd.DataFrame({"ID": np.repeat(bags.ids, bags.bag_sizes), "conf_id": bags.conf_ids})
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
    for key in ("tasks", "features_2d", "features_3d", "notes", "content"):
        if key not in manifest:
            raise DataError(path, f"{key!r} is missing", do="prepare it again")
    return manifest


def load_store(folder: str | Path, *, mmap: bool = False) -> tuple[BagData, TaskSet]:
    """Read a bag store; `mmap` maps the feature arrays instead of loading them."""
    folder = Path(folder)
    manifest = read_manifest(folder)
    molecules = _parquet(folder / "molecules.parquet")
    conformers = _parquet(folder / "conformers.parquet", ["ID", "conf_id"])
    arrays = {name: torch.from_numpy(read_array(folder / f"{name}.npy", mmap and name != "offsets")) for name in _ARRAYS}
    bags = BagData(
        ids=molecules["ID"].to_numpy(object),
        conf_ids=conformers["conf_id"].to_numpy(object),
        split=molecules["split"].to_numpy(object),
        fold=molecules["cv_fold"].to_numpy(np.int64),
        smiles=molecules["smiles"].to_numpy(object) if "smiles" in molecules else None,
        raw=RawTargets(*(read_array(folder / f"target_{name}.npy") for name in _TARGETS)),
        names2d=tuple(manifest["features_2d"]),
        names_inst=tuple(manifest["features_3d"]),
        notes=tuple(manifest["notes"]),
        content=manifest["content"],
        **arrays,
    )
    return bags, TaskSet.from_dict(manifest["tasks"], where=folder / "manifest.json")


def _parquet(path: Path, columns: list[str] | None = None) -> pd.DataFrame:
    if not path.is_file():
        raise DataError(path, "no such file", do="the store is incomplete; prepare it again")
    try:
        return pd.read_parquet(path, columns=columns)
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(path, f"cannot be read ({' '.join(str(error).split())})", do="prepare it again") from error
