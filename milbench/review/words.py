"""A study's figures as cells of small tables and as sentences; what people or programs named is left as it is (escape it)."""

from typing import Any

from milbench.plural import plural
from milbench.report import number
from milbench.review.compare import Comparison
from milbench.review.study import StudyView
from milbench.trial_tables import rows

_SHOWN = {"macro_ap": "macro AP", "min_ap": "worst AP"}


def plus_minus(mean: float, sd: float) -> str:
    """0.812 ± 0.031; without a spread the mean alone."""
    return number(mean) if sd != sd else f"{number(mean)} ± {number(sd)}"


def value_text(value: Any) -> str:
    """A parameter's value in at most four digits."""
    return "–" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def counts_line(view: StudyView) -> str:
    """How many trials, how they ended, and the best one."""
    states = ", ".join(f"{n} {state}" for state, n in sorted(view.counts().items()))
    trials = plural(len(view.trials), "trial")
    if view.best is None:
        return f"{trials} ({states}), none complete yet"
    best = rows(view.by_trial, trial=view.best).iloc[0]
    score = plus_minus(view.complete["value"].iloc[0], best["score_sd"])
    return f"{trials} ({states}); best: trial {view.best}, score {score} over {int(best['n'])} folds"


def spread_rows(view: StudyView, trial: int, metric: str) -> list[list[str]]:
    """Endpoint, and mean ± sd of its AP or AUC over the folds of a trial; nothing before it has finished a fold."""
    found = rows(view.by_trial, trial=trial)
    if found.empty:
        return []
    row, names = found.iloc[0], (*((name, f"{metric}_{name}") for name in view.tasks), ("macro", f"macro_{metric}"))
    return [[shown, plus_minus(row[f"{name}_mean"], row[f"{name}_sd"])] for shown, name in names]


def score_rows(both: Comparison) -> list[list[str]]:
    """Figure, both trials' mean ± sd, the difference fold by fold, and in how many folds the second is better."""
    return [
        [
            _SHOWN.get(row["figure"], str(row["figure"])),
            plus_minus(row["first"], row["first_sd"]),
            plus_minus(row["second"], row["second_sd"]),
            plus_minus(row["difference"], row["difference_sd"]),
            f"{row['better']} of {row['folds']}",
        ]
        for row in both.scores.to_dict("records")
    ]


def parameter_rows(both: Comparison) -> list[list[str]]:
    """Parameter, its value in both trials, its meaning; those that differ."""
    return [
        [row["parameter"], value_text(row["first"]), value_text(row["second"]), row["meaning"]]
        for row in both.parameters.to_dict("records")
    ]
