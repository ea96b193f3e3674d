"""A bag store to look at: one molecule at a time, its conformers, what is known of them. Loads no torch."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from milbench.data.manifest import check_files, read_manifest, read_parquet
from milbench.data.recent import recent
from milbench.errors import DataError
from milbench.files import read_array
from milbench.tasks import TaskSet

KEY = "key_"
"""Columns that say which conformer made a molecule positive (simulated data)."""
MEASURES = {
    "relative_energy": "Relative energy",
    "boltzmann_weight": "Boltzmann weight",
    "huckel_gap": "Hückel gap",
    "eht_gap": "EHT gap",
}
"""What is worth showing beside attention, in a store's conformer table or among its conformer features."""
_UNITS = {"relative_energy": "kcal/mol", "huckel_gap": "|β|", "eht_gap": "eV"}


@dataclass(frozen=True, eq=False)
class StoreView:
    """The molecules of a store in order (ID, split, smiles where known, a label column an endpoint); rows
    offsets[m]:offsets[m+1] of its conformer tables belong to molecule m.
    """

    folder: Path
    tasks: TaskSet
    molecules: pd.DataFrame
    offsets: np.ndarray
    features: tuple[str, ...]
    has_positions: bool

    @staticmethod
    @recent("manifest.json")
    def open(folder: str | Path) -> "StoreView":
        """Read what is needed to choose a molecule; a folder that is no store is a DataError."""
        folder = Path(folder)
        manifest = read_manifest(folder)
        check_files(folder, manifest["files"], hashes=False)
        return StoreView(
            folder=folder,
            tasks=TaskSet.from_dict(manifest["tasks"], where=folder / "manifest.json"),
            molecules=read_parquet(folder / "molecules.parquet"),
            offsets=read_array(folder / "offsets.npy"),
            features=tuple(manifest["features_3d"]),
            has_positions="coordinates.npy" in manifest["files"],
        )

    @cached_property
    def conformers(self) -> pd.DataFrame:
        """ID, conf_id and everything else that is known of every conformer."""
        return read_parquet(self.folder / "conformers.parquet")

    @cached_property
    def places(self) -> pd.Index:
        """IDs in order, to look molecules up."""
        return pd.Index(self.molecules["ID"])

    @property
    def keys(self) -> tuple[str, ...]:
        """Endpoints whose key conformer is known."""
        return tuple(name for name in self.tasks.names if KEY + name in self.conformers)

    def place(self, molecule: str) -> int:
        """Where a molecule stands; DataError when it is not here."""
        found = int(self.places.get_indexer([molecule])[0])
        if found < 0:
            raise DataError(
                self.folder, "has no such molecule", got=molecule, do="choose the store that the model was trained on"
            )
        return found

    def smiles(self, place: int) -> str:
        """SMILES of a molecule, "" where the store has none."""
        return str(self.molecules["smiles"].iloc[place]) if "smiles" in self.molecules else ""

    def positions(self, place: int) -> np.ndarray | None:
        """Heavy atoms of a molecule's conformers in Å [N, atoms, 3], atoms in the order of its SMILES; None without any."""
        start, stop = self.offsets[place : place + 2]
        if not self.has_positions or start == stop:
            return None
        rows = read_array(self.folder / "coordinate_offsets.npy", mmap=True)[start : stop + 1]
        flat = np.array(read_array(self.folder / "coordinates.npy", mmap=True)[rows[0] : rows[-1]], dtype=np.float64)
        return flat.reshape(stop - start, -1, 3)

    def known(self, place: int) -> pd.DataFrame:
        """A molecule's conformers: conf_id, the `MEASURES` there are under their titles with units, key_<endpoint>."""
        start, stop = self.offsets[place : place + 2]
        table = self.conformers.iloc[start:stop]
        out = {"conf_id": table["conf_id"].to_numpy(object)}
        for name, title in MEASURES.items():
            said = f"{title} ({_UNITS[name]})" if name in _UNITS else title
            if name in table:
                out[said] = table[name].to_numpy(np.float64)
            elif name in self.features:
                column = self.features.index(name)
                out[said] = np.array(read_array(self.folder / "xinst.npy", mmap=True)[start:stop, column], dtype=np.float64)
        out |= {KEY + name: table[KEY + name].to_numpy(bool) for name in self.keys}
        return pd.DataFrame(out)
