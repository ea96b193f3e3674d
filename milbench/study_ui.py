"""What the study app shows of trials: the folds of each, two of them side by side."""

from collections.abc import Sequence

import marimo as mo

from milbench import ui
from milbench.figures import fold_task_heatmap
from milbench.plural import plural
from milbench.review.compare import compare
from milbench.review.study import StudyView
from milbench.review.words import parameter_rows, score_rows, spread_rows
from milbench.trial_tables import rows

FOLD_BY_FOLD = (
    "Each fold is scored alone, at its best epoch, and here is the mean of the folds. Scores ranks the molecules of all folds "
    "together, by the models of one trial: that AP is usually lower, and it is the one to quote."
)


def fold_maps(found: StudyView, trials: Sequence[int], metric: str) -> list[mo.Html]:
    """Of each trial the scores of every fold and endpoint, their mean and spread beside them."""
    shown = []
    for trial in trials:
        heat = fold_task_heatmap(rows(found.folds, trial=trial), found.tasks, metric)
        table = mo.Html(ui.plain_table(["Endpoint", "Mean ± sd of the folds"], spread_rows(found, trial, metric)))
        shown += [mo.md(f"**Trial {trial}**"), mo.hstack([heat, table], widths=[2.2, 1], align="center")]
    return [*shown, ui.dim(FOLD_BY_FOLD)]


def two_trials(found: StudyView, first: int, second: int) -> mo.Html:
    """The scores of two trials side by side, and the parameters in which they differ."""
    both, names = compare(found, first, second), (f"trial {first}", f"trial {second}")
    differ, better = parameter_rows(both), f"Folds where {names[1]} is better"
    scores = ui.plain_table(["AP, mean ± sd", *names, "Difference fold by fold", better], score_rows(both))
    parameters = ui.plain_table([plural(len(differ), "parameter differs", "parameters differ"), *names, "Meaning"], differ)
    return mo.vstack([mo.Html(scores), mo.Html(parameters)], gap=1.5)
