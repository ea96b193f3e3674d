"""Learning curves: epoch by epoch, a panel a fold; both are counted from 1, as in everything that a run says."""

from collections.abc import Sequence

import pandas as pd
import plotly.graph_objects as go

from milbench.figures.facets import facets, place
from milbench.figures.style import whole
from milbench.palette import INK, OKABE_ITO, task_colours
from milbench.trial_tables import rows

LABELS = {
    "score": "Score",
    "val_macro_ap": "Validation macro AP",
    "val_min_ap": "Validation worst AP",
    "train_loss": "Training loss",
}


def trial_curves(curves: pd.DataFrame, tasks: Sequence[str], n_folds: int) -> go.Figure:
    """AP of every endpoint by epoch, a panel a fold, macro AP in grey, the best epoch dotted; curves: one trial's rows."""
    fig = facets([f"fold {k + 1}" for k in range(n_folds)], x="Epoch", y="Validation AP", height=330)
    lines = [(f"ap_{name}", name, colour, 2.0) for name, colour in task_colours(tasks).items()]
    for k in range(n_folds):
        part = rows(curves, fold=k)
        for column, name, colour, width in [*lines, ("val_macro_ap", "macro AP", INK, 3.0)]:
            place(fig, _line(part, column, name, colour, width=width, legend=k == 0), k)
        known = part.dropna(subset=["val_macro_ap"])
        if len(known):
            best = known["epoch"].to_numpy()[known["val_macro_ap"].to_numpy().argmax()]
            place(fig, _best(int(best) + 1), k)
    fig.update_yaxes(range=[-0.02, 1.02])
    return _from_first(fig, curves)


def compared_curves(curves: pd.DataFrame, stops: pd.DataFrame, trials: Sequence[int], column: str, n_folds: int) -> go.Figure:
    """One figure by epoch of several trials, a panel a fold; a cross where pruning stopped one.

    curves: rows of `StudyView.curves`; stops: `pruning_points`; column: score, val_macro_ap, train_loss, ap_<endpoint>, …
    """
    label = LABELS.get(column, f"AP, {column.removeprefix('ap_')}")
    fig = facets([f"fold {k + 1}" for k in range(n_folds)], x="Epoch", y=label, height=330)
    for place_of, trial in enumerate(trials):
        colour = OKABE_ITO[place_of % len(OKABE_ITO)]
        for k in range(n_folds):
            part = rows(curves, trial=trial, fold=k)
            place(fig, _line(part, column, f"trial {trial}", colour, legend=k == 0), k)
        for stop in rows(stops, trial=trial).to_dict("records"):
            at = rows(curves, trial=trial, fold=stop["fold"], epoch=stop["epoch"])
            place(fig, _cross(at, column, trial, colour), int(stop["fold"]))
    return _from_first(fig, curves)


def _from_first(fig: go.Figure, curves: pd.DataFrame) -> go.Figure:
    """Epochs from the first to the last of all, also in a panel whose fold has not begun."""
    epochs = [1, 2, *(curves["epoch"] + 1).tolist()]
    return whole(fig, epochs).update_xaxes(range=[0.5, max(epochs) + 0.5])


def _line(part: pd.DataFrame, column: str, name: str, colour: str, *, width: float = 2.0, legend: bool) -> go.Scatter:
    return go.Scatter(
        x=part["epoch"] + 1,
        y=part[column],
        mode="lines",
        name=name,
        legendgroup=name,
        showlegend=legend,
        line={"color": colour, "width": width},
        hovertemplate=f"epoch %{{x}}: %{{y:.3f}}<extra>{name}</extra>",
    )


def _best(epoch: int) -> go.Scatter:
    line = {"color": INK, "dash": "dot", "width": 1.2}
    return go.Scatter(x=[epoch, epoch], y=[0, 1], mode="lines", line=line, showlegend=False, hoverinfo="skip")


def _cross(at: pd.DataFrame, column: str, trial: int, colour: str) -> go.Scatter:
    return go.Scatter(
        x=at["epoch"] + 1,
        y=at[column],
        mode="markers",
        name=f"trial {trial} pruned",
        legendgroup=f"trial {trial}",
        showlegend=False,
        marker={"symbol": "x", "size": 12, "color": colour, "line": {"width": 1, "color": INK}},
        hovertemplate=f"trial {trial} pruned at epoch %{{x}}<extra></extra>",
    )
