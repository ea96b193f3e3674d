"""What the tests of predictions share: small stores of real structures, and final models trained on them."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
from rdkit import RDConfig

from builders import make_bags
from milbench.configs import HPOConfig, RuntimeConfig
from milbench.data.bags import BagData
from milbench.data.folds import stratified_folds
from milbench.data.store import save_store
from milbench.predict_config import PredictConfig
from milbench.run_config import FINAL_FOLDER, FinalTrainConfig
from milbench.tasks import EUOS25
from milbench.training.final import MILFinalData, MILFinalTrainer
from runs import PINS

CPU = RuntimeConfig(accelerator="cpu")
CONFIG = HPOConfig.from_params(PINS, EUOS25, runtime=CPU)
PRED = [f"pred_{name}" for name in EUOS25.names]
ATTN = [f"attn_{name}" for name in EUOS25.names]


def nci_smiles(n: int) -> list[str]:
    """The first n NCI structures that RDKit carries."""
    lines = (Path(RDConfig.RDDataDir) / "NCI" / "first_5K.smi").read_text().splitlines()
    return [line.split("\t")[0] for line in lines[:n]]


def real_bags(n: int = 60, sizes: np.ndarray | None = None, f2: int = 5, f3: int = 6, **changes: Any) -> BagData:
    """Made-up features and labels of n real structures; the last third is the leaderboard."""
    made = make_bags(n, sizes=sizes, f2=f2, f3=f3)
    bags = dataclasses.replace(made, smiles=np.array(nci_smiles(n), dtype=object), content=f"made up {n}")
    bags.split[n - n // 3 :] = "leaderboard"
    return dataclasses.replace(bags, **changes)


def final_data(bags: BagData, **changes: Any) -> MILFinalData:
    """The training split in three folds, the rest to be reported."""
    train = bags.split == "train"
    fold_of = np.full(len(bags), -1, dtype=np.int64)
    fold_of[train] = stratified_folds(bags.raw.y[train], 3)
    return MILFinalData(bags, EUOS25, fold_of, np.flatnonzero(~train), **changes)


def trained(folder: Path, bags: BagData | None = None, *, seed: int = 0, **final: Any) -> Path:
    """A final model, two epochs old; its folder."""
    config = dataclasses.replace(CONFIG, runtime=dataclasses.replace(CPU, seed=seed))
    asked = FinalTrainConfig(**{"max_epochs": 2, "runtime": CPU, **final})
    MILFinalTrainer(final_data(real_bags() if bags is None else bags), config, asked, folder).run()
    return folder / FINAL_FOLDER


def stored(folder: Path, bags: BagData) -> Path:
    """A bag store of `bags`."""
    return save_store(folder, bags, EUOS25, provenance={"made_by": "the tests"})


def asked(model: Path, source: Path, out: Path, **changes: Any) -> PredictConfig:
    """A prediction on the CPU."""
    return PredictConfig(model, source, out, **{"nn_accelerator": "cpu", **changes})
