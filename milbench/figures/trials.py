"""Trials one by one: how their scores went, and what each fold gave."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from milbench.figures.style import figure, whole
from milbench.palette import INK, OKABE_ITO, SEQUENTIAL
from milbench.trial_tables import rows


def history(trials: pd.DataFrame, selected: Sequence[int] = ()) -> go.Figure:
    """The score of every complete trial and the best so far; selected ones are ringed. trials: `trials_table`."""
    done = rows(trials, state="complete")
    ring = [3 if number in set(selected) else 0 for number in done["number"]]
    points = go.Scatter(
        x=done["number"],
        y=done["value"],
        mode="markers",
        name="trial",
        marker={"size": 10, "color": OKABE_ITO[0], "line": {"width": ring, "color": OKABE_ITO[1]}},
        customdata=done["number"],
        hovertemplate="trial %{x}: %{y:.4f}<extra></extra>",
    )
    best = go.Scatter(
        x=done["number"],
        y=np.maximum.accumulate(done["value"].to_numpy()),
        mode="lines",
        name="best so far",
        line={"color": INK, "width": 1.5, "shape": "hv"},
        hoverinfo="skip",
    )
    numbers = done["number"].tolist()
    fig = whole(figure([best, points], x="Trial", y="Score", height=300), numbers)
    return fig.update_xaxes(range=[min(numbers) - 0.5, max(numbers) + 0.5]) if numbers else fig


def fold_task_heatmap(folds: pd.DataFrame, tasks: Sequence[str], metric: str = "ap") -> go.Figure:
    """AP (or AUC) of every fold and endpoint of one trial, with the numbers; folds: its rows of `folds_table`."""
    values = folds[[f"{metric}_{name}" for name in tasks]].to_numpy(float)
    names, means = [*(f"fold {k + 1}" for k in folds["fold"]), "mean"], np.vstack([values, _mean(values)])
    label = {"ap": "AP", "auc": "ROC-AUC"}[metric]
    trace = go.Heatmap(
        z=means.T,
        x=names,
        y=list(tasks),
        zmin=0,
        zmax=1,
        colorscale=SEQUENTIAL,
        text=[[f"{value:.3f}" if np.isfinite(value) else "–" for value in row] for row in means.T],
        texttemplate="%{text}",
        hovertemplate=f"%{{x}}, %{{y}}: {label} %{{z:.3f}}<extra></extra>",
        colorbar={"title": {"text": label}, "thickness": 12},
        xgap=2,
        ygap=2,
    )
    fig = figure([trace], height=90 + 42 * len(tasks))
    fig.update_yaxes(autorange="reversed", showgrid=False)
    fig.update_xaxes(side="top", showgrid=False)
    return fig


def _mean(values: np.ndarray) -> np.ndarray:
    known = np.isfinite(values)
    return np.where(known.any(axis=0), np.where(known, values, 0).sum(axis=0) / np.maximum(known.sum(axis=0), 1), np.nan)
