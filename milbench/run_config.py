"""What a run is asked to do: the settings of a study, of the final training, and of the whole pipeline. Loads no torch."""

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from milbench.cluster import ClusterFlags, Flags
from milbench.columns import Columns
from milbench.configs import RuntimeConfig
from milbench.errors import ConfigError
from milbench.features import FeatureChoice, Kind, Scaling
from milbench.flags import OptionalCount, OptionalPath, OptionalText
from milbench.params import Param

ARTIFACT_PREFIX = "multimodal_mil_aux_gpu"
OOF_FILE, METRICS_FILE = "oof.parquet", "metrics.jsonl"
"""Of a run: the predictions out of fold, and what every epoch gave."""
FINAL_FOLDER = "final_best_train_vs_leaderboard"
REPORT_FILE, PREDICTIONS_FILE = "leaderboard_eval.json", "leaderboard_predictions.parquet"
"""Of a final model: its scores, and its predictions of the leaderboard."""
RUN_FOLDER_VARIABLE = "MILBENCH_RUN_FOLDER"
"""Set for a job: where it leaves its log and status."""
JOB_VARIABLE = "MILBENCH_JOB"
"""Set for a job: which submission of its folder it is."""
WORKER_VARIABLE = "MILBENCH_WORKER"
"""Set for one of several processes on a study: which it is."""


@dataclass(frozen=True)
class PrunerConfig:
    """When a trial is stopped (seed 4.6). `percentile`: the worst this many % may be pruned; `warmup_steps` epochs of every
    fold and the first `startup_trials` trials are safe.
    """

    kind: Literal["percentile", "median", "none"] = "percentile"
    percentile: float = 25.0
    startup_trials: int = 10
    warmup_steps: int = 8

    def __post_init__(self) -> None:
        if not 0 < self.percentile < 100:
            raise ConfigError("--pruner_percentile", got=self.percentile, want="more than 0 and less than 100")
        at_least("--pruner_startup_trials", self.startup_trials, 0)
        at_least("--pruner_warmup_steps", self.warmup_steps, 0)


@dataclass(frozen=True)
class CVRunConfig:
    """A cross-validated study: epochs and patience of each fold, budget, objective, pins, changed search ranges, pruning, and
    whether the folds of a trial are trained together.
    """

    max_epochs: int = 150
    patience: int = 20
    trials: int = 50
    min_w: float = 0.3
    search_min_w: bool = False
    pins: dict[str, Any] = field(default_factory=dict)
    ranges: dict[str, Param] = field(default_factory=dict)
    pruner: PrunerConfig = field(default_factory=PrunerConfig)
    runtime: RuntimeConfig = field(default_factory=RuntimeConfig)
    parallel_folds: Literal["auto", "on", "off"] = "auto"
    keep_models: bool = False

    def __post_init__(self) -> None:
        if self.parallel_folds == "on" and self.runtime.precision.startswith("16"):
            do = "use bf16-mixed or 32-true, or --parallel_folds off"
            raise ConfigError("--parallel_folds", "cannot be on with 16-bit floats", got=self.runtime.precision, do=do)
        for flag, value in (("--max_epochs", self.max_epochs), ("--patience", self.patience), ("--trials", self.trials)):
            at_least(flag, value, 1)
        if not 0.1 <= self.min_w <= 0.6:
            raise ConfigError("--min_w", got=self.min_w, want="0.1 to 0.6")


@dataclass(frozen=True)
class FinalTrainConfig:
    """The final training: what is monitored, which split is reported once, where attention goes, how many models together."""

    max_epochs: int = 150
    patience: int = 20
    monitor: Literal["inner", "leaderboard"] = "inner"
    leaderboard_split: str = "leaderboard"
    attn_out: Path | None = None
    runtime: RuntimeConfig = field(default_factory=RuntimeConfig)
    ensemble: int = 1
    fold_models: bool = False

    def __post_init__(self) -> None:
        if self.fold_models and (self.ensemble > 1 or self.monitor != "inner"):
            do = "leave out --ensemble and --monitor"
            raise ConfigError("--fold_models", "the folds' models are trained already, each stopped by its fold", do=do)
        at_least("--max_epochs", self.max_epochs, 1)
        at_least("--ensemble", self.ensemble, 1)
        at_least("--patience", self.patience, 1)
        if self.attn_out is not None and self.attn_out.suffix not in {".parquet", ".csv"}:
            raise ConfigError("--attn_out", got=self.attn_out.suffix, want=".parquet or .csv")


@dataclass(frozen=True)
class PipelineConfig:
    """Train, tune and export on your own tables."""

    study_dir: Path
    """Folder of the study and everything it writes; run the same command again to go on where it stopped."""
    labels: OptionalPath = None
    """Labels table (.parquet or .csv): ID, labels, and where you have them SMILES, weights, auxiliaries, split, fold."""
    feat2d_scaled: OptionalPath = None
    """2D table: ID and numeric columns, one row a molecule. Scaled or not: it is standardised inside each fold."""
    feat3d_scaled: OptionalPath = None
    """Conformer table: ID, conf_id and numeric columns, one row a conformer."""
    feat3d_qm_scaled: OptionalPath = None
    """Optional second conformer table, joined on ID and conf_id; rows whose status is not ok are dropped."""
    store: OptionalPath = None
    """A prepared bag store, instead of tables."""
    tasks: str = "euos25"
    """What is predicted: euos25, or a .toml or .json file that declares endpoints."""
    id_col: str = "ID"
    """Name of the ID column."""
    conf_col: str = "conf_id"
    """Name of the conformer column."""
    split_col: str = "split"
    """Name of the split column; if not given, and there is none: everything is `train`."""
    fold_col: str = "cv_fold"
    """Name of the fold column; empty, or not given and none there: folds are made, balanced over label patterns. A store has
    its own folds."""
    fold_table: OptionalPath = None
    """Table with the ID and fold columns, as `milbench folds` writes it, instead of the folds of the labels table or store."""
    use_splits: tuple[str, ...] = ("train",)
    """Splits that are trained on and cross-validated."""
    folds: int = 5
    """Number of folds to make when there is no fold column."""
    labels_missing: Literal["mask", "negative"] = "mask"
    """A missing label is left out (mask), or counted as negative."""
    impute: Literal["none", "median"] = "none"
    """NaN or inf features are an error (none), or become the training fold's median."""
    prescaled: bool = False
    """Skip the standardisation inside the fold."""
    keep_empty_bags: bool = False
    """Keep molecules without conformers; they are predicted from 2D alone."""
    features2d: tuple[str, ...] = ()
    """2D columns to train on, by set name (rdkit217, morgan, …) or glob ('morgan*'); default: all."""
    features3d: tuple[str, ...] = ()
    """Conformer columns to train on, by set name (whim, huckel, …) or glob; default: all."""
    conformers: OptionalCount = None
    """Use the first so many conformers of each molecule; 0: 2D alone; default: all."""
    scaling: Kind = "standard"
    """How features are scaled in the fold: standard, or first with short tails: signed_log, quantile."""
    clip: float = 0.0
    """Limit scaled features to so many standard deviations (0: no limit)."""
    run_hpo: bool = False
    """Search hyperparameters; otherwise they are read from --best_params_json."""
    trials: int = 50
    """Trials of the study in all, pruned ones included, however many workers and restarts."""
    workers: int = 1
    """Processes that search together, each with a GPU of its own and its share of the cores."""
    enqueue: OptionalPath = None
    """Parameters to run first: a JSON object as in best_params.json, or a list; what is left out is searched."""
    max_epochs: int = 150
    """Most epochs of a training."""
    patience: int = 20
    """Epochs without a better val_macro_ap before a training stops."""
    min_w: float = 0.3
    """Weight of the worst task's AP in a trial's score, 0.1 to 0.6; a setting of the study."""
    search_min_w: bool = False
    """Search min_w too, as the seed does (it then drifts to its lower end)."""
    fix: tuple[str, ...] = ()
    """Pin hyperparameters: NAME=VALUE, one or more, as often as you like (see `milbench params`)."""
    range: tuple[str, ...] = ()
    """Search hyperparameters over another range: NAME=LOW:HIGH or NAME=a,b,…, one or more, as often as you like."""
    pruner_kind: Literal["percentile", "median", "none"] = "percentile"
    """Which trials are stopped early."""
    pruner_percentile: float = 25.0
    """The worst this many percent of trials may be pruned."""
    pruner_startup_trials: int = 10
    """Trials that run before any is pruned."""
    pruner_warmup_steps: int = 8
    """Epochs of every fold in which no trial is pruned."""
    parallel_folds: Literal["auto", "on", "off"] = "auto"
    """Train the folds of a trial together, in one step each time; pruning then goes by their mean, epoch by epoch. auto: on a
    GPU. A setting of the study: who joins it with auto does as it does."""
    storage: OptionalText = None
    """Where the study lives, if not in study.db in its folder: sqlite:///PATH, journal:PATH, postgresql://USER@HOST/NAME (its
    password in PGPASSWORD, MILBENCH_STORAGE_PASSWORD or ~/.pgpass), or grpc://HOST:PORT (`milbench proxy`)."""
    best_params_json: OptionalPath = None
    """Parameters of the final model; default: the best ones of the study folder. Not read with --run_hpo."""
    leaderboard_split: str = "leaderboard"
    """Split that the final model is scored on, once."""
    monitor: Literal["inner", "leaderboard"] = "inner"
    """What stops the final training: an inner fold of the training split, or (the seed's way, marked so) the leaderboard."""
    ensemble: int = 1
    """Final models that predict together (their mean): each has a seed of its own and is stopped by an inner fold of its own,
    one fold after the other."""
    fold_models: bool = False
    """Keep the models of the best trial's folds; they, together, are then the final model, and none is trained for it."""
    attn_out: OptionalPath = None
    """Where the leaderboard's attention goes (.parquet or .csv); default: in the final model's folder."""
    seed: int = 0
    """Seed of everything random."""
    nn_accelerator: str = "auto"
    """auto, cpu or gpu."""
    nn_devices: int = 1
    """Devices of the final training; a trial always uses one."""
    precision: str = "32-true"
    """32-true, bf16-mixed or 16-mixed."""
    num_workers: int = 0
    """Processes that make batches; 0 is the fastest unless features are larger than memory."""
    pin_memory: bool = False
    """Page-locked batches, for a GPU."""
    slurm: Flags = field(default_factory=ClusterFlags)

    @property
    def columns(self) -> Columns:
        """The column names."""
        return Columns(self.id_col, self.conf_col, self.split_col, self.fold_col)

    @property
    def choice(self) -> FeatureChoice:
        """The features and conformers to train on."""
        return FeatureChoice(self.features2d, self.features3d, self.conformers)

    @property
    def feature_scaling(self) -> Scaling:
        """How features are scaled."""
        return Scaling(self.scaling, self.clip)

    @property
    def runtime(self) -> RuntimeConfig:
        """Where and how it runs."""
        return RuntimeConfig(self.nn_accelerator, self.nn_devices, self.precision, self.num_workers, self.pin_memory, self.seed)

    @property
    def pruner(self) -> PrunerConfig:
        """When a trial is stopped."""
        return PrunerConfig(self.pruner_kind, self.pruner_percentile, self.pruner_startup_trials, self.pruner_warmup_steps)

    def cv_run(self, pins: dict[str, Any], ranges: dict[str, Param] | None = None) -> CVRunConfig:
        """The study's settings with these pinned parameters and changed search ranges; a trial uses one device."""
        return CVRunConfig(
            max_epochs=self.max_epochs,
            patience=self.patience,
            trials=self.trials,
            min_w=self.min_w,
            search_min_w=self.search_min_w,
            pins=pins,
            ranges=ranges or {},
            pruner=self.pruner,
            runtime=dataclasses.replace(self.runtime, devices=1),
            parallel_folds=self.parallel_folds,
            keep_models=self.fold_models,
        )

    @property
    def final(self) -> FinalTrainConfig:
        """The final training's settings."""
        how = (self.max_epochs, self.patience, self.monitor, self.leaderboard_split, self.attn_out, self.runtime)
        return FinalTrainConfig(*how, self.ensemble, self.fold_models)

    @property
    def params_path(self) -> Path:
        """Where the final model's parameters are read from: the study's best ones, or without --run_hpo --best_params_json."""
        best = self.study_dir / f"{ARTIFACT_PREFIX}_best_params.json"
        return best if self.run_hpo or self.best_params_json is None else self.best_params_json


@dataclass(frozen=True)
class HpoConfig(PipelineConfig):
    """Search hyperparameters on your own tables, and no more: `milbench run` without --run_hpo trains the final model."""

    run_hpo: Annotated[bool, tyro.conf.Suppress] = True
    best_params_json: Annotated[Path | None, tyro.conf.Suppress] = None
    monitor: Annotated[Literal["inner", "leaderboard"], tyro.conf.Suppress] = "inner"
    attn_out: Annotated[Path | None, tyro.conf.Suppress] = None
    ensemble: Annotated[int, tyro.conf.Suppress] = 1
    nn_devices: Annotated[int, tyro.conf.Suppress] = 1

    @classmethod
    def worker(cls, config: PipelineConfig) -> "HpoConfig":
        """What one of several workers of this search is told: it runs trials, here and alone."""
        others = {"run_hpo", "best_params_json", "monitor", "attn_out", "ensemble", "nn_devices", "workers", "enqueue", "slurm"}
        return cls(**{name: value for name, value in vars(config).items() if name not in others})


@dataclass(frozen=True)
class CostConfig(HpoConfig):
    """How long a search would take, and how much memory: an epoch is timed, nothing is kept. Takes the flags of `hpo`."""

    study_dir: Path = Path("runs")
    """Not looked at."""
    json: OptionalPath = None
    """Write what was timed here too."""


def at_least(flag: str, value: int, least: int) -> None:
    """A ConfigError that names the flag when `value` is less than `least`."""
    if value < least:
        raise ConfigError(flag, got=value, want=f"{least} or more")
