"""A store that grows: a new version is written whole, the old ones are not touched."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from milbench.data.manifest import read_manifest, read_parquet
from milbench.data.store import load_store
from milbench.data.store_writer import Piece, StorePlan, store_writer
from milbench.data.targets import RawTargets
from milbench.errors import DataError
from milbench.files import read_array

_PIECE = 4096


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
    losses = [opened.manifest["float16"] for opened in stores if "float16" in opened.manifest]
    if len(losses) == len(stores):  # what was halved before loses nothing more
        about["float16"] = max(losses, key=lambda loss: loss["max_error_in_sd"])
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
        self.tables = [read_parquet(folder / f"{name}.parquet") for name in ("molecules", "conformers")]
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
