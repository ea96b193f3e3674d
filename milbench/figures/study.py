"""A study's trials, endpoint by endpoint."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from milbench.figures.style import MOST_POINTS, count, figure, remark, whole
from milbench.palette import INK, task_colours

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial


def trial_aps(trials: Sequence["FrozenTrial"], tasks: Sequence[str]) -> pd.DataFrame:
    """AP of every complete trial and endpoint: trial, value, endpoint, ap (mean of the folds), low, high (their span), folds.

    An endpoint without an AP in some fold has the mean of the others, one without any NaN.
    """
    rows = []
    for trial in trials:
        if trial.state.name != "COMPLETE":
            continue
        recorded = [(k, v) for k, v in trial.user_attrs.items() if k.startswith("fold_")]
        for name in tasks:
            folds = [v for k, v in recorded if k[5:].partition("_")[2] == f"ap_{name}" and v == v]
            bounds = (min(folds), max(folds)) if folds else (np.nan, np.nan)
            rows.append((trial.number, trial.value, name, trial.user_attrs.get(f"ap_{name}", np.nan), *bounds, len(folds)))
    return pd.DataFrame(rows, columns=["trial", "value", "endpoint", "ap", "low", "high", "folds"])


def study_aps(trials: Sequence["FrozenTrial"], tasks: Sequence[str]) -> go.Figure:
    """AP of every endpoint in every complete trial, with the span over its folds; the best trial is marked."""
    table = trial_aps(trials, tasks)
    endpoints = list(tasks)
    colours, shown = task_colours(endpoints), table
    most = MOST_POINTS // max(1, len(endpoints))
    n = len(table.groupby("trial"))
    if n > most:
        numbers = table["trial"].drop_duplicates().sample(most, random_state=0)
        shown = table.loc[table["trial"].isin(numbers)]
    traces = [_trials(part, str(name), colours[str(name)]) for name, part in shown.groupby("endpoint", sort=False)]
    fig = figure(traces, x="Trial", y="AP (mean, span of the folds)", height=400)
    whole(fig, shown["trial"].tolist())
    fig.update_yaxes(range=[-0.02, 1.02])
    if table.empty:
        fig.update_xaxes(visible=False)
        return remark(fig, "No complete trial yet")
    best = table.iloc[int(table["value"].to_numpy().argmax())]
    fig.add_vline(x=best["trial"], line={"color": INK, "width": 1.5, "dash": "dot"})
    fig.add_annotation(
        x=best["trial"], y=1.0, yref="paper", yanchor="bottom", showarrow=False, text=f"best: {best['value']:.3f}"
    )
    fig.update_layout(margin={"t": 40})
    if len(shown) < len(table):
        remark(fig, f"{count(most)} of {count(n)} trials, drawn at random")
    return fig


def _trials(part: pd.DataFrame, name: str, colour: str) -> go.Scatter:
    spans = {"type": "data", "array": part["high"] - part["ap"], "arrayminus": part["ap"] - part["low"]}
    return go.Scatter(
        x=part["trial"],
        y=part["ap"],
        mode="markers",
        name=name,
        marker={"color": colour, "size": 9},
        error_y={**spans, "thickness": 1.2, "width": 3},
        customdata=part[["low", "high", "folds", "value"]].to_numpy(),
        hovertemplate="trial %{x} (score %{customdata[3]:.3f}): AP %{y:.3f}<br>%{customdata[2]} folds, %{customdata[0]:.3f} to "
        f"%{{customdata[1]:.3f}}<extra>{name}</extra>",
    )
