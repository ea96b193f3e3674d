"""The EUOS25 challenge's files in the form in which they were published, of made-up molecules."""

from pathlib import Path

import numpy as np
import pandas as pd

from milbench.data.euos25_files import FILES, T340

SMILES = ["CCO", "c1ccccc1O", "CC(=O)N", "CCN", "c1ccncc1", "CCCl"]
IDS = [1, 4, 352, 353, 705, 706]


def labels(name: str) -> list[int]:
    """The labels of an endpoint."""
    rng = np.random.default_rng(len(name))
    return rng.integers(0, 2, len(IDS)).tolist()


def published_files(folder: Path) -> Path:
    """The challenge's five files with its quirks, of six made-up molecules and two test molecules, in `folder`."""
    for name, file in FILES.items():
        word = "Transmittance" if "ransmittance" in name else "Fluorescence"
        head = ("N", "SMILES", "Transmittance (qualitative)") if name == T340 else ("ID", "SMILES", word)
        pd.DataFrame(dict(zip(head, (IDS, SMILES, labels(name))))).to_csv(folder / file, index=False)
    pd.DataFrame({"ID": [2, 354], "SMILES": ["CCBr", "CCI"]}).to_csv(folder / "euos25_challenge_test.csv", index=False)
    return folder
