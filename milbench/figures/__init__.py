"""Every figure, one function each: the same in apps, notebooks, reports and optuna-dashboard. Tables in, Plotly out."""

from milbench.figures.curves import calibration_curves, pr_curves, roc_curves, score_distribution, threshold_curves
from milbench.figures.scores import differences, score_intervals
from milbench.figures.study import study_aps

__all__ = [
    "calibration_curves",
    "differences",
    "pr_curves",
    "roc_curves",
    "score_distribution",
    "score_intervals",
    "study_aps",
    "threshold_curves",
]
