"""The bag store: a prepared data set as one folder of Parquet tables, .npy arrays and a manifest."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from milbench.data.bags import BagData
from milbench.data.manifest import TARGETS, check_files, read_manifest, read_parquet, store_tasks
from milbench.data.store_writer import Piece, StorePlan, store_writer
from milbench.data.targets import RawTargets
from milbench.files import read_array
from milbench.tasks import TaskSet

_ARRAYS = ("x2d", "xinst", "offsets")


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


def feature_bytes(folder: Path) -> int:
    """What the features of a bag store take, in bytes, by its manifest."""
    files = read_manifest(folder)["files"]
    return sum(files[f"{name}.npy"]["bytes"] for name in ("x2d", "xinst"))


def load_store(folder: str | Path, *, mmap: bool = False, check: bool = False) -> tuple[BagData, TaskSet]:
    """Read a bag store; `mmap` maps the feature arrays instead of loading them.

    The size of every file is always compared with the manifest, its SHA-256 with `check`; a DataError names the file.
    """
    folder = Path(folder)
    manifest = read_manifest(folder)
    check_files(folder, manifest["files"], hashes=check)
    molecules = read_parquet(folder / "molecules.parquet")
    conformers = read_parquet(folder / "conformers.parquet", ["ID", "conf_id"])
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
        provenance=manifest["provenance"],
        **arrays,
    )
    return bags, store_tasks(folder)
