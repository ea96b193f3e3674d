"""A bag store read in stretches of molecules: memory holds one stretch, however large the store is."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from milbench.data.bags import BagData
from milbench.data.manifest import TARGETS, check_files, read_manifest
from milbench.data.targets import RawTargets
from milbench.errors import DataError
from milbench.files import read_array, read_rows
from milbench.tasks import TaskSet


class StoreBlocks:
    """A bag store, opened. `offsets` int64 [M+1]; `manifest` as in the store; `has_smiles`."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.manifest = read_manifest(self.folder)
        check_files(self.folder, self.manifest["files"], hashes=False)
        self.tasks = TaskSet.from_dict(self.manifest["tasks"], where=self.folder / "manifest.json")
        self.names2d, self.names_inst = tuple(self.manifest["features_2d"]), tuple(self.manifest["features_3d"])
        self.offsets = read_array(self.folder / "offsets.npy")
        self._molecules = _ParquetRows(self.folder / "molecules.parquet", ("ID", "split", "cv_fold", "smiles"))
        self._conformers = _ParquetRows(self.folder / "conformers.parquet", ("conf_id",))
        self.has_smiles = "smiles" in self._molecules.columns

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def bags(self, start: int, stop: int) -> BagData:
        """The molecules start:stop with everything that belongs to them."""
        first, last = int(self.offsets[start]), int(self.offsets[stop])
        molecules = self._molecules.rows(start, stop)
        return BagData(
            ids=_texts(molecules["ID"]),
            x2d=torch.from_numpy(read_rows(self.folder / "x2d.npy", start, stop)),
            xinst=torch.from_numpy(read_rows(self.folder / "xinst.npy", first, last)),
            offsets=torch.from_numpy(self.offsets[start : stop + 1] - first),
            conf_ids=_texts(self._conformers.rows(first, last)["conf_id"]),
            split=_texts(molecules["split"]),
            fold=molecules["cv_fold"].to_numpy(),
            smiles=_texts(molecules["smiles"]) if self.has_smiles else None,
            raw=RawTargets(*(read_rows(self.folder / f"target_{name}.npy", start, stop) for name in TARGETS)),
            names2d=self.names2d,
            names_inst=self.names_inst,
            content=self.manifest["content"],
            provenance=self.manifest["provenance"],
        )


class _ParquetRows:
    """Rows of a Parquet file by place, read from the row groups that hold them; of `wanted` the columns that there are."""

    def __init__(self, path: Path, wanted: tuple[str, ...]) -> None:
        self.path = path
        try:
            self.file = pq.ParquetFile(path)
        except (pa.ArrowInvalid, OSError) as error:
            raise DataError(path, f"cannot be read ({' '.join(str(error).split())})", do="prepare it again") from error
        self.columns = [name for name in wanted if name in self.file.schema_arrow.names]
        sizes = [self.file.metadata.row_group(i).num_rows for i in range(self.file.num_row_groups)]
        self.edges = np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)])

    def rows(self, start: int, stop: int) -> pa.Table:
        """The rows start:stop."""
        if start == stop:
            return self.file.schema_arrow.empty_table().select(self.columns)
        first = int(np.searchsorted(self.edges, start, "right")) - 1
        last = int(np.searchsorted(self.edges, stop, "left"))
        table = self.file.read_row_groups(list(range(first, last)), columns=self.columns)
        return table.slice(start - int(self.edges[first]), stop - start)


def _texts(column: pa.ChunkedArray) -> np.ndarray:
    return column.cast(pa.string()).to_numpy().astype(object)


def cut(offsets: np.ndarray, start: int, stop: int, molecules: int, instances: int) -> np.ndarray:
    """Places from start to stop [k+1] that part the molecules into k stretches, each as long as can be.

    A stretch has at most so many molecules and so many instances; a molecule with more instances is a stretch of its own.
    """
    edges = [start]
    while edges[-1] < stop:
        here = edges[-1]
        fits = int(np.searchsorted(offsets, offsets[here] + instances, "right")) - 1
        edges.append(min(max(fits, here + 1), here + molecules, stop))
    return np.array(edges)
