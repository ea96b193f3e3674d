"""Cross-validation data: `MILCVData.fold(k)` is the only door through which anything is fitted."""

import dataclasses
import logging
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch

from milbench.configs import HPOConfig, LossWeightingConfig
from milbench.data.bags import BagBatch, BagData
from milbench.data.sampler import MultitaskBalancedBatchSampler
from milbench.data.statistics import (
    DeviceScaler,
    FoldStats,
    Scaler,
    count_clipped,
    fit_scaler,
    fit_target_scale,
    label_statistics,
)
from milbench.data.targets import Targets, as_targets, bitmasks
from milbench.data.weighting import PatternGroups, pattern_groups, pattern_weights
from milbench.errors import ConfigError, DataError
from milbench.features import STANDARD, Scaling
from milbench.tasks import EUOS25, TaskSet

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class ScaledBags:
    """Molecules with the scaling that a model was trained with (None: the features are used as they are)."""

    bags: BagData
    scale2d: Scaler | DeviceScaler | None
    scale_inst: Scaler | DeviceScaler | None

    def on(self, device: torch.device, bags: BagData | None = None) -> "ScaledBags":
        """The same on a device, where batches are then made; `bags`: the molecules, where they are there already."""
        scale2d, scale_inst = (None if scaler is None else scaler.on(device) for scaler in (self.scale2d, self.scale_inst))
        return ScaledBags(bags or self.bags.on(device), scale2d, scale_inst)

    def batch(
        self, index: torch.Tensor, targets: Targets | None = None, total: int | None = None, fill: bool = False
    ) -> BagBatch:
        """Standardised features (and targets, when given) of the molecules `index` [B]; `total` and `fill` as in `gather`."""
        batch = self.bags.gather(index, targets, total, fill)
        x2d = batch.x2d if self.scale2d is None else self.scale2d.apply(batch.x2d)
        xinst = batch.xinst if self.scale_inst is None else self.scale_inst.apply(batch.xinst)
        return dataclasses.replace(batch, x2d=x2d, xinst=xinst)


@dataclass(frozen=True, eq=False)
class FoldData:
    """One fold: training molecules `train` [n] and validation molecules `val` [m] (places in `bags`), and what was fitted on
    the former alone. `number` seeds its randomness.
    """

    number: int
    bags: BagData
    train: np.ndarray
    val: np.ndarray
    stats: FoldStats

    @property
    def label(self) -> str:
        """This fold for people, who count from 1."""
        return f"fold {self.number + 1}"

    @property
    def scaled(self) -> ScaledBags:
        """All molecules, standardised as this fold's model sees them."""
        return ScaledBags(self.bags, self.stats.scale2d, self.stats.scale_inst)

    def batch(self, index: torch.Tensor, targets: Targets | None = None) -> BagBatch:
        """Standardised features (and targets, when given) of the molecules `index` [B]."""
        return self.scaled.batch(index, targets)

    def groups(self, config: LossWeightingConfig) -> PatternGroups:
        """Classes of the label-pattern head."""
        return pattern_groups(self.stats, config)

    def targets(self, config: LossWeightingConfig) -> Targets:
        """Targets of every molecule of the data set as this fold trains on them.

        Training molecules alone carry the pattern-rarity multiplier; auxiliaries are standardised by the training statistics.
        """
        raw = self.bags.raw
        masks = bitmasks(raw.y)
        multiplier = np.ones(len(raw.y))
        multiplier[self.train] = pattern_weights(masks[self.train], self.stats, config)
        scale_abs, scale_fluo = self.stats.scale_abs, self.stats.scale_fluo
        return as_targets(
            raw,
            (raw.abs - scale_abs.mean) / scale_abs.scale,
            (raw.fluo - scale_fluo.mean) / scale_fluo.scale,
            raw.w * multiplier[:, None],
            self.groups(config).classes(masks),
        )

    def sampler(self, config: HPOConfig, share: tuple[int, int] = (0, 1)) -> MultitaskBalancedBatchSampler:
        """The batch sampler over the training molecules; `share` = (rank, world size)."""
        return MultitaskBalancedBatchSampler(
            self.bags.raw.y[self.train],
            config.sampler,
            config.optimization.batch_size,
            rows=self.train,
            seed=config.runtime.seed,
            fold=self.number,
            share=share,
        )


@dataclass(frozen=True, eq=False)
class MILCVData:
    """A data set and its folds. `fold_of` [M] int64: the fold in which each molecule validates, -1 for none (never used).

    `prescaled` skips standardisation; `impute="median"` replaces non-finite features by the training fold's median; `scaling`
    says what is done to heavy tails.
    """

    bags: BagData
    fold_of: np.ndarray
    tasks: TaskSet = EUOS25
    prescaled: bool = False
    impute: str = "none"
    scaling: Scaling = STANDARD
    _fitted: dict[int, FoldData] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        if self.impute not in {"none", "median"}:
            raise ConfigError("--impute", got=self.impute, want="none or median")
        if self.impute == "median" and self.prescaled:
            raise ConfigError("--impute", "needs the scaling in the fold", do="leave out --prescaled, or impute beforehand")
        if self.prescaled and self.scaling != STANDARD:
            raise ConfigError("--scaling, --clip", "need the scaling in the fold", do="leave out --prescaled")
        if len(self.fold_of) != len(self.bags):
            raise DataError("folds", got=len(self.fold_of), want=f"one for each of the {len(self.bags)} molecules")
        if self.n_folds < 2:
            raise DataError("folds", got=self.n_folds, want="two or more", do="check the fold column, or give --folds")

    @cached_property
    def fold_names(self) -> np.ndarray:
        """The distinct fold numbers, sorted."""
        return np.unique(self.fold_of[self.fold_of >= 0])

    @property
    def n_folds(self) -> int:
        """How many folds there are."""
        return len(self.fold_names)

    def fold(self, k: int) -> FoldData:
        """The k-th fold, fitted on its training molecules alone; the same object every time."""
        if k not in self._fitted:
            val = np.flatnonzero(self.fold_of == self.fold_names[k])
            train = np.flatnonzero((self.fold_of >= 0) & (self.fold_of != self.fold_names[k]))
            self._fitted[k] = FoldData(k, self.bags, train, val, self._fit(train, k))
            self._say_what_is_missing(self._fitted[k])
        return self._fitted[k]

    def _fit(self, train: np.ndarray, k: int) -> FoldStats:
        bags, how = self.bags, {"impute": self.impute == "median", "scaling": self.scaling}
        rows = bags.rows(torch.from_numpy(train))[0].numpy()
        scale2d = None if self.prescaled else fit_scaler(bags.x2d, train, **how)
        scale_inst = None if self.prescaled else fit_scaler(bags.xinst, rows, **how)
        for scaler, names in ((scale2d, bags.names2d), (scale_inst, bags.names_inst)):
            if scaler is None:
                continue
            wrong = np.flatnonzero(~(np.isfinite(scaler.mean) & np.isfinite(scaler.scale)))
            if wrong.size:
                do = "mend the feature, or impute with the training fold's median"
                raise DataError(f"fold {k + 1}", "NaN or inf among the training molecules", column=names[wrong[0]], do=do)
        if scale2d is not None and scale_inst is not None and self.scaling.clip:
            self._say_what_is_clipped(k, count_clipped(scale2d, bags.x2d, train), count_clipped(scale_inst, bags.xinst, rows))
        return FoldStats(
            scale2d=scale2d,
            scale_inst=scale_inst,
            scale_abs=fit_target_scale(bags.raw.abs[train]),
            scale_fluo=fit_target_scale(bags.raw.fluo[train]),
            **label_statistics(bags.raw.y[train]),
        )

    def _say_what_is_clipped(self, k: int, in_2d: tuple[int, int], in_inst: tuple[int, int]) -> None:
        said = (
            "fold %d: %d 2D values (%d columns) and %d conformer values (%d columns) of training molecules are clipped at %g sd"
        )
        log.info(said, k + 1, *in_2d, *in_inst, self.scaling.clip)

    def _say_what_is_missing(self, fold: FoldData) -> None:
        """No positive at all is an error; a task without positives in training or validation is named once."""
        for part, rows in (("training", fold.train), ("validation", fold.val)):
            positives = (self.bags.raw.y[rows] == 1).sum(axis=0)
            if not positives.any():
                raise DataError(
                    fold.label,
                    f"no positive of any endpoint among its {len(rows)} {part} molecules",
                    do="make other folds",
                )
            for name, count in zip(self.tasks.names, positives, strict=True):
                if not count:
                    log.warning("%s: %s has no positive among the %s molecules", fold.label, name, part)
