"""A final model as users name it: a folder with one model or several that predict together, and what it needs."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from milbench.data.bags import BagData
from milbench.data.domain import Domain
from milbench.data.manifest import MODEL, find_model
from milbench.errors import ConfigError, DataError
from milbench.files import content_hash, file_hash, read_json
from milbench.recipe import same_recipe
from milbench.run_config import FINAL_FOLDER
from milbench.tasks import TaskSet
from milbench.training.checkpoint import TrainedModel, load_checkpoint

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class EnsemblePredictions:
    """Mean probabilities [n, T] of the members, their standard deviation [n, T] (0 for one member), mean attention [R, T]."""

    probability: np.ndarray
    spread: np.ndarray
    attention: np.ndarray


@dataclass(frozen=True)
class Ensemble:
    """Models that predict the same endpoints from the same features, and the domains in which they apply.

    `hashes`: of the members' files; `about`: of each folder its model.json.
    """

    members: tuple[TrainedModel, ...]
    hashes: tuple[str, ...] = ()
    domains: tuple[Domain, ...] = ()
    about: tuple[dict[str, Any], ...] = ()

    @property
    def tasks(self) -> TaskSet:
        """What is predicted."""
        return self.members[0].tasks

    @property
    def features(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Names of the 2D and of the conformer features, in order."""
        return self.members[0].names2d, self.members[0].names_inst

    @property
    def conformers(self) -> int | None:
        """How many conformers of each molecule the members are given, the first ones; None: all."""
        return self.members[0].conformers

    @property
    def imputes(self) -> bool:
        """Whether every member can be given features that are not finite."""
        return all(member.imputes for member in self.members)

    @property
    def recipe(self) -> dict[str, Any] | None:
        """How the features were made; None where that is not known, or members differ."""
        recipes = [member.info.get("recipe") for member in self.members]
        return recipes[0] if all(same_recipe(recipes[0], other) for other in recipes) else None

    @property
    def weights(self) -> str:
        """A hash of the members' weights: what makes it this model, whatever it was trained with and where it lies."""
        states = [member.model.state_dict() for member in self.members]
        text = "\n".join(name for state in states for name in state)
        return content_hash(*(value.cpu().numpy() for state in states for value in state.values()), text=text)

    def predict(self, bags: BagData, rows: np.ndarray) -> EnsemblePredictions:
        """Predict the molecules `rows` [n] of `bags`; attention is that of the conformers that the members are given."""
        predictions = [member.evaluator(bags).predict(rows) for member in self.members]
        probability = np.stack([one.probability for one in predictions])
        attention = np.stack([one.attention for one in predictions])
        return EnsemblePredictions(probability.mean(axis=0), probability.std(axis=0), attention.mean(axis=0))

    def to(self, device: str) -> "Ensemble":
        """The same, its models moved to `device`."""
        for member in self.members:
            member.model.to(device)
        return self


def load_model(*paths: str | Path) -> Ensemble:
    """Read final models, to predict together: each a final model's folder, a study folder that holds one, or a .ckpt.

    A folder that holds no finished model, and models of other endpoints or features than the first, are errors; a model named
    twice counts once.
    """
    parts = [_load(Path(path)) for path in paths]
    first = parts[0]
    for path, part in zip(paths, parts, strict=True):
        if part.tasks.names != first.tasks.names:
            raise ConfigError(path, "predicts other endpoints", got=", ".join(part.tasks.names), want=f"those of {paths[0]}")
        if part.features != first.features:
            raise ConfigError(path, f"was trained on other features than {paths[0]}", do="predict with each by itself")
        if part.conformers != first.conformers:
            what = f"was trained on another number of conformers than {paths[0]}"
            raise ConfigError(path, what, do="predict with each by itself")
    members = {one: member for part in parts for one, member in zip(part.hashes, part.members, strict=True)}
    repeated = sum(len(part.members) for part in parts) - len(members)
    if repeated:
        log.warning("%d of the models are named twice and count once", repeated)
    return Ensemble(
        members=tuple(members.values()),
        hashes=tuple(members),
        domains=_distinct([domain for part in parts for domain in part.domains]),
        about=tuple(about for part in parts for about in part.about),
    )


def _load(path: Path) -> Ensemble:
    if path.suffix == ".ckpt":
        return Ensemble((load_checkpoint(path),), (file_hash(path),))
    folder = find_model(path)
    if folder is None:
        do = f"give a study folder with a finished {FINAL_FOLDER}/, that folder, or a .ckpt"
        raise DataError(path, f"holds no finished model (no {MODEL})" if path.is_dir() else "no such model", do=do)
    about = read_json(folder / MODEL)
    members = [folder / name for name in about["members"]]
    applies = about["applicability"]
    domains = () if applies is None else (Domain.load(folder, applies),)
    return Ensemble(tuple(map(load_checkpoint, members)), tuple(map(file_hash, members)), domains, (about,))


def _distinct(domains: Sequence[Domain]) -> tuple[Domain, ...]:
    """Each domain once: members of one data set share theirs."""
    found: list[Domain] = []
    for domain in domains:
        if not any(np.array_equal(domain.prints, known.prints) for known in found):
            found.append(domain)
    return tuple(found)
