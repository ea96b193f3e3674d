"""Baselines fold by fold, each a run with out-of-fold predictions as a study has them; killed, they go on where they were."""

import dataclasses
import logging
import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from milbench.baselines.config import BaselineConfig, RunsConfig
from milbench.baselines.methods import AGGREGATORS, NETWORK, PLATE, Method
from milbench.baselines.networks import NetworkRun
from milbench.baselines.table_models import SETTINGS, TableModel, plate_rates, predict_fold
from milbench.configs import HPOConfig, checked_pins
from milbench.data.choice import choose
from milbench.data.cv import MILCVData
from milbench.data.groups import groups_of
from milbench.data.manifest import store_tasks
from milbench.data.results import OUT_OF_FOLD, Result, read_result
from milbench.errors import DataError
from milbench.export import scored_columns
from milbench.features import FeatureChoice
from milbench.files import content_hash, make_folder, read_json, remove, sweep_orphans, write_json, write_table
from milbench.flags import assigned
from milbench.pipeline import (
    HPODataBuilder,
    PipelineEnvironment,
    PreparedHPOData,
    check_inputs,
    check_machine,
    final_parameters,
)
from milbench.progress import progress
from milbench.rerun import alone, read_back, refuse_other
from milbench.run_config import OOF_FILE
from milbench.runlog import RunFolder

log = logging.getLogger(__name__)

ASKED, FOLDS, HELD_OUT = "baseline.json", "folds", "held_out.parquet"
_KEYS = ("monitor", "impute", "seed", "precision", "max_epochs", "patience")


@dataclass(frozen=True)
class Run:
    """A finished baseline: its predictions, and the seconds that each fold took."""

    method: Method
    result: Result
    seconds: tuple[float, ...]


def run_methods(config: RunsConfig) -> list[Run]:
    """Run every method of `config` on every fold, what is finished already left as it is; gives them in order."""
    check_inputs(config.pipeline)
    check_machine(config.pipeline)
    make_folder(config.out)
    with alone(config.out, "baseline"), RunFolder(config.out).logging():
        RunFolder(config.out).status("running", "reading data")
        baselines = Baselines(config)
        total = len(config.chosen) * baselines.data.cv.n_folds
        with progress("baselines", total) as advance:
            runs = []
            for method in config.chosen:
                done = len(runs) * baselines.data.cv.n_folds
                runs.append(baselines.run(method, lambda k, words, done=done: advance(done + k, words)))
        return runs


@dataclass(frozen=True)
class Baselines:
    """The data of all methods, and where their runs lie."""

    config: RunsConfig

    @cached_property
    def data(self) -> PreparedHPOData:
        """Molecules, folds, tasks, as a study has them."""
        config = self.config.pipeline
        tasks = store_tasks(self.config.store)
        pins = checked_pins(assigned(config.fix, "--fix"), tasks)
        environment = PipelineEnvironment(config, RunFolder(config.study_dir), tasks, config.cv_run(pins))
        return HPODataBuilder(environment).build()

    @cached_property
    def parameters(self) -> HPOConfig:
        """The networks' hyperparameters."""
        config, tasks = self.config.pipeline, self.data.tasks
        pins = checked_pins(assigned(config.fix, "--fix"), tasks)
        if config.best_params_json is not None:
            return final_parameters(config, tasks, pins)
        return HPOConfig.from_params(pins, tasks, runtime=config.runtime, where="--fix")

    def run(self, method: Method, advance: Any) -> Run:
        """Every fold of a method, and its run's files; `advance` is told (folds done, words)."""
        folder = make_folder(self.config.out / method.folder)
        make_folder(folder / FOLDS)
        for place in (folder, folder / FOLDS):
            sweep_orphans(place)
        data = self._data(method)
        asked = read_back(self._asked(method, data))
        if (folder / ASKED).is_file():
            refuse_other(folder, read_json(folder / ASKED), asked)
        write_json(folder / ASKED, asked)
        for k in range(data.n_folds):
            advance(k, f"{method.title}, fold {k + 1}")
            if not self._fold_files(folder, k)[1].is_file():
                self._fold(method, data, k, folder)
        return self._finish(method, folder, data.n_folds)

    def _data(self, method: Method) -> MILCVData:
        """A method's own data: the same molecules and folds, with as many conformers as it is given."""
        data = self.data.cv
        if method.conformers is None:
            return data
        bags = choose(data.bags, FeatureChoice(conformers=method.conformers))
        return dataclasses.replace(data, bags=bags)

    def _asked(self, method: Method, data: MILCVData) -> dict[str, Any]:
        """What decides a run's numbers, plain JSON types."""
        asked: dict[str, Any] = {"method": method.name, "conformers": method.conformers, "data": data.bags.content}
        asked |= {"folds": content_hash(data.fold_of)[:16], "scaling": data.scaling.words}
        asked |= {name: getattr(self.config, name) for name in _KEYS}
        if method.kind == NETWORK:
            return {**asked, "parameters": self._network(method).to_params(data.tasks)}
        if method.kind == PLATE:
            return {**asked, "plates": content_hash(text="\n".join(self._plates))}
        weights = self.config.class_weights if isinstance(self.config, BaselineConfig) else "none"
        return {**asked, "settings": SETTINGS.get(method.name, {}), "class_weights": weights}

    def _network(self, method: Method) -> HPOConfig:
        config = self.parameters
        name = AGGREGATORS.get(method.name, config.backbone.aggregator_name)
        return dataclasses.replace(config, backbone=dataclasses.replace(config.backbone, aggregator_name=name))

    @staticmethod
    def _fold_files(folder: Path, k: int) -> tuple[Path, Path, Path]:
        """A fold's predictions; what is told of it, which makes it finished; a network's training."""
        return folder / FOLDS / f"{k}.parquet", folder / FOLDS / f"{k}.json", folder / FOLDS / f"{k}.training"

    def _fold(self, method: Method, data: MILCVData, k: int, folder: Path) -> None:
        table, about, training = self._fold_files(folder, k)
        started = time.perf_counter()
        rows, others = data.fold(k).val, self._held_out
        p, told = self._predicted(method, data, k, training)
        told = {"seconds": round(time.perf_counter() - started, 3), **told}  # a network tells its own, earlier parts included
        frame = pd.DataFrame({"ID": data.bags.ids[rows], "fold": k, "place": rows})
        write_table(table, frame.assign(**scored_columns(data.bags, rows, p[: len(rows)], data.tasks)))
        if len(others):
            columns = {f"pred_{name}": p[len(rows) :, t] for t, name in enumerate(data.tasks.names)}
            write_table(_held_out_of(table), pd.DataFrame({"ID": data.bags.ids[others], **columns}))
        write_json(about, told)
        remove(training)
        log.info("%s, fold %d: %.0f s", method.title, k + 1, told["seconds"])

    def _predicted(self, method: Method, data: MILCVData, k: int, training: Path) -> tuple[np.ndarray, dict[str, Any]]:
        """Probabilities of the fold's molecules, then of those of other splits; what is told of it."""
        config = self.config
        if method.kind == NETWORK:
            network = NetworkRun(data, self._network(method), config.max_epochs, config.patience, config.monitor)
            return network.predict(k, self._held_out, training)
        fold = data.fold(k)
        rows = np.concatenate([fold.val, self._held_out])
        if method.kind == PLATE:
            return plate_rates(self._plates, data.bags.raw.y, fold.train, rows), {}
        balanced = isinstance(config, BaselineConfig) and config.class_weights == "balanced"
        model = TableModel(method.name, bool(method.conformers), balanced, config.seed, config.threads)
        return predict_fold(model, fold, rows), {}

    @cached_property
    def _held_out(self) -> np.ndarray:
        """Places of the molecules of other splits (leaderboard, test), which every fold's model predicts and none has seen."""
        return np.flatnonzero(~np.isin(self.data.bags.split, self.config.use_splits))

    @cached_property
    def _plates(self) -> np.ndarray:
        """The plate of each molecule [M] as text."""
        config = self.config
        if not isinstance(config, BaselineConfig) or config.plates is None:
            raise DataError("--plates", "is missing", do="name a table with ID and plate")
        return groups_of(config.plates, config.plate_col, self.data.bags.ids)

    def _finish(self, method: Method, folder: Path, n_folds: int) -> Run:
        """The run's out-of-fold table of all its folds."""
        files = [self._fold_files(folder, k) for k in range(n_folds)]
        told = [read_json(about) for _, about, _ in files]
        if not (folder / OOF_FILE).is_file():
            whole = pd.concat([pd.read_parquet(table) for table, *_ in files])
            RunFolder(folder).describe(arguments={"store": self.config.store, "method": method.title}, folds=told)
            if len(self._held_out):
                write_table(folder / HELD_OUT, self._mean_held_out([table for table, *_ in files]))
            write_table(folder / OOF_FILE, whole.sort_values("place", ignore_index=True).drop(columns="place"))
        result = read_result(folder / OOF_FILE, method.folder, OUT_OF_FOLD)
        return Run(method, result, tuple(one["seconds"] for one in told))

    def _mean_held_out(self, tables: list[Path]) -> pd.DataFrame:
        """The folds' mean prediction of each molecule of another split: its ID, pred_<endpoint>, split."""
        parts = [pd.read_parquet(_held_out_of(table)).set_index("ID") for table in tables]
        mean = pd.DataFrame(np.mean(parts, axis=0), index=parts[0].index, columns=parts[0].columns).reset_index()
        return mean.assign(split=self.data.bags.split[self._held_out])


def _held_out_of(table: Path) -> Path:
    """Where a fold's predictions of other splits' molecules lie, beside those of its own."""
    return table.with_name(f"{table.stem}.{HELD_OUT}")
