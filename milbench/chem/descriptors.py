"""Named feature sets: 2D sets of a molecule, 3D sets of each conformer, as float32 rows with column names.

A value that a descriptor cannot give (Ipc beyond float32, a partial charge of a metal) stays NaN or infinite here; the doctor
names such columns and nothing is filled in.
"""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import numpy as np
from rdkit import Chem, rdBase
from rdkit.Chem import Descriptors, rdEHTTools, rdFingerprintGenerator
from rdkit.Chem import rdMolDescriptors as rd

from milbench.chem import conjugation, huckel
from milbench.chem.conformers import Conformers, boltzmann_weights, relative_energies
from milbench.errors import ConfigError


@dataclass(frozen=True)
class Set2D:
    """`compute(mol)` gives the [F] values of `columns`."""

    name: str
    columns: tuple[str, ...]
    compute: Callable[[Chem.Mol], np.ndarray]


@dataclass(frozen=True)
class Set3D:
    """`compute(conformers)` gives [N, F], one row a conformer, of `columns`."""

    name: str
    columns: tuple[str, ...]
    compute: Callable[[Conformers], np.ndarray]


S = TypeVar("S", Set2D, Set3D)


def features_2d(mol: Chem.Mol, sets: list[Set2D]) -> np.ndarray:
    """The 2D row of a molecule, float32 [F], the sets' columns one after the other."""
    with rdBase.BlockLogs():
        return _float32(np.concatenate([chosen.compute(mol) for chosen in sets]))


def features_3d(conformers: Conformers, sets: list[Set3D]) -> np.ndarray:
    """The 3D rows of a molecule's conformers, float32 [N, F], the sets' columns one after the other."""
    with rdBase.BlockLogs():
        return _float32(np.concatenate([chosen.compute(conformers) for chosen in sets], axis=1))


def columns_of(sets: list[Set2D] | list[Set3D]) -> list[str]:
    """The names of all columns of `sets`, in order."""
    return [column for chosen in sets for column in chosen.columns]


def sets_2d(*names: str) -> list[Set2D]:
    """2D sets by name; `MODULE:NAME` gives your own.

    `morgan:SIZE:RADIUS`, `atompair:SIZE` and `torsion:SIZE` give other counts than 1024 bits of radius 2 and 2048 bits.
    """
    return _distinct_columns([_sized(name) or _find(name, SETS_2D, Set2D) for name in names])


def sets_3d(*names: str) -> list[Set3D]:
    """3D sets by name; `MODULE:NAME` gives your own."""
    return _distinct_columns([_find(name, SETS_3D, Set3D) for name in names])


def _find(name: str, known: dict[str, S], kind: type[S]) -> S:
    module, _, attribute = name.partition(":")
    if name in known:
        return known[name]
    try:
        found = getattr(importlib.import_module(module), attribute) if attribute else None
    except (ImportError, AttributeError) as error:
        raise ConfigError("feature set", f"{name} cannot be imported ({error})", do="put its module on PYTHONPATH") from error
    if not isinstance(found, kind):
        raise ConfigError("feature set", got=name, want=f"{', '.join(known)}, or a {kind.__name__} of yours as MODULE:NAME")
    return found


def _distinct_columns(sets: list[S]) -> list[S]:
    columns = [column for chosen in sets for column in chosen.columns]
    if len(set(columns)) < len(columns):
        repeated = next(column for column in columns if columns.count(column) > 1)
        raise ConfigError("feature sets", f"column {repeated!r} comes twice", do="name each set once, and its columns apart")
    return sets


def _sized(name: str) -> Set2D | None:
    """The counts of a name with numbers; a ConfigError where they mean no bits, None where the name has none."""
    base, *numbers = name.split(":")
    if base not in COUNTS_2D or len(numbers) != COUNTS_2D[base][1] or not all(number.isdigit() for number in numbers):
        return None
    if int(numbers[0]) < 1:
        raise ConfigError("feature set", got=name, want="a size of 1 or more")
    return COUNTS_2D[base][0](*map(int, numbers))


def _float32(values: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        return values.astype(np.float32)


def _rdkit217(mol: Chem.Mol) -> np.ndarray:
    return np.array([function(mol) for _, function in Descriptors.descList], dtype=np.float64)


def _morgan(size: int = 1024, radius: int = 2) -> Set2D:
    generator = rdFingerprintGenerator.GetMorganGenerator(radius=radius, fpSize=size)
    return _counts("morgan", f"morgan{radius}", size, generator)


def _atom_pairs(size: int = 2048) -> Set2D:
    """Carhart, Smith and Venkataraghavan 1985: two atoms and the bonds between them."""
    return _counts("atompair", "atompair", size, rdFingerprintGenerator.GetAtomPairGenerator(fpSize=size))


def _torsions(size: int = 2048) -> Set2D:
    """Nilakantan et al. 1987: four atoms in a row."""
    return _counts("torsion", "torsion", size, rdFingerprintGenerator.GetTopologicalTorsionGenerator(fpSize=size))


def _counts(name: str, prefix: str, size: int, generator: Any) -> Set2D:
    columns = tuple(f"{prefix}_{bit}" for bit in range(size))
    return Set2D(name, columns, lambda mol: generator.GetCountFingerprintAsNumPy(mol).astype(np.float64))


def _maccs(mol: Chem.Mol) -> np.ndarray:
    return np.array(list(rd.GetMACCSKeysFingerprint(mol)), dtype=np.float64)[1:]  # key 0 does not exist


def _each(function: Callable[..., list[float]], conformers: Conformers) -> np.ndarray:
    """[N, F] from an RDKit function of (mol, confId)."""
    return np.array([function(conformers.mol, confId=i) for i in range(len(conformers))], dtype=np.float64)


_USRCAT_CENTRES = ("all", "hydrophobic", "aromatic", "acceptor", "donor")
_USR = tuple(f"{centre}_{moment}" for centre in ("ctd", "cst", "fct", "ftf") for moment in ("mean", "sd", "skew"))
_SHAPE = {
    "pmi1": rd.CalcPMI1,
    "pmi2": rd.CalcPMI2,
    "pmi3": rd.CalcPMI3,
    "npr1": rd.CalcNPR1,
    "npr2": rd.CalcNPR2,
    "gyration": rd.CalcRadiusOfGyration,
    "asphericity": rd.CalcAsphericity,
    "eccentricity": rd.CalcEccentricity,
    "inertial_shape": rd.CalcInertialShapeFactor,
    "spherocity": rd.CalcSpherocityIndex,
}


def _shape(conformers: Conformers) -> np.ndarray:
    rows = range(len(conformers))
    values = [[float(f(conformers.mol, confId=i)) for f in _SHAPE.values()] for i in rows]
    return np.concatenate([np.array(values), plane_of_best_fit(conformers.coordinates)[:, None]], axis=1)


def plane_of_best_fit(coordinates: np.ndarray) -> np.ndarray:
    """Mean distance in Å of all atoms from their best plane (PBF; Firth, Brown and Blagg 2012), [N] for [N, atoms, 3].

    Ours, because RDKit 2026.9's CalcPBF keeps the axes of the first conformer that it sees for all the others.
    """
    centred = coordinates - coordinates.mean(axis=1, keepdims=True)
    _, directions = np.linalg.eigh(np.einsum("nax,nay->nxy", centred, centred))
    return np.abs(np.einsum("nax,nx->na", centred, directions[:, :, 0])).mean(axis=1)


def _usr(function: Callable[..., list[float]], conformers: Conformers) -> np.ndarray:
    """USR moments, which RDKit refuses to molecules of fewer than three atoms: zeros for these."""
    if conformers.mol.GetNumAtoms() < 3:
        return np.zeros((len(conformers), 12 if function is rd.GetUSR else 60))
    return _each(function, conformers)


def _huckel(conformers: Conformers) -> np.ndarray:
    return huckel.huckel(conformers.mol, conformers.coordinates).table()


def _eht(conformers: Conformers) -> np.ndarray:
    """HOMO, LUMO and gap in eV of RDKit's extended Hückel (YAeHMOP); NaN where it has no parameters or no empty orbital."""
    out = np.full((len(conformers), 3), np.nan)
    for i in range(len(conformers)):
        passed, found = rdEHTTools.RunMol(conformers.mol, i)
        filled = -(-found.numElectrons // 2) if passed else 0
        if 0 < filled < found.numOrbitals:
            homo, lumo = found.GetOrbitalEnergies()[filled - 1 : filled + 1]
            out[i] = homo, lumo, lumo - homo
    return out


def _energy(conformers: Conformers) -> np.ndarray:
    return np.stack([relative_energies(conformers.energies), boltzmann_weights(conformers.energies)], axis=1)


def _numbered(prefix: str, n: int) -> tuple[str, ...]:
    return tuple(f"{prefix}_{i + 1}" for i in range(n))


COUNTS_2D: dict[str, tuple[Callable[..., Set2D], int]] = {
    "morgan": (_morgan, 2),
    "atompair": (_atom_pairs, 1),
    "torsion": (_torsions, 1),
}
"""Hashed counts by name: what makes them, and how many numbers may follow the name."""

SETS_2D: dict[str, Set2D] = {
    "rdkit217": Set2D("rdkit217", tuple(name for name, _ in Descriptors.descList), _rdkit217),
    **{name: make() for name, (make, _) in COUNTS_2D.items()},
    "maccs": Set2D("maccs", _numbered("maccs", 166), _maccs),
    "conjugation": Set2D("conjugation", conjugation.COLUMNS, conjugation.conjugation),
}

SETS_3D: dict[str, Set3D] = {
    "autocorr3d": Set3D("autocorr3d", _numbered("autocorr3d", 80), partial(_each, rd.CalcAUTOCORR3D)),
    "rdf": Set3D("rdf", _numbered("rdf", 210), partial(_each, rd.CalcRDF)),
    "morse": Set3D("morse", _numbered("morse", 224), partial(_each, rd.CalcMORSE)),
    "whim": Set3D("whim", _numbered("whim", 114), partial(_each, rd.CalcWHIM)),
    "getaway": Set3D("getaway", _numbered("getaway", 273), partial(_each, rd.CalcGETAWAY)),
    "usr": Set3D("usr", tuple(f"usr_{name}" for name in _USR), partial(_usr, rd.GetUSR)),
    "usrcat": Set3D(
        "usrcat", tuple(f"usrcat_{c}_{name}" for c in _USRCAT_CENTRES for name in _USR), partial(_usr, rd.GetUSRCAT)
    ),
    "shape": Set3D("shape", tuple(f"shape_{name}" for name in (*_SHAPE, "pbf")), _shape),
    "huckel": Set3D("huckel", huckel.COLUMNS, _huckel),
    "eht": Set3D("eht", ("eht_homo", "eht_lumo", "eht_gap"), _eht),
    "energy": Set3D("energy", ("relative_energy", "boltzmann_weight"), _energy),
}
