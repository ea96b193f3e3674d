"""What a bag store says of itself and of its molecules, without its features. Loads no torch."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from milbench.errors import DataError
from milbench.files import file_hash, read_array, read_json
from milbench.recipe import recipe_of
from milbench.run_config import FINAL_FOLDER
from milbench.tasks import TaskSet

SCHEMA = 1
MODEL = "model.json"
"""What a final model says of itself, written last: a folder without it holds no finished model."""
TARGETS = ("y", "w", "abs", "w_abs", "fluo", "w_fluo")


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
    for key in ("tasks", "features_2d", "features_3d", "notes", "provenance", "content", "files"):
        if key not in manifest:
            raise DataError(path, f"{key!r} is missing", do="prepare it again")
    return manifest


def find_model(path: str | Path) -> Path | None:
    """The final model's folder that `path` is, or holds as a study folder; None when there is none."""
    folders = (Path(path), Path(path) / FINAL_FOLDER)
    return next((folder for folder in folders if (folder / MODEL).is_file()), None)


def read_columns(path: str | Path) -> dict[str, Any]:
    """`features_2d`, `features_3d` and the data's `content` of a bag store, or of a final model."""
    folder = find_model(path)
    return read_manifest(path) if folder is None else read_json(folder / MODEL)


def recipe_there(path: str | Path) -> dict[str, Any] | None:
    """How the features of a bag store, or of a final model, were made (`recipe_of`); None where that is not known."""
    about, is_model = read_columns(path), find_model(path) is not None
    return about.get("recipe") if is_model else recipe_of(about["provenance"])


def store_tasks(folder: str | Path) -> TaskSet:
    """What the molecules of a bag store are labelled for."""
    return TaskSet.from_dict(read_manifest(folder)["tasks"], where=Path(folder) / "manifest.json")


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


def read_parquet(path: Path, columns: list[str] | None = None) -> pd.DataFrame:
    """Read a table of a store; one that cannot be read is a DataError."""
    try:
        return pd.read_parquet(path, columns=columns)
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(path, f"cannot be read ({' '.join(str(error).split())})", do="prepare it again") from error


@dataclass(frozen=True, eq=False)
class StoreLabels:
    """Labels y [M, T] (0/1, NaN missing) of a store's molecules, the split [M] and fold [M] (-1: none) of each."""

    tasks: TaskSet
    y: np.ndarray
    split: np.ndarray
    fold: np.ndarray
    content: str


def load_labels(folder: str | Path) -> StoreLabels:
    """What a bag store knows of its molecules' endpoints."""
    folder = Path(folder)
    manifest = read_manifest(folder)
    check_files(folder, {name: manifest["files"][name] for name in ("molecules.parquet", "target_y.npy")}, hashes=False)
    molecules = read_parquet(folder / "molecules.parquet", ["split", "cv_fold"])
    return StoreLabels(
        tasks=TaskSet.from_dict(manifest["tasks"], where=folder / "manifest.json"),
        y=read_array(folder / "target_y.npy"),
        split=molecules["split"].to_numpy(object),
        fold=molecules["cv_fold"].to_numpy(np.int64),
        content=manifest["content"],
    )
