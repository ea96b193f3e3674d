"""Every figure, one function each: the same in apps, notebooks, reports and optuna-dashboard. Tables in, Plotly out."""

from milbench.figures.attention import (
    attention_beside,
    attention_map,
    clicked,
    deletion_curves,
    entropy_against_prediction,
    entropy_distribution,
    hit_rate_bars,
)
from milbench.figures.curves import calibration_curves, pr_curves, roc_curves, score_distribution, threshold_curves
from milbench.figures.data import bag_sizes, label_patterns, label_shares
from milbench.figures.epochs import compared_curves, trial_curves
from milbench.figures.molecule import conformers_3d
from milbench.figures.parameters import batches, composition, importance_bars, slices
from milbench.figures.scores import differences, score_intervals
from milbench.figures.study import study_aps
from milbench.figures.trials import fold_task_heatmap, history

__all__ = [
    "attention_beside",
    "attention_map",
    "bag_sizes",
    "batches",
    "calibration_curves",
    "clicked",
    "compared_curves",
    "composition",
    "conformers_3d",
    "deletion_curves",
    "differences",
    "entropy_against_prediction",
    "entropy_distribution",
    "fold_task_heatmap",
    "history",
    "hit_rate_bars",
    "importance_bars",
    "label_patterns",
    "label_shares",
    "pr_curves",
    "roc_curves",
    "score_distribution",
    "score_intervals",
    "slices",
    "study_aps",
    "threshold_curves",
    "trial_curves",
]
