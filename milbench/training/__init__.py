"""Studies, folds and final models (seed section 1.2). Names are loaded when they are first used."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from milbench.configs import (
        BackboneConfig,
        HeadConfig,
        HPOConfig,
        LossWeightingConfig,
        ObjectiveConfig,
        OptimizationConfig,
        RuntimeConfig,
        SamplerConfig,
        search_space,
    )
    from milbench.data.cv import FoldData, MILCVData
    from milbench.data.sampler import MultitaskBalancedBatchSampler
    from milbench.run_config import CVRunConfig, FinalTrainConfig, PrunerConfig
    from milbench.training.cross_validation import MILCrossValidator
    from milbench.training.evaluator import ModelEvaluator
    from milbench.training.final import MILFinalData, MILFinalTrainer
    from milbench.training.fold import MILFoldTrainer
    from milbench.training.study import MILStudyRunner
    from milbench.training.trainer import LightningTrainerFactory

_HOMES = {
    "BackboneConfig": "milbench.configs",
    "CVRunConfig": "milbench.run_config",
    "FinalTrainConfig": "milbench.run_config",
    "FoldData": "milbench.data.cv",
    "HPOConfig": "milbench.configs",
    "HeadConfig": "milbench.configs",
    "LightningTrainerFactory": "milbench.training.trainer",
    "LossWeightingConfig": "milbench.configs",
    "MILCVData": "milbench.data.cv",
    "MILCrossValidator": "milbench.training.cross_validation",
    "MILFinalData": "milbench.training.final",
    "MILFinalTrainer": "milbench.training.final",
    "MILFoldTrainer": "milbench.training.fold",
    "MILStudyRunner": "milbench.training.study",
    "ModelEvaluator": "milbench.training.evaluator",
    "MultitaskBalancedBatchSampler": "milbench.data.sampler",
    "ObjectiveConfig": "milbench.configs",
    "OptimizationConfig": "milbench.configs",
    "PrunerConfig": "milbench.run_config",
    "RuntimeConfig": "milbench.configs",
    "SamplerConfig": "milbench.configs",
    "search_space": "milbench.configs",
}

__all__ = [
    "BackboneConfig",
    "CVRunConfig",
    "FinalTrainConfig",
    "FoldData",
    "HPOConfig",
    "HeadConfig",
    "LightningTrainerFactory",
    "LossWeightingConfig",
    "MILCVData",
    "MILCrossValidator",
    "MILFinalData",
    "MILFinalTrainer",
    "MILFoldTrainer",
    "MILStudyRunner",
    "ModelEvaluator",
    "MultitaskBalancedBatchSampler",
    "ObjectiveConfig",
    "OptimizationConfig",
    "PrunerConfig",
    "RuntimeConfig",
    "SamplerConfig",
    "search_space",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
