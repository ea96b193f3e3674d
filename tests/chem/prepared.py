"""What the tests of prepare share: small inputs, quick settings, and a way to compare stores byte by byte."""

import hashlib
from pathlib import Path

import pandas as pd
from rdkit import RDConfig

from milbench.chem.prepare import prepare
from milbench.prepare_config import PrepareConfig

QUICK = {"sets_2d": ("conjugation",), "sets_3d": ("usr", "huckel"), "conformers": 2, "processes": 1, "shard_size": 4}


def nci(n: int, largest: int = 200) -> pd.DataFrame:
    """The first n NCI structures with at most so many characters: ID and SMILES."""
    lines = (Path(RDConfig.RDDataDir) / "NCI" / "first_5K.smi").read_text().splitlines()
    rows = [line.split("\t") for line in lines]
    rows = [(name, smiles) for smiles, name in rows if len(smiles) <= largest]
    return pd.DataFrame(rows[:n], columns=["ID", "SMILES"])


def config(source: Path, out: Path, **changes: object) -> PrepareConfig:
    """Quick settings, changed by `changes`."""
    return PrepareConfig(source, out, **{**QUICK, **changes})


def prepared(source: Path, out: Path, **changes: object) -> pd.DataFrame:
    """Prepare and give the report, indexed by row."""
    prepare(config(source, out, **changes))
    return pd.read_parquet(out / "prepare_report.parquet").set_index("row")


def digest(folder: Path) -> dict[str, str]:
    """SHA-256 of every file of a folder."""
    return {f.name: hashlib.sha256(f.read_bytes()).hexdigest() for f in sorted(folder.iterdir())}
