"""Two trials side by side: only what differs, and by how much, fold by fold."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from milbench.configs import parameters
from milbench.errors import StudyError
from milbench.review.study import StudyView
from milbench.tasks import Endpoint, TaskSet


@dataclass(frozen=True, eq=False)
class Comparison:
    """Trials `first` and `second`. parameters: those that differ, with both values and the meaning. scores: score, macro_ap,
    min_ap and the AP of every endpoint: mean and sd of both over the folds, difference second − first over the folds that both
    finished (mean, sd), and in how many of these (folds) the second was better.
    """

    first: int
    second: int
    parameters: pd.DataFrame
    scores: pd.DataFrame


def compare(view: StudyView, first: int, second: int) -> Comparison:
    """Compare two trials of a study; a number that it does not have is a StudyError."""
    for number in (first, second):
        if number not in set(view.trials["number"]):
            raise StudyError(view.folder, f"has no trial {number}", do="choose one of its table")
    return Comparison(first, second, _different(view, first, second), _scores(view, first, second))


def _different(view: StudyView, first: int, second: int) -> pd.DataFrame:
    a, b = view.searched(first), view.searched(second)
    names = [name for name in {**a, **b} if a.get(name) != b.get(name)]
    columns = {"first": [a.get(name) for name in names], "second": [b.get(name) for name in names]}
    return pd.DataFrame({"parameter": names, **columns, "meaning": meanings(view, names)}, dtype=object)


def meanings(view: StudyView, names: Sequence[str]) -> list[str]:
    """What parameters mean; '' for one that this version does not know."""
    known = parameters(TaskSet("study", tuple(Endpoint(name) for name in view.tasks)))
    return [known[name].help if name in known else "" for name in names]


def _scores(view: StudyView, first: int, second: int) -> pd.DataFrame:
    folds = {number: view.folds[view.folds["trial"] == number].set_index("fold") for number in (first, second)}
    common = folds[first].index.intersection(folds[second].index)
    rows = []
    for name in ("score", "macro_ap", "min_ap", *view.task_columns("ap")):
        a, b = folds[first][name], folds[second][name]
        difference = (b.loc[common] - a.loc[common]).dropna()
        rows.append(
            {
                "figure": name.removeprefix("ap_"),
                "first": a.mean(),
                "first_sd": a.std(ddof=1),
                "second": b.mean(),
                "second_sd": b.std(ddof=1),
                "difference": difference.mean() if len(difference) else np.nan,
                "difference_sd": difference.std(ddof=1),
                "better": int((difference > 0).sum()),
                "folds": len(difference),
            }
        )
    return pd.DataFrame(rows)
