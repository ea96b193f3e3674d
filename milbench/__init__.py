"""milbench: multi-task multiple-instance learning on molecules and their conformers. Names are loaded when first used."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from milbench.version import __version__

if TYPE_CHECKING:
    from milbench.configs import HPOConfig, MILModelConfig, search_space
    from milbench.data.assemble import load_tables
    from milbench.data.bags import BagBatch, BagData
    from milbench.data.cv import MILCVData
    from milbench.data.folds import stratified_folds
    from milbench.data.sampler import MultitaskBalancedBatchSampler
    from milbench.data.store import load_store, save_store
    from milbench.losses import MultiTaskFocal, reg_loss_weighted
    from milbench.metrics import Metrics, evaluate
    from milbench.models import MILModelBuilder, MILTaskAttnMixerWithAux, TaskAttentionPool
    from milbench.pipeline import (
        HPODataBuilder,
        MILPipelineOrchestrator,
        PipelineConfigFactory,
        PipelineEnvironmentFactory,
        PreparedHPOData,
    )
    from milbench.run_config import PipelineConfig
    from milbench.tasks import EUOS25, AuxTarget, Endpoint, TaskSet
    from milbench.training.checkpoint import load_checkpoint
    from milbench.training.ensemble import load_model
    from milbench.training.fold import MILFoldTrainer

_HOMES = {
    "HPOConfig": "configs",
    "MILModelConfig": "configs",
    "search_space": "configs",
    "load_tables": "data.assemble",
    "BagBatch": "data.bags",
    "BagData": "data.bags",
    "MILCVData": "data.cv",
    "stratified_folds": "data.folds",
    "MultitaskBalancedBatchSampler": "data.sampler",
    "load_store": "data.store",
    "save_store": "data.store",
    "MultiTaskFocal": "losses",
    "reg_loss_weighted": "losses",
    "Metrics": "metrics",
    "evaluate": "metrics",
    "MILModelBuilder": "models",
    "MILTaskAttnMixerWithAux": "models",
    "TaskAttentionPool": "models",
    "HPODataBuilder": "pipeline",
    "MILPipelineOrchestrator": "pipeline",
    "PipelineConfigFactory": "pipeline",
    "PipelineEnvironmentFactory": "pipeline",
    "PreparedHPOData": "pipeline",
    "PipelineConfig": "run_config",
    "AuxTarget": "tasks",
    "EUOS25": "tasks",
    "Endpoint": "tasks",
    "TaskSet": "tasks",
    "load_checkpoint": "training.checkpoint",
    "load_model": "training.ensemble",
    "MILFoldTrainer": "training.fold",
}

__all__ = [
    "EUOS25",
    "AuxTarget",
    "BagBatch",
    "BagData",
    "Endpoint",
    "HPOConfig",
    "HPODataBuilder",
    "MILCVData",
    "MILFoldTrainer",
    "MILModelBuilder",
    "MILModelConfig",
    "MILPipelineOrchestrator",
    "MILTaskAttnMixerWithAux",
    "Metrics",
    "MultiTaskFocal",
    "MultitaskBalancedBatchSampler",
    "PipelineConfig",
    "PipelineConfigFactory",
    "PipelineEnvironmentFactory",
    "PreparedHPOData",
    "TaskAttentionPool",
    "TaskSet",
    "__version__",
    "evaluate",
    "load_checkpoint",
    "load_model",
    "load_store",
    "load_tables",
    "reg_loss_weighted",
    "save_store",
    "search_space",
    "stratified_folds",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
