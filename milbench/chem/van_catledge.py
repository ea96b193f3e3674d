"""Hückel parameters h and k: F. A. Van-Catledge, J. Org. Chem. 1980, 45, 4801-4802 (fitted to Pariser-Parr-Pople results).

α_X = α + h_X β and β_XY = k_XY β. An element's kind counts its σ partners: "N1" has a lone pair in the σ plane (pyridine,
imine), "N2" has three σ partners (pyrrole, amide, nitro); "O1" carbonyl, "O2" furan; so the two oxygens of a carboxylate or
a nitro group are alike. Bromine is not in that paper: its values are Streitwieser's (Molecular Orbital Theory for Organic
Chemists, 1961: h 1.5, k 0.3). Elements that are not listed take no part in the π system.
"""

KINDS = ("C", "B", "N1", "N2", "O1", "O2", "F", "Si", "P1", "P2", "S1", "S2", "Cl", "Br")
_H = (0.00, -0.45, 0.51, 1.37, 0.97, 2.09, 2.71, 0.00, 0.19, 0.75, 0.46, 1.11, 1.48, 1.50)
_K = (
    (1.00,),
    (0.73, 0.87),
    (1.02, 0.66, 1.09),
    (0.89, 0.53, 0.99, 0.98),
    (1.06, 0.60, 1.14, 1.13, 1.26),
    (0.66, 0.35, 0.80, 0.89, 1.02, 0.95),
    (0.52, 0.26, 0.65, 0.77, 0.92, 0.94, 1.04),
    (0.75, 0.57, 0.72, 0.43, 0.65, 0.24, 0.17, 0.64),
    (0.77, 0.53, 0.78, 0.55, 0.75, 0.31, 0.21, 0.62, 0.63),
    (0.76, 0.54, 0.81, 0.64, 0.82, 0.39, 0.22, 0.52, 0.58, 0.63),
    (0.81, 0.51, 0.83, 0.68, 0.84, 0.43, 0.28, 0.61, 0.65, 0.65, 0.68),
    (0.69, 0.44, 0.78, 0.73, 0.85, 0.54, 0.32, 0.40, 0.48, 0.60, 0.58, 0.63),
    (0.62, 0.41, 0.77, 0.80, 0.88, 0.70, 0.51, 0.34, 0.35, 0.55, 0.52, 0.59, 0.68),
    (0.30,) * 14,
)
_INDEX = {kind: i for i, kind in enumerate(KINDS)}
_DUAL = {"N": 3, "O": 2, "P": 3, "S": 2}  # from this number of σ partners on, the second kind


def kind_of(symbol: str, partners: int) -> str | None:
    """The kind of an element with that many σ partners, or None when it takes no part."""
    kind = symbol + ("2" if partners >= _DUAL[symbol] else "1") if symbol in _DUAL else symbol
    return kind if kind in _INDEX else None


def h(kind: str) -> float:
    """Coulomb parameter h_X in |β|."""
    return _H[_INDEX[kind]]


def k(one: str, other: str) -> float:
    """Resonance parameter k_XY in |β|."""
    high, low = sorted((_INDEX[one], _INDEX[other]), reverse=True)
    return _K[high][low]
