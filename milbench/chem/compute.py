"""Everything that is computed of one molecule, and what becomes of it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

from milbench.chem.conformers import ConformerConfig, Conformers, embed
from milbench.chem.descriptors import Set2D, Set3D, columns_of, features_2d, features_3d, sets_2d, sets_3d
from milbench.chem.molecules import Molecule, Rejected, standardise
from milbench.chem.sdf import read_records, take_coordinates
from milbench.prepare_config import PrepareConfig

S = TypeVar("S", Set2D, Set3D)
NO_CONFORMER = "no_conformer"


@dataclass(frozen=True)
class Result:
    """What became of one structure.

    `dropped` is why it is left out ("" when it is kept) and `detail` says more. smiles, inchikey and changes as in
    `Molecule`; x2d [F2]; of each of N conformers x3d [N, F3], heavy-atom positions [N, heavy atoms, 3] in Å, energies [N] in
    kcal/mol (NaN without MMFF).
    """

    dropped: str = ""
    detail: str = ""
    smiles: str = ""
    inchikey: str = ""
    changes: tuple[str, ...] = ()
    x2d: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32))
    x3d: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), np.float32))
    positions: np.ndarray = field(default_factory=lambda: np.zeros((0, 0, 3), np.float32))
    energies: np.ndarray = field(default_factory=lambda: np.zeros(0))


@dataclass(frozen=True)
class Recipe:
    """The chosen sets and conformer settings, ready to compute."""

    sets2d: list[Set2D]
    sets3d: list[Set3D]
    conformers: ConformerConfig | None
    neutralise: bool
    sdf: bool
    keep_empty: bool

    @classmethod
    def of(cls, config: PrepareConfig) -> "Recipe":
        """The recipe of these settings; an unknown set is a ConfigError."""
        embedded = config.conformers > 0
        conformers = ConformerConfig(
            max(config.conformers, 1), prune_rms=config.prune_rms, mmff_iterations=config.mmff, seed=config.seed
        )
        return cls(
            sets2d=sets_2d(*config.sets_2d),
            sets3d=sets_3d(*config.sets_3d) if embedded else [],
            conformers=conformers if embedded else None,
            neutralise=config.neutralise,
            sdf=config.sdf,
            keep_empty=config.keep_empty_bags,
        )

    @property
    def names(self) -> tuple[list[str], list[str]]:
        """The names of all 2D and of all conformer columns."""
        return columns_of(self.sets2d), columns_of(self.sets3d)


def describe(structure: str, recipe: Recipe, stage: Callable[[str], None] = lambda _: None) -> Result:
    """Standardise, embed and describe one structure (SMILES, or the .sdf records of one molecule).

    `stage` is called with the name of each step before it begins. What a chemist must expect comes back as a Result.
    """
    stage("reading")
    found, records = (
        read_records(structure, recipe.neutralise) if recipe.sdf else (standardise(structure, recipe.neutralise), [])
    )
    if isinstance(found, Rejected):
        return Result("empty" if not structure.strip() else "unparsable", found.reason)
    conformers = None
    if recipe.conformers is not None:
        stage("conformers")
        conformers = take_coordinates(found, records, recipe.conformers) if records else embed(found, recipe.conformers)
        if not len(conformers) and not recipe.keep_empty:
            return Result(NO_CONFORMER, conformers.failure, found.smiles, found.inchikey, found.changes)
    x2d = _in_stages(recipe.sets2d, lambda chosen: features_2d(found.mol, [chosen]), stage)
    if conformers is None or not len(conformers):
        failure = "" if conformers is None else conformers.failure
        empty = np.zeros((0, len(recipe.names[1])), np.float32)
        return Result("", failure, found.smiles, found.inchikey, found.changes, x2d, empty)
    return _with_conformers(found, conformers, x2d, recipe, stage)


def _with_conformers(
    found: Molecule, conformers: Conformers, x2d: np.ndarray, recipe: Recipe, stage: Callable[[str], None]
) -> Result:
    return Result(
        smiles=found.smiles,
        inchikey=found.inchikey,
        changes=found.changes,
        x2d=x2d,
        x3d=_in_stages(recipe.sets3d, lambda chosen: features_3d(conformers, [chosen]), stage),
        positions=conformers.heavy.astype(np.float32),
        energies=conformers.energies,
    )


def _in_stages(sets: list[S], compute: Callable[[S], np.ndarray], stage: Callable[[str], None]) -> np.ndarray:
    parts = []
    for chosen in sets:
        stage(chosen.name)
        parts.append(compute(chosen))
    return np.concatenate(parts, axis=-1)
