"""Finished shards → one bag store, with the report on every row of the input."""

import shutil
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from milbench.chem.compute import Recipe
from milbench.chem.conformers import boltzmann_weights, relative_energies
from milbench.chem.select import Columns, Selection, counts, select
from milbench.chem.shards import Shard, read_shard
from milbench.chem.work import Labels, Work, read_labels
from milbench.data.store_writer import Piece, StorePlan, store_writer
from milbench.errors import DataError
from milbench.prepare_config import PrepareConfig
from milbench.progress import counted
from milbench.tasks import TaskSet

UNITS = {
    "coordinates": "angstrom",
    "energy": "kcal/mol",
    "relative_energy": "kcal/mol",
    "huckel_homo": "|beta|",
    "huckel_lumo": "|beta|",
    "huckel_gap": "|beta|",
    "eht_homo": "eV",
    "eht_lumo": "eV",
    "eht_gap": "eV",
}
_TEXTS = ("ID", "conf_id", "split", "outcome", "reason", "detail", "source", "smiles", "inchikey", "duplicate_of")


def merge(config: PrepareConfig, tasks: TaskSet, work: Work, provenance: dict[str, Any]) -> None:
    """Write the store of finished work, with prepare_report.parquet in it.

    DataError when no molecule is left; the work is then removed, so that a mended input begins anew.
    """
    names = tuple(tuple(columns) for columns in Recipe.of(config).names)
    selection = select(config, work, (names[0], names[1]))
    kept, n = selection.kept, selection.column("conformers")
    if not kept.any():
        shutil.rmtree(config.work, ignore_errors=True)
        do = f"the first row was dropped: {selection.column('dropped')[0]} {selection.column('detail')[0]}"
        raise DataError(config.source, "no molecule is left", do=do)
    labels = read_labels(config, tasks, work, np.flatnonzero(kept))
    plan = StorePlan(
        tasks=tasks,
        names2d=tuple(np.array(names[0], dtype=object)[selection.columns[0]]),
        names_inst=tuple(np.array(names[1], dtype=object)[selection.columns[1]]),
        molecules=int(kept.sum()),
        conformers=int(n[kept].sum()),
        aux=(labels.raw.abs.shape[1], labels.raw.fluo.shape[1]),
        atoms=int((n * selection.column("atoms"))[kept].sum()),
        float16=config.float16,
    )
    columns = [*plan.names2d, *plan.names_inst, "coordinates", "energy"]
    about = {
        "provenance": provenance,
        "notes": labels.notes,
        "units": {name: unit for name, unit in UNITS.items() if name in columns},
        "prepare": counts(selection),
    }
    with store_writer(config.out, plan, about) as writer, counted("store", work.n_rows) as more:
        for piece, report in _pieces(config, tasks, work, selection, labels):
            writer.add(piece)
            writer.table("prepare_report", report)
            more(len(report))


def _pieces(
    config: PrepareConfig, tasks: TaskSet, work: Work, selection: Selection, labels: Labels
) -> Iterator[tuple[Piece, pd.DataFrame]]:
    """Second pass: each shard's molecules that stay, and the report on all its rows."""
    original = _originals(selection)
    start = done = 0
    for index in range(work.n_shards):
        shard = read_shard(work.shard(index))
        rows = selection.rows.iloc[start : start + len(shard.rows)]
        rows = rows.assign(source=shard.rows["source"].to_numpy(), smiles=shard.rows["smiles"].to_numpy())
        rows = rows.assign(duplicate_of=original[start : start + len(rows)], row=np.arange(start + 1, start + len(rows) + 1))
        n_kept = int((rows["dropped"] == "").sum())
        here = slice(done, done + n_kept)
        yield _piece(config, tasks, shard, rows, selection.columns, labels.take(here)), _report(rows)
        start, done = start + len(rows), done + n_kept


def _originals(selection: Selection) -> np.ndarray:
    """For each row that stays the ID of the first molecule with its InChIKey, "" when that is itself; [n] text."""
    kept = selection.kept
    own = selection.column("ID")[kept]
    _, first, group = np.unique(selection.column("inchikey")[kept].astype(str), return_index=True, return_inverse=True)
    found = own[first][group]
    out = np.full(len(selection.rows), "", dtype=object)
    out[kept] = np.where(found == own, "", found)
    return out


def _piece(config: PrepareConfig, tasks: TaskSet, shard: Shard, rows: pd.DataFrame, columns: Columns, labels: Labels) -> Piece:
    """The molecules of a shard that stay; rows [n] of the shard with their fate, labels of those that stay."""
    kept = rows.loc[rows["dropped"] == ""]
    stays = rows["dropped"].to_numpy(object)[shard.rows["dropped"].to_numpy(object) == ""] == ""
    sizes, atoms = (shard.computed[name].to_numpy() for name in ("conformers", "atoms"))
    conformer_stays = np.repeat(stays, sizes)
    molecules = pd.DataFrame({"ID": kept["ID"], "split": labels.split, "cv_fold": labels.fold})
    molecules = molecules.assign(smiles=kept["smiles"], inchikey=kept["inchikey"])
    conformers = pd.DataFrame({"ID": np.repeat(kept["ID"].to_numpy(object), sizes[stays])})
    conformers["conf_id"] = [str(i) for size in sizes[stays] for i in range(size)]
    if config.mmff:
        conformers = conformers.assign(**{k: v[conformer_stays] for k, v in _energies(shard.energies, sizes).items()})
    return Piece(
        molecules=_texts(molecules.assign(**{name: labels.raw.y[:, t] for t, name in enumerate(tasks.names)})),
        conformers=_texts(conformers),
        x2d=shard.x2d[stays][:, columns[0]],
        xinst=shard.xinst[conformer_stays][:, columns[1]],
        sizes=sizes[stays],
        raw=labels.raw,
        positions=shard.positions[np.repeat(stays, sizes * atoms)],
        atoms=np.repeat(atoms[stays], sizes[stays]),
    )


def _energies(energies: np.ndarray, sizes: np.ndarray) -> dict[str, np.ndarray]:
    """Energies [r], those above the lowest of their molecule, and Boltzmann weights."""
    bags = [bag for bag in np.split(energies, np.cumsum(sizes)[:-1]) if len(bag)] if len(energies) else [energies]
    relative = np.concatenate([relative_energies(bag) for bag in bags])
    weights = np.concatenate([boltzmann_weights(bag) for bag in bags])
    return {"energy": energies, "relative_energy": relative, "boltzmann_weight": weights}


def _report(rows: pd.DataFrame) -> pd.DataFrame:
    """prepare_report.parquet: row (1-based), ID, outcome, reason, detail, and what the molecule became."""
    dropped = (rows["dropped"] != "").to_numpy()
    changed = (rows["changes"] != "").to_numpy()
    outcome = np.where(dropped, "dropped", np.where(changed, "changed", "kept"))
    reason = np.where(dropped, rows["dropped"], rows["changes"])
    report = rows[["row", "ID"]].assign(outcome=outcome, reason=reason)
    return _texts(report.join(rows[["detail", "source", "smiles", "inchikey", "conformers", "duplicate_of"]]))


def _texts(table: pd.DataFrame) -> pd.DataFrame:
    """Text columns with one type in every piece."""
    return table.astype({name: "str" for name in _TEXTS if name in table.columns})
