"""A trained model in one file: weights, configuration, scaling and tasks, loadable with `weights_only=True`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from milbench.configs import MILModelConfig
from milbench.data.bags import BagData
from milbench.data.choice import first_conformers, without_conformers
from milbench.data.cv import FoldData, ScaledBags
from milbench.data.statistics import Scaler
from milbench.errors import DataError
from milbench.files import read_tensors, write_tensors
from milbench.models.mil import MILTaskAttnMixerWithAux
from milbench.rerun import read_back
from milbench.tasks import TaskSet
from milbench.training.evaluator import ModelEvaluator
from milbench.version import __version__

FORMAT = 1


@dataclass(frozen=True)
class TrainedModel:
    """A model read back: what it was trained on and how its features were scaled (None: not at all)."""

    model: MILTaskAttnMixerWithAux
    tasks: TaskSet
    scale2d: Scaler | None
    scale_inst: Scaler | None
    names2d: tuple[str, ...]
    names_inst: tuple[str, ...]
    info: dict[str, Any]

    def evaluator(self, bags: BagData) -> ModelEvaluator:
        """Predicts and scores the molecules of `bags`; further features and conformers are left out, missing features are a
        DataError.
        """
        return ModelEvaluator(self.model, ScaledBags(self.fitted(bags, "the data"), self.scale2d, self.scale_inst), self.tasks)

    @property
    def conformers(self) -> int | None:
        """How many conformers of each molecule it is given, the first ones; None: all."""
        return self.info.get("conformers")

    def fitted(self, bags: BagData, where: object) -> BagData:
        """The molecules with the features and conformers that it is given; a feature that is missing is a DataError."""
        if self.conformers == 0:  # conformer features, if there are any, are not looked at
            bags = without_conformers(bags, self.names_inst)
        bags = bags.with_features(self.names2d, self.names_inst, where)
        return bags if self.conformers is None else first_conformers(bags, self.conformers)

    @property
    def clips(self) -> bool:
        """Whether it limits scaled features."""
        return self.scale2d is not None and self.scale2d.clip is not None

    def clipped(self, bags: BagData) -> np.ndarray:
        """Of each molecule of the `fitted` bags how many of its features, its conformers' among them, are limited, [M]."""
        counts = np.zeros(len(bags), dtype=np.int64)
        if self.scale2d is not None and self.scale_inst is not None:
            counts += self.scale2d.beyond(bags.x2d.float()).sum(axis=1)
            molecule = np.repeat(np.arange(len(bags)), bags.bag_sizes)
            np.add.at(counts, molecule, self.scale_inst.beyond(bags.xinst.float()).sum(axis=1))
        return counts

    @property
    def imputes(self) -> bool:
        """Whether features that are not finite become a median of the training molecules."""
        return self.scale2d is not None and self.scale2d.fill is not None


def save_checkpoint(path: Path, model: MILTaskAttnMixerWithAux, fold: FoldData, tasks: TaskSet, info: dict[str, Any]) -> None:
    """Write the model of `fold` atomically; `info` holds plain JSON types (parameters, epochs, data hash, …)."""
    content = {
        "format": FORMAT,
        "milbench": __version__,
        "config": read_back(model.config.to_dict()),
        "tasks": read_back(tasks.to_dict()),
        "state_dict": {name: value.cpu() for name, value in model.state_dict().items()},
        "scale2d": _tensors(fold.stats.scale2d),
        "scale_inst": _tensors(fold.stats.scale_inst),
        "names2d": list(fold.bags.names2d),
        "names_inst": list(fold.bags.names_inst),
        "info": info,
    }
    write_tensors(path, content)


def load_checkpoint(path: str | Path) -> TrainedModel:
    """Read a checkpoint; a file that is none is a DataError."""
    content = read_tensors(path, do="train again, or name another file")
    if content.get("format") != FORMAT or "config" not in content:
        raise DataError(path, "is not a milbench checkpoint of this version")
    config = MILModelConfig.from_dict(content["config"])
    ones = torch.ones(config.predictor.n_tasks)
    model = MILTaskAttnMixerWithAux.from_config(config, pos_weight=ones, gamma=ones, lam=ones)
    model.load_state_dict(content["state_dict"])
    return TrainedModel(
        model=model.eval(),
        tasks=TaskSet.from_dict(content["tasks"], where=path),
        scale2d=_scaler(content["scale2d"]),
        scale_inst=_scaler(content["scale_inst"]),
        names2d=tuple(content["names2d"]),
        names_inst=tuple(content["names_inst"]),
        info=content["info"],
    )


def _tensors(scaler: Scaler | None) -> dict[str, torch.Tensor]:
    return (
        {} if scaler is None else {name: torch.from_numpy(value) for name, value in vars(scaler).items() if value is not None}
    )


def _scaler(content: dict[str, torch.Tensor]) -> Scaler | None:
    arrays: dict[str, np.ndarray] = {name: value.numpy() for name, value in content.items()}
    return Scaler(**arrays) if arrays else None
