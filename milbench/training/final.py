"""The final model, or an ensemble of them: best parameters, trained on the training split, the leaderboard reported once."""

import dataclasses
import logging
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from milbench.configs import HPOConfig
from milbench.data.attention import of_all_molecules
from milbench.data.bags import BagData
from milbench.data.cv import FoldData, MILCVData
from milbench.data.domain import domain_of
from milbench.data.manifest import MODEL
from milbench.errors import ConfigError, DataError
from milbench.export import attention_table, prediction_table
from milbench.features import STANDARD, Scaling
from milbench.files import (
    atomic_path,
    content_hash,
    file_hash,
    make_folder,
    read_json,
    remove,
    write_json,
    write_table,
    write_text,
)
from milbench.metrics import Metrics, evaluate, warn_undefined
from milbench.run_config import FINAL_FOLDER, PREDICTIONS_FILE, REPORT_FILE, FinalTrainConfig
from milbench.seeds import stream_seed
from milbench.tasks import TaskSet
from milbench.training.card import CARD, about_model, model_card
from milbench.training.checkpoint import load_checkpoint, save_checkpoint
from milbench.training.ensemble import Ensemble
from milbench.training.fold import Epoch, EpochHook, FoldResult, MILFoldTrainer
from milbench.training.fold_models import check_fold_models, fold_models, model_origin
from milbench.training.leaderboard import opened
from milbench.training.resume import difference_to

log = logging.getLogger(__name__)

CHECKPOINT, MEMBERS = "best_model.ckpt", "members"
ATTENTION, SCORES = "leaderboard_attn.parquet", "leaderboard_per_task.csv"
SEED_MONITOR_NOTE = "training was stopped by the leaderboard that it reports: this score is optimistic"

MemberHook = Callable[[int, Epoch], None]
"""Called with (member, epoch) after every epoch."""


@dataclass(frozen=True, eq=False)
class MILFinalData:
    """What the final training sees: the training molecules with inner folds that monitor it, and the leaderboard's places.

    `fold_of` [M]: folds of the training split, -1 elsewhere; `leaderboard` [L] places, possibly none; `monitors`: the folds
    that monitor, one member after the other (none named: all).
    """

    bags: BagData
    tasks: TaskSet
    fold_of: np.ndarray
    leaderboard: np.ndarray
    prescaled: bool = False
    impute: str = "none"
    scaling: Scaling = STANDARD
    monitors: tuple[int, ...] = ()

    @property
    def train(self) -> np.ndarray:
        """Places of the training split, those that monitor included."""
        return np.flatnonzero(self.fold_of >= 0)

    def inner(self, member: int) -> int:
        """The fold that monitors a member; the first of all is the single model's."""
        folds = self.monitors or tuple(np.unique(self.fold_of[self.train]).tolist())
        return folds[member % len(folds)]

    def check(self, final: FinalTrainConfig) -> None:
        """An error, before anything is trained, where the leaderboard cannot do what it is for: be monitored, or predicted."""
        split = final.leaderboard_split
        if final.monitor == "leaderboard" and not len(self.leaderboard):
            what = f"no molecule is in --leaderboard_split {split}"
            raise ConfigError("--monitor leaderboard", what, do="name the split that is to monitor, or leave out --monitor")
        if self.impute == "median":
            return
        for rows in np.array_split(self.leaderboard, len(self.leaderboard) // 1024 + 1):
            wrong = self.bags.not_finite(rows)
            if wrong.any():
                place = int(np.flatnonzero(wrong)[0])
                what = f"NaN or inf in molecule {self.bags.ids[rows[place]]}"
                do = "mend the feature, or impute with the training fold's median (--impute median)"
                raise DataError(split, what, column=wrong[place], do=do)

    def fold(self, monitor: str, member: int = 0) -> FoldData:
        """Monitored by an inner fold of the training split ("inner"), or by the leaderboard (the seed's way)."""
        if monitor == "leaderboard":
            parts = np.where(self.fold_of >= 0, 1, -1)
            parts[self.leaderboard] = 0
        else:
            parts = np.where(self.fold_of < 0, -1, np.where(self.fold_of == self.inner(member), 0, 1))
        return MILCVData(self.bags, parts, self.tasks, self.prescaled, self.impute, self.scaling).fold(0)


@dataclass(frozen=True, eq=False)
class MILFinalTrainer:
    """Trains the final model in `study_dir` and writes its artifacts; run again with the same inputs, it reads them back.

    With `final.ensemble` > 1 it trains so many members, each with its own seed and its own inner fold, and reports their mean.
    """

    data: MILFinalData
    config: HPOConfig
    final: FinalTrainConfig
    study_dir: Path

    @cached_property
    def folder(self) -> Path:
        """Where the artifacts lie."""
        return self.study_dir / FINAL_FOLDER

    @cached_property
    def fingerprint(self) -> str:
        """Data, folds, parameters and settings in one hash: what a finished final model must match to be kept."""
        return self._hash(dataclasses.asdict(self.final), *map(file_hash, self._kept))

    def _hash(self, *settings: object) -> str:
        data = self.data
        how = (data.prescaled, data.impute, data.scaling)
        text = repr((data.bags.content, how, self.config.to_params(data.tasks), self.config.runtime, *settings))
        return content_hash(self.data.fold_of, self.data.leaderboard, text=text)

    @property
    def checkpoints(self) -> list[Path]:
        """The file of each member."""
        if self._single:
            return [self.folder / CHECKPOINT]
        count = len(self._kept) or self.final.ensemble
        return [self.folder / MEMBERS / str(i) / CHECKPOINT for i in range(count)]

    @property
    def _single(self) -> bool:
        return self.final.ensemble == 1 and not self.final.fold_models

    @cached_property
    def _kept(self) -> list[Path]:
        """The models of the study's folds, where these are the final model."""
        if not self.final.fold_models:
            return []
        return fold_models(self.study_dir, len(self.data.monitors or np.unique(self.data.fold_of[self.data.train])))

    def is_done(self) -> bool:
        """Whether the same final model is there already."""
        tables = [self._attention, self.folder / PREDICTIONS_FILE, self.folder / SCORES] if len(self.data.leaderboard) else []
        needed = [self.folder / REPORT_FILE, self.folder / MODEL, *self.checkpoints, *tables]
        return all(path.is_file() for path in needed) and read_json(needed[0]).get("fingerprint") == self.fingerprint

    def run(self, hook: MemberHook | None = None) -> dict[str, Any]:
        """Train, save, report the leaderboard once; gives the content of leaderboard_eval.json."""
        if self.is_done():
            log.info("final model: done already, in %s", self.folder)
            return read_json(self.folder / REPORT_FILE)
        self.data.check(self.final)
        make_folder(self.folder)
        if self._kept:
            check_fold_models(self._kept, self.data.bags.content, self.config.to_params(self.data.tasks))
        trained = self._trained()
        self._clear(same=all(trained))
        if self._kept:
            self._take_kept()
        else:
            for member in range(len(trained)):
                if trained[member]:
                    log.info("final model: member %d is trained already", member)
                else:
                    self._member(member, hook)
        ensemble = Ensemble(tuple(map(load_checkpoint, self.checkpoints)))
        report = self._report(ensemble)
        self._describe(ensemble, report)
        write_json(self.folder / REPORT_FILE, report)
        return report

    @property
    def _attention(self) -> Path:
        """Where the leaderboard's attention goes."""
        return self.final.attn_out or self.folder / ATTENTION

    @property
    def _members(self) -> list[str]:
        """The members' files, as model.json names them."""
        return [str(path.relative_to(self.folder)) for path in self.checkpoints]

    def _trained(self) -> list[bool]:
        """Of each member whether it is there already, with the same inputs."""
        if self._kept:
            pairs = zip(self.checkpoints, self._kept, strict=True)
            return [path.is_file() and file_hash(path) == file_hash(kept) for path, kept in pairs]
        return [_is_trained(path, self._mark(member)) for member, path in enumerate(self.checkpoints)]

    def _clear(self, same: bool) -> None:
        """Without model.json the folder is no finished model; what another one left is removed, not shown as this one's.

        `same`: whether all members are there already. If they were the finished model, what it says of all molecules stays.
        """
        model = self.folder / MODEL
        if not (same and model.is_file() and read_json(model)["members"] == self._members):
            for path in of_all_molecules(self.study_dir):
                remove(path)
        for name in (MODEL, REPORT_FILE, CARD, ATTENTION, PREDICTIONS_FILE, SCORES):
            remove(self.folder / name)
        if self._single:
            shutil.rmtree(self.folder / MEMBERS, ignore_errors=True)
        else:
            for path in (self.folder / CHECKPOINT, self._training(self.folder / CHECKPOINT)):
                remove(path)

    def _take_kept(self) -> None:
        """The folds' models as members; nothing is trained."""
        for source, path in zip(self._kept, self.checkpoints, strict=True):
            make_folder(path.parent)
            with atomic_path(path) as partial:
                shutil.copyfile(source, partial)
        log.info("final model: the %d models of the best trial's folds, nothing is trained", len(self._kept))

    def _mark(self, member: int) -> str:
        """What a member was trained with, in one hash."""
        return self._hash(self.final.max_epochs, self.final.patience, self.final.monitor, self.final.runtime, member)

    def _member(self, member: int, hook: MemberHook | None) -> None:
        """Train a member."""
        path = self.checkpoints[member]
        seed = self.config.runtime.seed
        own = seed if member == 0 else stream_seed(seed, "member", member)
        config = dataclasses.replace(self.config, runtime=dataclasses.replace(self.config.runtime, seed=own))
        fold = self.data.fold(self.final.monitor, member)
        watch = None if hook is None else lambda epoch: hook(member, epoch)
        training = self._training(path)
        result = self._train(fold, config, watch, training)
        info = {
            "params": self.config.to_params(self.data.tasks),
            "seed": own,
            "monitor": self.final.monitor,
            "fold": self.data.inner(member) if self.final.monitor == "inner" else None,
            "best_epoch": result.best_epoch,
            "epochs": result.epochs,
            "monitored": result.metrics.to_dict(),
            **model_origin(self.data.bags),
            "mark": self._mark(member),
        }
        save_checkpoint(path, result.model, fold, self.data.tasks, info)
        remove(training)

    @staticmethod
    def _training(path: Path) -> Path:
        """Where a member that is being trained is kept."""
        return path.with_suffix(".training")

    def _train(self, fold: FoldData, config: HPOConfig, watch: EpochHook | None, training: Path) -> FoldResult:
        """Train, going on with what an interrupted run left in the file `training`; that of other inputs is forgotten."""
        trainer = MILFoldTrainer(self.data.tasks, self.final.max_epochs, self.final.patience)
        difference = difference_to(training, trainer.identity(fold, config))
        if difference:
            log.warning("final model: trained anew, the interrupted training was another (%s)", difference)
            remove(training)
        return trainer.train(fold, config, watch, training)

    def _report(self, ensemble: Ensemble) -> dict[str, Any]:
        infos = [member.info for member in ensemble.members]
        single = len(infos) == 1
        report: dict[str, Any] = {
            "fingerprint": self.fingerprint,
            "monitor": self.final.monitor,
            "note": SEED_MONITOR_NOTE if self.final.monitor == "leaderboard" else "",
            "best_epoch": infos[0]["best_epoch"] if single else None,
            "epochs": infos[0]["epochs"] if single else None,
            "members": [{name: info[name] for name in ("fold", "seed", "best_epoch", "epochs", "monitored")} for info in infos],
            "monitored": infos[0]["monitored"] if single else self._held_out(ensemble).to_dict(),
            "leaderboard": None,
            "attention": None,
        }
        rows = self.data.leaderboard
        if not len(rows):
            log.warning("no molecule of split %r: the final model is saved, nothing is reported", self.final.leaderboard_split)
            return report
        predictions = ensemble.predict(self.data.bags, rows)
        report["opened"] = opened(self.study_dir, ensemble.weights)
        metrics = self._scores(rows, predictions.probability)
        warn_undefined(metrics, self.final.leaderboard_split)
        tables = (self.data.bags, rows, predictions.probability)
        write_table(self._attention, attention_table(*tables, predictions.attention, self.data.tasks))
        write_table(self.folder / PREDICTIONS_FILE, prediction_table(*tables, self.data.tasks))
        write_table(self.folder / SCORES, metrics_table(metrics))
        return {**report, "leaderboard": metrics.to_dict(), "attention": str(self._attention)}

    def _scores(self, rows: np.ndarray, probability: np.ndarray) -> Metrics:
        raw = self.data.bags.raw
        return evaluate(raw.y[rows], probability, raw.w[rows], self.data.tasks)

    def _held_out(self, ensemble: Ensemble) -> Metrics:
        """Scores of what monitored the members, each molecule predicted by those that it monitored."""
        total, count = np.zeros((len(self.data.bags), len(self.data.tasks))), np.zeros(len(self.data.bags))
        for i, member in enumerate(ensemble.members):
            rows = self.data.fold(self.final.monitor, i).val
            total[rows] += member.evaluator(self.data.bags).predict(rows).probability
            count[rows] += 1
        rows = np.flatnonzero(count)
        return self._scores(rows, total[rows] / count[rows, None])

    def _describe(self, ensemble: Ensemble, report: dict[str, Any]) -> None:
        """Write where the model applies, its card, and model.json, which makes it a finished model."""
        domain = domain_of(self.data.bags, self.data.train, self.config.runtime.seed)
        applies = None if domain is None else domain.save(self.folder)
        about = about_model(ensemble, self._members, self.data.bags, self.data.train, applies)
        write_text(self.folder / CARD, model_card(about, report))
        write_json(self.folder / MODEL, about)


def _is_trained(path: Path, mark: str) -> bool:
    if not path.is_file():
        return False
    try:
        return load_checkpoint(path).info.get("mark") == mark
    except DataError as error:
        log.warning("%s; it is trained again", error)
        return False


def metrics_table(metrics: Metrics) -> pd.DataFrame:
    """One row a task: prevalence, AP, ROC-AUC, labels known."""
    return pd.DataFrame(
        {
            "task": metrics.names,
            "prevalence": metrics.prevalence,
            "ap": metrics.ap,
            "roc_auc": metrics.auc,
            "n": metrics.n_known,
        }
    )
