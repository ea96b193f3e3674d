"""The final model: best parameters, trained on the training split, the leaderboard reported once."""

import dataclasses
import logging
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from milbench.configs import HPOConfig
from milbench.data.bags import BagData
from milbench.data.cv import FoldData, MILCVData
from milbench.export import attention_table, prediction_table
from milbench.files import content_hash, make_folder, read_json, write_json, write_table
from milbench.metrics import Metrics, warn_undefined
from milbench.run_config import FINAL_FOLDER, FinalTrainConfig
from milbench.tasks import TaskSet
from milbench.training.checkpoint import save_checkpoint
from milbench.training.fold import EpochHook, FoldResult, MILFoldTrainer
from milbench.training.trainer import ModelEvaluator

log = logging.getLogger(__name__)

CHECKPOINT = "best_model.ckpt"
SEED_MONITOR_NOTE = "training was stopped by the leaderboard that it reports: this score is optimistic"


@dataclass(frozen=True, eq=False)
class MILFinalData:
    """What the final training sees: the training molecules with an inner fold that monitors it, and the leaderboard's places.

    `fold_of` [M]: folds of the training split, -1 elsewhere; `leaderboard` [L] places, possibly none.
    """

    bags: BagData
    tasks: TaskSet
    fold_of: np.ndarray
    leaderboard: np.ndarray
    prescaled: bool = False
    impute: str = "none"

    def fold(self, monitor: str) -> FoldData:
        """Monitored by the first fold of the training split ("inner"), or by the leaderboard (the seed's way)."""
        if monitor == "leaderboard":
            parts = np.where(self.fold_of >= 0, 1, -1)
            parts[self.leaderboard] = 0
        else:
            first = self.fold_of[self.fold_of >= 0].min()
            parts = np.where(self.fold_of < 0, -1, np.where(self.fold_of == first, 0, 1))
        return MILCVData(self.bags, parts, self.tasks, self.prescaled, self.impute).fold(0)


@dataclass(frozen=True, eq=False)
class MILFinalTrainer:
    """Trains the final model in `study_dir` and writes its artifacts; run again with the same inputs, it reads them back."""

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
        final = dataclasses.asdict(self.final)
        text = repr((self.data.bags.content, self.config.to_params(self.data.tasks), self.config.runtime, final))
        return content_hash(self.data.fold_of, self.data.leaderboard, text=text)

    def is_done(self) -> bool:
        """Whether the same final model is there already."""
        path, model = self.folder / "leaderboard_eval.json", self.folder / CHECKPOINT
        return path.is_file() and model.is_file() and read_json(path).get("fingerprint") == self.fingerprint

    def run(self, hook: EpochHook | None = None) -> dict[str, Any]:
        """Train, save, report the leaderboard once; gives the content of leaderboard_eval.json."""
        if self.is_done():
            log.info("final model: done already, in %s", self.folder)
            return read_json(self.folder / "leaderboard_eval.json")
        make_folder(self.folder)
        fold = self.data.fold(self.final.monitor)
        result = MILFoldTrainer(self.data.tasks, self.final.max_epochs, self.final.patience).train(fold, self.config, hook)
        params = self.config.to_params(self.data.tasks)
        info = {
            "params": params,
            "best_epoch": result.best_epoch,
            "data": self.data.bags.content,
            "monitor": self.final.monitor,
        }
        save_checkpoint(self.folder / CHECKPOINT, result.model, fold, self.data.tasks, info)
        report = self._report(fold, result)
        write_json(self.folder / "leaderboard_eval.json", report)
        return report

    def _report(self, fold: FoldData, result: FoldResult) -> dict[str, Any]:
        report: dict[str, Any] = {
            "fingerprint": self.fingerprint,
            "monitor": self.final.monitor,
            "note": SEED_MONITOR_NOTE if self.final.monitor == "leaderboard" else "",
            "best_epoch": result.best_epoch,
            "epochs": result.epochs,
            "monitored": result.metrics.to_dict(),
            "leaderboard": None,
            "attention": None,
        }
        rows = self.data.leaderboard
        if not len(rows):
            log.warning("no molecule of split %r: the final model is saved, nothing is reported", self.final.leaderboard_split)
            return report
        evaluator = ModelEvaluator(result.model, fold.scaled, self.data.tasks)
        predictions = evaluator.predict(rows)
        metrics = evaluator.evaluate(rows, predictions)
        warn_undefined(metrics, self.final.leaderboard_split)
        attention = self.final.attn_out or self.folder / "leaderboard_attn.parquet"
        tables = (self.data.bags, rows, predictions.probability)
        write_table(attention, attention_table(*tables, predictions.attention, self.data.tasks))
        write_table(self.folder / "leaderboard_predictions.parquet", prediction_table(*tables, self.data.tasks))
        write_table(self.folder / "leaderboard_per_task.csv", metrics_table(metrics))
        return {**report, "leaderboard": metrics.to_dict(), "attention": str(attention)}


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
