"""One molecule → its bag of 3D conformers: ETKDGv3, a seed a molecule, no threads inside."""

from dataclasses import dataclass

import numpy as np
from rdkit import Chem, rdBase
from rdkit.Chem import rdDistGeom, rdForceFieldHelpers, rdMolAlign

from milbench.chem.molecules import Molecule
from milbench.errors import ConfigError
from milbench.seeds import stream_seed

KT = 0.0019872043 * 298.15
"""Gas constant times room temperature, kcal/mol."""
MAX_MATCHES = 256  # symmetric atom mappings that are compared when conformers are pruned


@dataclass(frozen=True)
class ConformerConfig:
    """How conformers are made.

    n: how many are asked for. prune_rms: of two conformers nearer than this (Å, heavy atoms, symmetry counted) the later
    is dropped; 0 keeps all. mmff_iterations: steps of MMFF94s optimisation, 0 for none. max_attempts: embeddings tried per
    conformer. seed: the study's; a molecule's own is drawn from it and its InChIKey.
    """

    n: int = 10
    prune_rms: float = 0.05
    mmff_iterations: int = 0
    max_attempts: int = 20
    seed: int = 0

    def __post_init__(self) -> None:
        if self.n < 1:
            raise ConfigError("conformers", got=self.n, want="at least 1")
        if self.prune_rms < 0:
            raise ConfigError("prune_rms", got=self.prune_rms, want="0 (keep all) or a distance in Å")


@dataclass(frozen=True)
class Conformers:
    """A molecule with hydrogens and its N conformers.

    coordinates [N, atoms, 3] in Å (heavy atoms first, in the order of the SMILES); energies [N] in kcal/mol, NaN where
    no force field was asked for or MMFF94s has no parameters. `failure` says why N is 0.
    """

    mol: Chem.Mol
    coordinates: np.ndarray
    energies: np.ndarray
    failure: str = ""

    def __len__(self) -> int:
        return len(self.coordinates)

    @property
    def heavy(self) -> np.ndarray:
        """Heavy-atom coordinates [N, heavy atoms, 3] in Å, atoms in the order of the SMILES."""
        keep = [atom.GetIdx() for atom in self.mol.GetAtoms() if atom.GetAtomicNum() > 1]
        return self.coordinates[:, keep]


def relative_energies(energies: np.ndarray) -> np.ndarray:
    """Energies [N] above the lowest, kcal/mol."""
    return energies - energies.min(initial=np.inf)


def boltzmann_weights(energies: np.ndarray) -> np.ndarray:
    """exp(-ΔE/kT) at 298.15 K [N], summing to 1 over the conformers that are kept."""
    factors = np.exp(-relative_energies(energies) / KT)
    return factors / factors.sum()


def molecule_seed(inchikey: str, seed: int = 0) -> int:
    """The 31-bit embedding seed of a molecule: a stable hash of its InChIKey and the study's seed."""
    return stream_seed(seed, "conformers", inchikey) & 0x7FFFFFFF


def embed(molecule: Molecule, cfg: ConformerConfig) -> Conformers:
    """Make up to `cfg.n` distinct conformers; a molecule that cannot be embedded has none and says why.

    The same molecule and settings give the same coordinates, whatever was embedded before and in whichever process.
    """
    mol = Chem.AddHs(molecule.mol)
    with rdBase.BlockLogs():
        _embed_in_place(mol, cfg, molecule_seed(molecule.inchikey, cfg.seed))
        if mol.GetNumConformers() == 0:
            return Conformers(mol, np.zeros((0, mol.GetNumAtoms(), 3)), np.zeros(0), "ETKDG found no geometry")
        return finish(mol, cfg)


def finish(mol: Chem.Mol, cfg: ConformerConfig) -> Conformers:
    """Optimise the conformers of `mol` (with hydrogens) where asked for, and keep the distinct ones."""
    energies = _optimise(mol, cfg.mmff_iterations)
    kept = _distinct(mol, cfg.prune_rms)
    coordinates = np.stack([conformer.GetPositions() for conformer in mol.GetConformers()])
    return Conformers(with_coordinates(mol, coordinates[kept]), coordinates[kept], energies[kept])


def _embed_in_place(mol: Chem.Mol, cfg: ConformerConfig, seed: int) -> None:
    params = rdDistGeom.ETKDGv3()
    params.randomSeed = seed
    params.numThreads = 1
    params.maxIterations = cfg.max_attempts
    params.clearConfs = True
    rdDistGeom.EmbedMultipleConfs(mol, cfg.n, params)
    if mol.GetNumConformers() == 0:  # large rings and cages: random starting coordinates often succeed
        params.useRandomCoords = True
        rdDistGeom.EmbedMultipleConfs(mol, cfg.n, params)


def _optimise(mol: Chem.Mol, iterations: int) -> np.ndarray:
    """MMFF94s energies [N] after at most `iterations` steps."""
    energies = np.full(mol.GetNumConformers(), np.nan)
    if iterations == 0 or not rdForceFieldHelpers.MMFFHasAllMoleculeParams(mol):
        return energies
    found = rdForceFieldHelpers.MMFFOptimizeMoleculeConfs(mol, numThreads=1, maxIters=iterations, mmffVariant="MMFF94s")
    return np.array([energy for _, energy in found])


def _distinct(mol: Chem.Mol, prune_rms: float) -> list[int]:
    """Positions of the conformers that are farther than `prune_rms` from every earlier one that is kept."""
    n = mol.GetNumConformers()
    if prune_rms == 0 or n == 1:
        return list(range(n))
    distances = rdMolAlign.GetAllConformerBestRMS(Chem.RemoveAllHs(mol, sanitize=False), 1, None, MAX_MATCHES)
    kept = [0]
    for i in range(1, n):  # the distances come in the order (1,0), (2,0), (2,1), (3,0), ...
        if all(distances[i * (i - 1) // 2 + j] > prune_rms for j in kept):
            kept.append(i)
    return kept


def with_coordinates(mol: Chem.Mol, coordinates: np.ndarray) -> Chem.Mol:
    """A copy of `mol` whose conformers 0, 1, ... are `coordinates` [N, atoms, 3] in Å."""
    copy = Chem.Mol(mol, True)
    for position in np.asarray(coordinates, dtype=np.float64):
        conformer = Chem.Conformer(mol.GetNumAtoms())
        conformer.SetPositions(np.ascontiguousarray(position))
        copy.AddConformer(conformer, assignId=True)
    return copy
