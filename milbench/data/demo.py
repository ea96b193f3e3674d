"""The demo data set: real molecules, SIMULATED endpoints with a known key conformer. The library's positive control.

The molecules come from the 5,000 NCI structures that RDKit carries. Everything measured is computed: `read_plate` is a plate
reader that sees one conformer at a time through the Hückel model of `milbench.chem.huckel`. A bag is positive when its
brightest conformer crosses the endpoint's threshold, so which conformer decides is known and attention can be checked
against it. No number here was ever measured on a plate.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import cast

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from rdkit import RDConfig
from threadpoolctl import threadpool_limits

from milbench.chem.conformers import ConformerConfig, embed
from milbench.chem.conjugation import turning_swing
from milbench.chem.descriptors import columns_of, features_2d, features_3d, sets_2d, sets_3d
from milbench.chem.huckel import COLUMNS, Levels, huckel
from milbench.chem.molecules import Molecule, standardise
from milbench.errors import ConfigError
from milbench.files import make_folder, write_array, write_json, write_table
from milbench.seeds import stream
from milbench.tasks import EUOS25

PREVALENCE = dict(zip(EUOS25.names, (0.12, 0.06, 0.17, 0.02)))
SETS_2D, SETS_3D = ("rdkit217", "conjugation"), ("shape",)
FEATURE_NOISE = (0.01, 0.01, 0.01, 0.003, 0.05, 0.01)  # standard deviations of the measured Hückel levels, as `COLUMNS`
WELL_NOISE = 0.06  # standard deviation of the logarithm of a molecule's readings
AUX_MISSING = 0.3
HEAVY_ATOMS = (10, 40)
CONFORMERS = (3, 8)
MIN_SWING = 0.05  # |β|: turning some bond must move the planar gap by this much
MIN_SPREAD = (0.10, 0.03)  # relative spread of the oscillator strength in the bag, spread of the planarity
ABOUT = (
    "SIMULATED endpoints on real NCI molecules (RDKit's NCI/first_5K.smi). Labels, quantitative columns and weights were "
    "computed by milbench.data.demo from a pi-electron Hueckel model of each conformer, plus noise; none was measured."
)
RECIPE = {
    "neutralise": True,
    "sets_2d": [*SETS_2D],
    "sets_3d": [*SETS_3D, "huckel"],
    "conformers": CONFORMERS[1],
    "prune_rms": 0.05,
    "mmff": 0,
    "nonfinite": "mend",
    "seed": 0,
}
"""How `milbench prepare` makes such features of new molecules, the noise of the measured levels apart."""
_CHUNK = 12


@dataclass(frozen=True)
class DemoTables:
    """The demo as tables; every endpoint, auxiliary and weight is SIMULATED (see `ABOUT`).

    labels: ID, smiles, split, endpoints, weights, auxiliaries (NaN = missing). feat2d: ID + columns. feat3d, feat3d_qm: ID,
    conf_id + columns; feat3d_qm holds the Hückel levels with measurement noise. conformers, the truth that no model may see:
    ID, conf_id, huckel_gap_true in |β|, reading_<endpoint>, key_<endpoint> (the deciding conformer of a positive molecule).
    coordinates: heavy atoms in Å, float32 [sum of atoms, 3], atoms in the order of `smiles`; conformer row c owns rows
    coordinate_offsets[c]:coordinate_offsets[c + 1], int64 [conformers + 1].
    """

    labels: pd.DataFrame
    feat2d: pd.DataFrame
    feat3d: pd.DataFrame
    feat3d_qm: pd.DataFrame
    conformers: pd.DataFrame
    coordinates: np.ndarray
    coordinate_offsets: np.ndarray


@dataclass(frozen=True)
class _Drawn:
    """One molecule of the draw: its features x2d [F2], x3d [N, F3], true levels [N, 6] and positions [N, heavy atoms, 3]."""

    id: str
    smiles: str
    inchikey: str
    x2d: np.ndarray
    x3d: np.ndarray
    levels: np.ndarray
    positions: np.ndarray


def make_demo(
    n_molecules: int = 600,
    seed: int = 0,
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> DemoTables:
    """Draw, embed, describe and "measure" `n_molecules`; the same bytes for a seed whatever `workers` is.

    workers: processes, None for one a core, 1 for none. progress(done, total) is called as molecules are accepted.
    Of the NCI molecules the draw takes those of 10 to 40 heavy atoms with a π system that turns: some bond whose torsion
    moves the gap, and conformers that differ in oscillator strength and planarity. ConfigError when there are not enough.
    """
    if n_molecules < 10:
        raise ConfigError("demo molecules", got=n_molecules, want="at least 10")
    drawn: dict[str, _Drawn] = {}
    wanted = (chunk for chunk in _chunks(seed) if len(drawn) < n_molecules)
    run = Parallel(n_jobs=workers or -1, return_as="generator", pre_dispatch="2 * n_jobs")  # needs no __main__ guard
    for accepted in cast(Iterator[list[_Drawn]], run(delayed(_accept)(chunk, seed) for chunk in wanted)):
        drawn |= {found.inchikey: found for found in accepted if found.inchikey not in drawn}
        if progress is not None:
            progress(min(len(drawn), n_molecules), n_molecules)
    if len(drawn) < n_molecules:
        fit = f"at most {len(drawn)}, all that fit among RDKit's NCI structures"
        raise ConfigError("demo molecules", got=n_molecules, want=fit)
    return _tables(list(drawn.values())[:n_molecules], seed)


def _chunks(seed: int) -> Iterator[list[tuple[str, str]]]:
    """(ID, SMILES) of every NCI structure, in the order of the draw."""
    lines = (Path(RDConfig.RDDataDir) / "NCI" / "first_5K.smi").read_text().splitlines()
    rows = [(f"NCI-{name}", smiles) for smiles, name in (line.split("\t") for line in lines)]
    order = stream(seed, "demo", "draw").permutation(len(rows)).tolist()
    for start in range(0, len(order), _CHUNK):
        yield [rows[i] for i in order[start : start + _CHUNK]]


def _accept(chunk: list[tuple[str, str]], seed: int) -> list[_Drawn]:
    """Those of a chunk that belong to the draw, described; one BLAS thread, so that the last bits agree everywhere."""
    with threadpool_limits(1):
        found = [_describe(name, smiles, seed) for name, smiles in chunk]
    return [drawn for drawn in found if drawn is not None]


def _describe(name: str, smiles: str, seed: int) -> _Drawn | None:
    molecule = standardise(smiles)
    if not isinstance(molecule, Molecule) or not HEAVY_ATOMS[0] <= molecule.mol.GetNumHeavyAtoms() <= HEAVY_ATOMS[1]:
        return None
    if turning_swing(molecule.mol) < MIN_SWING:
        return None
    n = int(stream(seed, "demo", "conformers", molecule.inchikey).integers(CONFORMERS[0], CONFORMERS[1] + 1))
    conformers = embed(molecule, ConformerConfig(n=n, seed=seed))
    if len(conformers) < CONFORMERS[0]:
        return None
    levels = huckel(conformers.mol, conformers.coordinates)
    if levels.oscillator.std() < MIN_SPREAD[0] * max(levels.oscillator.mean(), 0.1) or levels.planarity.std() < MIN_SPREAD[1]:
        return None
    return _Drawn(
        id=name,
        smiles=molecule.smiles,
        inchikey=molecule.inchikey,
        x2d=features_2d(molecule.mol, sets_2d(*SETS_2D)),
        x3d=features_3d(conformers, sets_3d(*SETS_3D)),
        levels=levels.table(),
        positions=conformers.heavy.astype(np.float32),
    )


def transition_energy(gap: np.ndarray) -> np.ndarray:
    """Transition energy in eV for a Hückel gap in |β|.

    1.31 + 2.37 gap: least squares through the p bands of benzene, naphthalene, anthracene and tetracene (207, 286, 375,
    471 nm; gaps 2, 1.236, 0.828, 0.590).
    """
    return 1.31 + 2.37 * gap


def read_plate(levels: Levels) -> np.ndarray:
    """SIMULATED readings of each conformer, [N, 4] in the order of the EUOS25 endpoints, arbitrary units.

    Absorption is the oscillator strength times the planarity under a Gaussian band at 340 (σ 0.6 eV) or 450 nm (σ 0.5 eV).
    Fluorescence is light absorbed at 340 nm (σ 0.7 eV) that a planar chromophore (planarity cubed) gives back 0.6 eV lower:
    at 450 nm (σ 0.5 eV), or anywhere beyond 480 nm.
    """
    energy = transition_energy(levels.gap)
    strength = levels.oscillator * levels.planarity
    emitted = energy - 0.6
    glow = strength * levels.planarity**2
    bright = glow * _band(energy, 340, 0.7) * _band(emitted, 450, 0.5)
    red = glow / (1 + np.exp((emitted - _ev(480)) / 0.15))
    return np.stack([strength * _band(energy, 340, 0.6), strength * _band(energy, 450, 0.5), bright, red], axis=1)


def _ev(nm: float) -> float:
    return 1239.84 / nm


def _band(energy: np.ndarray, nm: float, width: float) -> np.ndarray:
    return np.exp(-0.5 * ((energy - _ev(nm)) / width) ** 2)


def _tables(drawn: list[_Drawn], seed: int) -> DemoTables:
    sizes = np.array([len(d.levels) for d in drawn])
    offsets = np.concatenate([[0], np.cumsum(sizes)])
    levels = np.concatenate([d.levels for d in drawn])
    readings = read_plate(Levels(*levels.T))
    ids = np.array([d.id for d in drawn])
    rows = pd.DataFrame({"ID": np.repeat(ids, sizes), "conf_id": np.concatenate([np.arange(n) for n in sizes])})
    labels, keys = _measure(readings, levels, offsets, seed)
    noise = stream(seed, "demo", "levels").normal(size=levels.shape) * FEATURE_NOISE
    measured = pd.DataFrame((levels + noise).astype(np.float32), columns=list(COLUMNS))
    truth = {"huckel_gap_true": levels[:, 2]} | {f"reading_{name}": readings[:, t] for t, name in enumerate(EUOS25.names)}
    atoms = np.concatenate([np.full(len(d.positions), d.positions.shape[1]) for d in drawn])
    return DemoTables(
        labels=pd.concat([pd.DataFrame({"ID": ids, "smiles": [d.smiles for d in drawn]}), labels], axis=1),
        feat2d=_feat2d(drawn),
        feat3d=rows.join(pd.DataFrame(np.concatenate([d.x3d for d in drawn]), columns=columns_of(sets_3d(*SETS_3D)))),
        feat3d_qm=rows.assign(status="ok", error="").join(measured),
        conformers=rows.assign(**truth, **{f"key_{name}": keys[:, t] for t, name in enumerate(EUOS25.names)}),
        coordinates=np.concatenate([d.positions.reshape(-1, 3) for d in drawn]),
        coordinate_offsets=np.concatenate([[0], np.cumsum(atoms)]).astype(np.int64),
    )


def _feat2d(drawn: list[_Drawn]) -> pd.DataFrame:
    """The 2D table without Ipc (it spans 30 decades) and without columns that some molecule has no finite value for."""
    frame = pd.DataFrame(np.stack([d.x2d for d in drawn]), columns=columns_of(sets_2d(*SETS_2D)))
    keep = np.isfinite(frame.to_numpy()).all(axis=0) & (frame.columns != "Ipc")
    frame = frame.loc[:, keep]
    frame.insert(0, "ID", [d.id for d in drawn])
    return frame


def _measure(readings: np.ndarray, levels: np.ndarray, offsets: np.ndarray, seed: int) -> tuple[pd.DataFrame, np.ndarray]:
    """Split, labels, auxiliaries and weights [M rows], and the key conformers [conformers, T] of the positives."""
    rng = stream(seed, "demo", "plate")
    starts, n = offsets[:-1], len(offsets) - 1
    bright = np.maximum.reduceat(readings, starts)
    top = np.stack([starts + _argmax(readings[:, t], offsets) for t in range(len(EUOS25))], axis=1)
    seen = bright * np.exp(WELL_NOISE * rng.normal(size=bright.shape))
    out, positive = {}, np.zeros(seen.shape, dtype=bool)
    for t, name in enumerate(EUOS25.names):
        positive[np.argsort(-seen[:, t], kind="stable")[: max(3, round(PREVALENCE[name] * n))], t] = True
        out[name] = positive[:, t].astype(np.int64)
    for t, name in enumerate(EUOS25.names[:2]):
        out[f"{name}_quantitative"] = 100 * np.exp(-seen[:, t] / np.quantile(seen[:, t], 0.9)) + rng.normal(0, 2, n)
    emitter = levels[top[:, 2]]
    out["wl_pred_nm"] = 1239.84 / np.maximum(transition_energy(emitter[:, 2]) - 0.6, 0.5) + rng.normal(0, 5, n)
    out["qy_pred"] = np.clip(emitter[:, 5] ** 3 * (1 - np.exp(-emitter[:, 4])) + rng.normal(0, 0.03, n), 0, 1)
    for column in [f"{name}_quantitative" for name in EUOS25.names[:2]] + ["wl_pred_nm", "qy_pred"]:
        out[column] = np.where(rng.random(n) < AUX_MISSING, np.nan, out[column])
    for column in ("sample_weight_340", "sample_weight_450", "w_ad"):
        out[column] = np.exp(rng.normal(0, 0.15, n))
    keys = np.zeros(readings.shape, dtype=bool)
    for t in range(len(EUOS25)):
        keys[top[positive[:, t], t], t] = True
    return pd.DataFrame({"split": _split(positive, rng)} | out), keys


def _argmax(values: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Position of the largest value inside each bag, [M]."""
    return np.array([values[start:stop].argmax() for start, stop in pairwise(offsets)])


def _split(positive: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Every fifth molecule to the leaderboard, after sorting by label pattern with the rarest endpoint first."""
    rarest_first = np.argsort(list(PREVALENCE.values()))
    order = np.lexsort([rng.random(len(positive)), *(~positive[:, rarest_first[::-1]]).T])
    split = np.full(len(positive), "train", dtype=object)
    split[order[2::5]] = "leaderboard"
    return split


def write_demo(tables: DemoTables, folder: str | Path) -> Path:
    """Write the tables as Parquet, the coordinates as .npy and what they are as about.json into `folder`/tables."""
    into = make_folder(Path(folder) / "tables")
    for name in ("labels", "feat2d", "feat3d", "feat3d_qm", "conformers"):
        write_table(into / f"{name}.parquet", getattr(tables, name))
    write_array(into / "coordinates.npy", tables.coordinates)
    write_array(into / "coordinate_offsets.npy", tables.coordinate_offsets)
    about = {"about": ABOUT, "simulated": True, "prevalence": PREVALENCE, "sets": [*SETS_2D, *SETS_3D]}
    write_json(into / "about.json", {"made_by": "milbench demo", "settings": RECIPE, **about})
    return into
