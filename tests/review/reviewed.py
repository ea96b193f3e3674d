"""A small study, really trained, with complete and pruned trials."""

from pathlib import Path

from builders import store_from_tables
from milbench.pipeline import MILPipelineOrchestrator
from milbench.run_config import PipelineConfig
from milbench.testing import make_tables
from runs import FIX

TRIALS = 8


def make_study(root: Path) -> Path:
    """A store and a study of TRIALS trials below `root`, gives the study's folder; some of them pruned."""
    tables = make_tables(root / "tables", 90)
    store_from_tables(root / "store", tables.labels, tables.feat2d, [tables.feat3d, tables.feat3d_qm])
    config = PipelineConfig(
        study_dir=root / "study",
        store=root / "store",
        run_hpo=True,
        trials=TRIALS,
        folds=2,
        max_epochs=3,
        fix=FIX,
        range=("weight_decay=1e-5:1e-4",),
        pruner_startup_trials=3,
        pruner_warmup_steps=0,
        pruner_percentile=60,
        nn_accelerator="cpu",
    )
    MILPipelineOrchestrator(config).run()
    return config.study_dir
