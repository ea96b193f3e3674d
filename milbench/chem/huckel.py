"""The π-electron Hückel model of each conformer: levels, gap, bond orders and a strength of the first transition.

H_pp = α + h_p β, H_pq = k_pq β cos θ_pq for bonded atoms, θ the angle between the axes of the two p orbitals (a torsion about
the bond for planar partners). Energies are given relative to α in units of |β|, so bonding levels are negative and
butadiene's are -1.618, -0.618, 0.618, 1.618. Parameters: `milbench.chem.van_catledge`. Signs of the axes are arbitrary and
cancel; a ring in which they cannot be made to agree is a Möbius system, and is treated as one.
"""

from dataclasses import dataclass

import numpy as np
from rdkit import Chem
from rdkit.Chem import rdDepictor

from milbench.chem.pi_system import PiSystem, axes, pi_system

COLUMNS = ("huckel_homo", "huckel_lumo", "huckel_gap", "huckel_order_spread", "huckel_oscillator", "huckel_planarity")
NO_PI = (-3.0, 3.0, 6.0, 0.0, 0.0, 1.0)  # a molecule without a π system absorbs beyond every level of one that has it
_WIDTH = 0.05  # |β|: transitions this near the first one count as part of it, so that degenerate levels give one number
_DEGENERATE = 1e-6  # |β|


@dataclass(frozen=True)
class Levels:
    """What the model says of N conformers.

    homo, lumo, gap [N] in |β|, of the separate π system with the smallest gap; order_spread [N]: standard deviation of
    the π bond orders; oscillator [N] in |β| Å²: Σ ΔE |Σ_p c_p c'_p r_p|² over the transitions at the gap; planarity [N]:
    mean cos² over acyclic π bonds, 1 when there are none. Without a π system: `NO_PI`.
    """

    homo: np.ndarray
    lumo: np.ndarray
    gap: np.ndarray
    order_spread: np.ndarray
    oscillator: np.ndarray
    planarity: np.ndarray

    def table(self) -> np.ndarray:
        """[N, 6], in the order of `COLUMNS`."""
        return np.stack([self.homo, self.lumo, self.gap, self.order_spread, self.oscillator, self.planarity], axis=1)


def huckel(mol: Chem.Mol, coordinates: np.ndarray) -> Levels:
    """Solve the model for each conformer; coordinates [N, atoms, 3] in Å, with hydrogens. Same answer in any orientation."""
    pi = pi_system(mol)
    if pi.n_systems == 0:
        return _no_pi(len(coordinates))
    axis = axes(mol, pi, coordinates)
    cosine = np.einsum("nex,nex->ne", axis[:, pi.pairs[:, 0]], axis[:, pi.pairs[:, 1]])
    return _solve(pi, cosine, coordinates[:, pi.atoms])


def planar_huckel(mol: Chem.Mol) -> Levels:
    """The model for the fully planar molecule (N = 1); positions are those of RDKit's drawing, bonds scaled to 1.4 Å."""
    order = np.argsort(list(Chem.CanonicalRankAtoms(mol)), kind="stable")
    flat = Chem.RenumberAtoms(mol, order.tolist())
    pi = pi_system(flat)
    if pi.n_systems == 0:
        return _no_pi(1)
    rdDepictor.Compute2DCoords(flat)
    positions = flat.GetConformer().GetPositions()[None] * (1.4 / 1.5)
    return _solve(pi, planar_cosines(pi)[None], positions[:, pi.atoms])


def planar_cosines(pi: PiSystem) -> np.ndarray:
    """The couplings [E] of the flat molecule: 1, or 0 between the two planes of linear atoms."""
    return (pi.slot[pi.pairs[:, 0]] == pi.slot[pi.pairs[:, 1]]).astype(np.float64)


def gaps_of(pi: PiSystem, cosine: np.ndarray) -> np.ndarray:
    """The gap in |β| for each row of couplings [N, E], [N]."""
    return _solve(pi, cosine, np.zeros((len(cosine), len(pi.atoms), 3))).gap


def hamiltonian(pi: PiSystem, cosine: np.ndarray) -> np.ndarray:
    """The matrix in |β| relative to α, [N, P, P], for the cosines [N, E] of the couplings."""
    size = len(pi.atoms)
    out = np.zeros((len(cosine), size, size))
    out[:, np.arange(size), np.arange(size)] = -pi.h
    out[:, pi.pairs[:, 0], pi.pairs[:, 1]] = out[:, pi.pairs[:, 1], pi.pairs[:, 0]] = -pi.k * cosine
    return out


def _no_pi(n: int) -> Levels:
    return Levels(*(np.full(n, value) for value in NO_PI))


def _solve(pi: PiSystem, cosine: np.ndarray, positions: np.ndarray) -> Levels:
    """cosine [N, E], positions of the orbitals [N, P, 3]."""
    matrix, density = hamiltonian(pi, cosine), np.zeros((len(cosine), len(pi.atoms), len(pi.atoms)))
    found, transitions = [], []
    for system in range(pi.n_systems):
        member = np.flatnonzero(pi.system == system)
        energy, orbital = np.linalg.eigh(matrix[:, member[:, None], member])
        electrons = round(pi.electrons[member].sum())
        filled = -(-electrons // 2)
        density[:, member[:, None], member] = _density(energy, orbital, electrons)
        if 0 < filled < len(member):
            found.append(energy[:, [filled - 1, filled]])
            transitions.append(_transitions(energy, orbital, positions[:, member], filled))
    if not found:
        return _no_pi(len(cosine))
    edges = np.stack(found, axis=1)  # [N, S, 2]
    gaps = edges[..., 1] - edges[..., 0]
    homo, lumo = np.take_along_axis(edges, gaps.argmin(axis=1)[:, None, None], axis=1)[:, 0].T
    energy, strength = (np.concatenate(part, axis=1) for part in zip(*transitions))
    near = np.exp(-0.5 * ((energy - gaps.min(axis=1, keepdims=True)) / _WIDTH) ** 2)
    oscillator = (strength * near).sum(axis=1)
    return Levels(homo, lumo, lumo - homo, _order_spread(pi, density, cosine), oscillator, _planarity(pi, cosine))


def _density(energy: np.ndarray, orbital: np.ndarray, electrons: int) -> np.ndarray:
    """Bond orders and charges [N, p, p]; levels that are degenerate at the Fermi edge share its electrons."""
    if electrons == 0:
        return np.zeros_like(orbital)
    edge = energy[:, [min(-(-electrons // 2), energy.shape[1]) - 1]]
    below, at = energy < edge - _DEGENERATE, np.abs(energy - edge) <= _DEGENERATE
    share = (electrons - 2 * below.sum(axis=1, keepdims=True)) / at.sum(axis=1, keepdims=True)
    return np.einsum("npi,ni,nqi->npq", orbital, 2.0 * below + share * at, orbital)


def _transitions(energy: np.ndarray, orbital: np.ndarray, positions: np.ndarray, filled: int) -> tuple[np.ndarray, np.ndarray]:
    """Energies and strengths [N, occupied · empty] of one system's one-electron transitions."""
    change = energy[:, None, filled:] - energy[:, :filled, None]
    centred = positions - positions.mean(axis=1, keepdims=True)
    weighted = np.einsum("npi,npx->nipx", orbital[..., :filled], centred)
    dipole = np.einsum("nipx,npa->niax", weighted, orbital[..., filled:])
    return change.reshape(len(energy), -1), (change * (dipole**2).sum(axis=-1)).reshape(len(energy), -1)


def _order_spread(pi: PiSystem, density: np.ndarray, cosine: np.ndarray) -> np.ndarray:
    """Standard deviation [N] over bonds of Σ p cos θ, the two orbitals of a linear atom added up."""
    overlaps = density[:, pi.pairs[:, 0], pi.pairs[:, 1]] * cosine
    orders = overlaps @ (pi.bond[:, None] == np.unique(pi.bond))
    return orders.std(axis=1)


def _planarity(pi: PiSystem, cosine: np.ndarray) -> np.ndarray:
    linear = np.isin(pi.atoms, pi.atoms[pi.slot == 1])
    turning = pi.acyclic & ~linear[pi.pairs].any(axis=1)
    return (cosine[:, turning] ** 2).mean(axis=1) if turning.any() else np.ones(len(cosine))
