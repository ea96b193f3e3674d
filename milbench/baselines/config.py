"""What `milbench baseline` and `milbench conformers` are asked to do. Loads no torch."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from milbench.baselines.methods import AGGREGATORS, Method
from milbench.errors import ConfigError
from milbench.features import Kind
from milbench.flags import OptionalCount, OptionalPath
from milbench.run_config import PipelineConfig, at_least

_SHARED = (
    *("store", "fold_table", "fold_col", "folds", "use_splits", "features2d", "features3d", "scaling", "clip", "impute"),
    *("best_params_json", "fix", "max_epochs", "patience", "seed", "nn_accelerator", "precision"),
)
"""Settings that mean here what they mean for a study."""


@dataclass(frozen=True)
class RunsConfig(ABC):
    """What both are asked for: data and folds as of a study, and the networks' budget."""

    store: Annotated[Path, tyro.conf.Positional]
    """Bag store."""
    out: Path
    """Folder to write: one run a method, with its out-of-fold predictions (oof.parquet) and, where the store has molecules of
    other splits, what the folds' models give them on average (held_out.parquet). Run again, it goes on where it stopped."""
    fold_table: OptionalPath = None
    """Table with the ID and fold columns, instead of the store's own folds."""
    fold_col: str = "cv_fold"
    """Name of the fold column of that table."""
    folds: int = 5
    """Number of folds to make where there are none."""
    use_splits: tuple[str, ...] = ("train",)
    """Splits that are cross-validated."""
    features2d: tuple[str, ...] = ()
    """2D columns, by set name (rdkit217, morgan, …) or glob ('morgan*'); default: all."""
    features3d: tuple[str, ...] = ()
    """Conformer columns, by set name (whim, huckel, …) or glob; default: all."""
    scaling: Kind = "standard"
    """How features are scaled in the fold: standard, or first with short tails: signed_log, quantile."""
    clip: float = 0.0
    """Limit scaled features to so many standard deviations (0: no limit)."""
    impute: Literal["none", "median"] = "none"
    """NaN or inf features are an error (none), or become the training fold's median."""
    best_params_json: OptionalPath = None
    """Hyperparameters of the networks; default: the defaults of `milbench params`."""
    fix: tuple[str, ...] = ()
    """Change hyperparameters of the networks: NAME=VALUE, one or more."""
    max_epochs: int = 150
    """Most epochs of a network's training."""
    patience: int = 20
    """Epochs without a better val_macro_ap before it stops."""
    monitor: Literal["fold", "inner"] = "fold"
    """What chooses a network's epoch: the fold that is scored, as in a study (slightly optimistic), or a tenth of the training
    molecules that are set apart for it."""
    seed: int = 0
    """Seed of everything random."""
    nn_accelerator: str = "auto"
    """auto, cpu or gpu."""
    precision: str = "32-true"
    """32-true, bf16-mixed or 16-mixed."""
    threads: OptionalCount = None
    """Threads of the table models; default: one a core."""

    @property
    @abstractmethod
    def chosen(self) -> tuple[Method, ...]:
        """The methods to run, in order."""

    @property
    def pipeline(self) -> PipelineConfig:
        """The same data as a study reads them."""
        given: dict[str, Any] = {name: getattr(self, name) for name in _SHARED}
        return PipelineConfig(study_dir=self.out, **given)


@dataclass(frozen=True)
class BaselineConfig(RunsConfig):
    """What simpler models give on the same molecules and folds as a study, in its format, so that all can be compared."""

    methods: tuple[str, ...] = ("lightgbm", "shallow", "forest", "logistic", "mlp2d", "mean", "max", "gated", "attention")
    """lightgbm, shallow (LightGBM with small trees, for rare endpoints), forest, logistic (2D features; lightgbm:3: the mean
    of three conformers' features too), mlp2d (the network without conformers), mean, max, gated, attention (network with this
    pooling; attention:1: one conformer), plate (a warning: what knowing the plate alone gives)."""
    class_weights: Literal["none", "balanced"] = "none"
    """Of the table models: molecules count alike, or positives as much as negatives."""
    plates: OptionalPath = None
    """Table with ID and plate; needed for the method plate."""
    plate_col: str = "plate"
    """Name of its plate column."""

    def __post_init__(self) -> None:
        if "plate" in self.methods and self.plates is None:
            raise ConfigError("--methods plate", "needs to know the plates", do="name a table with ID and plate: --plates")
        if len(set(self.methods)) < len(self.methods) or not self.methods:
            raise ConfigError("--methods", got=" ".join(self.methods) or "none", want="one or more, each once")

    @property
    def chosen(self) -> tuple[Method, ...]:
        """The methods."""
        return tuple(map(Method.of, self.methods))


@dataclass(frozen=True)
class ConformersConfig(RunsConfig):
    """Do conformers help? The same network with none, one and several, pooled in every way, compared on the same molecules."""

    conformers: int = 3
    """Conformers of each molecule, where several are used."""
    poolings: tuple[str, ...] = ("mean", "max", "attention")
    """Ways to pool several: mean, max, gated, attention."""

    def __post_init__(self) -> None:
        at_least("--conformers", self.conformers, 2)
        for name in self.poolings:
            if name not in AGGREGATORS:
                raise ConfigError("--poolings", got=name, want=", ".join(AGGREGATORS))

    @property
    def chosen(self) -> tuple[Method, ...]:
        """2D alone first, then one conformer, then several by pooling."""
        return (Method.of("mlp2d"), Method.of("attention:1"), *(Method(name, self.conformers) for name in self.poolings))
