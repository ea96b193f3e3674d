"""From command-line settings to a finished run: data, study, final model (seed section 1.2)."""

import dataclasses
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import optuna

from milbench.configs import HPOConfig, check_search_space, checked_pins, checked_ranges
from milbench.data.assemble import TableOptions, load_tables
from milbench.data.bags import BagData
from milbench.data.choice import choose
from milbench.data.cv import MILCVData
from milbench.data.fold_table import with_folds
from milbench.data.folds import folds_brought, study_folds
from milbench.data.manifest import store_tasks
from milbench.data.store import feature_bytes, load_store
from milbench.errors import ConfigError, DataError
from milbench.features import STANDARD
from milbench.files import make_folder, read_json, sweep_orphans
from milbench.flags import assigned, gathered
from milbench.hpo import Search
from milbench.machine import memory_gb
from milbench.progress import counted, progress
from milbench.run_config import FINAL_FOLDER, CVRunConfig, PipelineConfig, at_least
from milbench.runlog import SEARCH, RunFolder
from milbench.storage_url import STUDY_FILE, shown
from milbench.tasks import TaskSet, load_tasks
from milbench.training.final import MEMBERS, MILFinalData, MILFinalTrainer
from milbench.training.fold import Epoch
from milbench.training.storage import open_storage

log = logging.getLogger(__name__)

OF_TABLES = ("feat3d_qm_scaled", "tasks", "id_col", "conf_col", "split_col", "labels_missing", "keep_empty_bags")
"""Settings that mean nothing to a store."""


class PipelineConfigFactory:
    """Parses command-line arguments into a PipelineConfig (seed 1.2); `milbench run` takes the same ones."""

    def parse(self, args: Sequence[str]) -> PipelineConfig:
        """Arguments as in `milbench run --help`; a wrong one ends the program with status 2."""
        import tyro

        return tyro.cli(PipelineConfig, args=gathered(args), prog="milbench run")


@dataclass(frozen=True)
class PipelineEnvironment:
    """Where a run writes, and what it was given, checked: tasks, and the study's settings with the pinned parameters."""

    config: PipelineConfig
    folder: RunFolder
    tasks: TaskSet
    run: CVRunConfig


@dataclass(frozen=True)
class PipelineEnvironmentFactory:
    """Checks a PipelineConfig against the machine before anything costs time."""

    config: PipelineConfig

    def checked(self) -> PipelineEnvironment:
        """Devices, tasks, pins and inputs checked; nothing is written."""
        config = self.config
        check_inputs(config)
        check_machine(config)
        _check_search(config)
        tasks = load_tasks(config.tasks) if config.store is None else store_tasks(config.store)
        pins = checked_pins(assigned(config.fix, "--fix"), tasks)
        ranges = checked_ranges(assigned(config.range, "--range"), tasks)
        if "min_w" in pins:
            raise ConfigError("--fix min_w", "is a setting of the study", do=f"use --min_w {pins['min_w']}")
        if "min_w" in ranges:
            raise ConfigError("--range min_w", "is a setting of the study", do="use --min_w or --search_min_w")
        if config.run_hpo:
            check_search_space(tasks, pins, ranges)
        elif not config.params_path.is_file():
            raise DataError(config.params_path, "no parameters to train with", do="add --run_hpo, or name a --best_params_json")
        else:
            final_parameters(config, tasks, pins)
        return PipelineEnvironment(config, RunFolder(config.study_dir), tasks, config.cv_run(pins, ranges))

    def create(self) -> PipelineEnvironment:
        """All that is checked; then the study folder is made and swept of what killed writers left."""
        environment, config, final = self.checked(), self.config, self.config.final
        make_folder(config.study_dir)
        if config.run_hpo and (config.storage or (config.study_dir / STUDY_FILE).is_file()):
            open_storage(config.study_dir, config.storage)
        if final.attn_out is not None:
            make_folder(final.attn_out.parent)
        final_folder = config.study_dir / FINAL_FOLDER
        for folder in (config.study_dir, final_folder, final_folder / MEMBERS):
            for orphan in sweep_orphans(folder):
                log.info("removed %s, left by an interrupted run", orphan)
        return environment


def final_parameters(config: PipelineConfig, tasks: TaskSet, pins: dict[str, Any]) -> HPOConfig:
    """The final model's hyperparameters: those of the file, changed by the pinned ones."""
    path = config.params_path
    params = read_json(path)
    if not isinstance(params, dict):
        raise DataError(path, "holds no parameters", got=type(params).__name__, want="a JSON object")
    return HPOConfig.from_params(params | pins, tasks, runtime=config.runtime, where=path)


def check_inputs(config: PipelineConfig) -> None:
    """A ConfigError unless the data are given in one way, and scaled in one."""
    if config.prescaled and config.feature_scaling != STANDARD:
        raise ConfigError("--prescaled", "was given together with --scaling or --clip", do="leave out one of the two")
    tables = {"--labels": config.labels, "--feat2d_scaled": config.feat2d_scaled, "--feat3d_scaled": config.feat3d_scaled}
    if config.store is not None:
        given = [flag for flag, path in tables.items() if path is not None]
        if given:
            raise ConfigError("--store", f"was given together with {given[0]}", do="give a store or tables, not both")
        of_tables = [name for name in OF_TABLES if getattr(config, name) != getattr(PipelineConfig, name)]
        if config.fold_table is not None and "id_col" in of_tables:  # it is of that table then
            of_tables.remove("id_col")
        if of_tables:
            do = "leave it out: it says how tables are read, and a store is read already"
            raise ConfigError("--store", f"was given together with --{of_tables[0]}", do=do)
        if config.fold_col != PipelineConfig.fold_col and config.fold_table is None:
            do = "name the table that has it: --fold_table"
            raise ConfigError("--fold_col", "a store has one fold column", got=config.fold_col, do=do)
        return
    missing = [flag for flag, path in tables.items() if path is None]
    if missing:
        raise ConfigError(missing[0], "is missing", do="name the labels, 2D and conformer tables, or a --store")
    at_least("--folds", config.folds, 2)


def _check_search(config: PipelineConfig) -> None:
    at_least("--workers", config.workers, 1)
    searching = {"--workers": config.workers > 1, "--enqueue": config.enqueue is not None}
    for flag in (flag for flag, given in searching.items() if given and not config.run_hpo):
        raise ConfigError(flag, "is of the search", do="add --run_hpo, or leave it out")


def check_machine(config: PipelineConfig) -> None:
    """A ConfigError unless this machine can do what is asked for."""
    import torch

    if config.nn_accelerator not in {"auto", "cpu", "gpu", "cuda", "mps"}:
        raise ConfigError("--nn_accelerator", got=config.nn_accelerator, want="auto, cpu or gpu")
    if config.nn_accelerator in {"gpu", "cuda"} and not torch.cuda.is_available():
        raise ConfigError("--nn_accelerator", "no CUDA device found", got=config.nn_accelerator, do="use auto or cpu")
    if config.precision not in {"32-true", "bf16-mixed", "16-mixed"}:
        raise ConfigError("--precision", got=config.precision, want="32-true, bf16-mixed or 16-mixed")
    if config.precision == "16-mixed" and (config.nn_accelerator == "cpu" or not torch.accelerator.is_available()):
        raise ConfigError("--precision", "needs a GPU", got=config.precision, do="use bf16-mixed or 32-true")
    at_least("--nn_devices", config.nn_devices, 1)
    at_least("--num_workers", config.num_workers, 0)


@dataclass(frozen=True, eq=False)
class PreparedHPOData:
    """The data of a run: molecules with bags, their tasks, folds [M] of the training splits (-1 elsewhere)."""

    bags: BagData
    tasks: TaskSet
    fold_of: np.ndarray
    config: PipelineConfig

    @cached_property
    def cv(self) -> MILCVData:
        """What a study trains on."""
        config = self.config
        return MILCVData(self.bags, self.fold_of, self.tasks, config.prescaled, config.impute, config.feature_scaling)

    @cached_property
    def final(self) -> MILFinalData:
        """What the final model trains on, molecules that have no fold included, and what it is scored on."""
        config = self.config
        no_fold = (self.fold_of < 0) & used_splits(self.bags, config)
        fold_of = np.where(no_fold, self.fold_of.max() + 1, self.fold_of)
        leaderboard = np.flatnonzero(self.bags.split == config.leaderboard_split)
        how = (config.prescaled, config.impute, config.feature_scaling)
        monitors = tuple(np.unique(self.fold_of[self.fold_of >= 0]).tolist())
        return MILFinalData(self.bags, self.tasks, fold_of, leaderboard, *how, monitors=monitors)


def used_splits(bags: BagData, config: PipelineConfig) -> np.ndarray:
    """Which molecules are in a split that is trained on, bool [M]."""
    return np.isin(bags.split.astype(str), config.use_splits)


def _stored(store: Path) -> BagData:
    """The molecules of a bag store; features that would take more than half of this machine's memory are left on disk."""
    size, (_, memory) = feature_bytes(store) / 2**30, memory_gb()
    if not 0 < memory < 2 * size:
        return load_store(store)[0]
    bags, _ = load_store(store, mmap=True)
    said = f"features stay on disk: {size:.1f} GiB, of {memory:.1f} GiB of memory"
    return dataclasses.replace(bags, notes=(*bags.notes, said))


@dataclass(frozen=True)
class HPODataBuilder:
    """Reads tables or a store and assigns folds."""

    environment: PipelineEnvironment

    def build(self, quiet: bool = False) -> PreparedHPOData:
        """The data of the run, every fold of a study checked; what was dropped or averaged is logged once, unless quiet."""
        config, tasks = self.environment.config, self.environment.tasks
        if config.store is not None:
            bags = _stored(config.store)
        else:
            bags = load_tables(config.labels, config.feat2d_scaled, self._instances(), tasks, self._options())  # type: ignore[arg-type]
        bags = choose(with_folds(bags, config.fold_table, config.columns), config.choice)
        data = PreparedHPOData(bags, tasks, self._folds(bags), config)
        if config.run_hpo:
            with counted("folds", data.cv.n_folds) as more:
                for k in range(data.cv.n_folds):
                    data.cv.fold(k)
                    more(1)
        if not quiet:
            self._log(data)
        return data

    def _log(self, data: PreparedHPOData) -> None:
        bags, config = data.bags, data.config
        for note in bags.notes:
            log.info("data: %s", note)
        log.info(
            "data: %d molecules, %d conformers, %d + %d features",
            len(bags),
            len(bags.conf_ids),
            len(bags.names2d),
            len(bags.names_inst),
        )
        brought = folds_brought(bags.fold, used_splits(bags, config))
        if not brought:
            log.info("data: %d folds made, balanced over label patterns (no fold column)", config.folds)
        elif config.folds not in {brought, PipelineConfig.folds}:
            log.warning("data: --folds %d is not used: the data bring their own %d folds", config.folds, brought)
        without = int(((data.fold_of < 0) & used_splits(bags, config)).sum())
        if without:
            log.info("data: %d molecules have no fold: not cross-validated, but trained on by the final model", without)

    def _instances(self) -> list[Path]:
        config = self.environment.config
        return [path for path in (config.feat3d_scaled, config.feat3d_qm_scaled) if path is not None]

    def _options(self) -> TableOptions:
        config = self.environment.config
        lenient = config.keep_empty_bags, config.impute == "median"
        return TableOptions(config.columns, config.labels_missing, *lenient, folds_elsewhere=config.fold_table is not None)

    def _folds(self, bags: BagData) -> np.ndarray:
        config = self.environment.config
        used = used_splits(bags, config)
        if not used.any():
            there = ", ".join(sorted(set(bags.split)))
            raise DataError("--use_splits", f"no molecule is in {', '.join(config.use_splits)}", do=f"the splits are {there}")
        if config.leaderboard_split in config.use_splits:
            raise ConfigError(
                "--leaderboard_split", f"{config.leaderboard_split!r} is trained on too", do="take it out of --use_splits"
            )
        return study_folds(bags.raw.y, bags.fold, used, config.folds, config.seed)


@dataclass(frozen=True)
class MILPipelineOrchestrator:
    """Runs the stages of a PipelineConfig: data, study (with run_hpo), final model."""

    config: PipelineConfig

    def run(self) -> dict[str, Any]:
        """Everything in order; gives the final report. Run again after an interruption, it goes on where it stopped."""
        environment = PipelineEnvironmentFactory(self.config).create()
        with environment.folder.logging():
            data = self._data(environment, final=True)
            if self.config.run_hpo:
                self._study(environment, data)
            return self._final(environment, data)

    def search(self) -> optuna.Study:
        """The study alone."""
        environment = PipelineEnvironmentFactory(self.config).create()
        with environment.folder.logging():
            return self._study(environment, self._data(environment))

    def work(self) -> None:
        """Be one of several workers of the study, whose master does all but run trials."""
        environment = PipelineEnvironmentFactory(self.config).create()
        data = HPODataBuilder(environment).build(quiet=True)
        Search(self.config, environment.run, environment.folder, data.cv).work()

    def _data(self, environment: PipelineEnvironment, final: bool = False) -> PreparedHPOData:
        """The data, those of the final model checked too where one is to be trained."""
        environment.folder.status("running", "reading data")
        data = HPODataBuilder(environment).build()
        if final:
            data.final.check(self.config.final)
        given = json.loads(json.dumps(dataclasses.asdict(self.config), default=str))
        given["storage"] = shown(self.config.storage or "")
        about: dict[str, Any] = {"seed": self.config.seed, "data": data.bags.content, "notes": list(data.bags.notes)}
        asked = {"arguments": given, "cwd": Path.cwd()}
        environment.folder.describe(**asked, **about, **({SEARCH: asked} if self.config.run_hpo else {}))
        return data

    def _study(self, environment: PipelineEnvironment, data: PreparedHPOData) -> optuna.Study:
        environment.folder.status("running", "study")
        return Search(self.config, environment.run, environment.folder, data.cv).run()

    def _final(self, environment: PipelineEnvironment, data: PreparedHPOData) -> dict[str, Any]:
        config = self.config
        environment.folder.status("running", "final model")
        hpo = final_parameters(config, data.tasks, environment.run.pins)
        with progress("final model", config.max_epochs * config.ensemble) as advance:

            def hook(member: int, epoch: Epoch) -> None:
                environment.folder.metric(trial="final", fold="final", member=member, **epoch.to_dict())
                advance(config.max_epochs * member + epoch.number + 1, f"val macro AP {epoch.metrics.macro_ap:.3f}")

            return MILFinalTrainer(data.final, hpo, config.final, config.study_dir).run(hook)
