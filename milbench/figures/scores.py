"""How good, how sure: scores with intervals, and the difference of two runs."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from milbench.data.comparison import verdict
from milbench.figures.style import SYMBOLS, count, figure, interval
from milbench.palette import INK, task_colours

METRICS = {"ap": "Average precision", "auc": "ROC-AUC"}


def score_intervals(scores: pd.DataFrame, metric: str = "ap", level: float = 0.95) -> go.Figure:
    """A dot and its bootstrap interval for every endpoint and series; a tick where chance stands (prevalence, or 0.5).

    scores: series, endpoint, n, positives, and <metric>, <metric>_low, <metric>_high, as `Scores.table` has them.
    """
    endpoints = list(dict.fromkeys(scores["endpoint"]))
    series = list(scores.groupby("series", sort=False))
    colours, places = task_colours(endpoints), {name: -float(t) for t, name in enumerate(endpoints)}
    shifts = np.linspace(0.18, -0.18, len(series)) if len(series) > 1 else [0.0]
    traces = []
    for s, ((name, part), shift) in enumerate(zip(series, shifts, strict=True)):
        at = [places[endpoint] + shift for endpoint in part["endpoint"]]
        symbol = SYMBOLS[s % len(SYMBOLS)]
        key = go.Scatter(x=[None], y=[None], mode="markers", name=name, marker={"symbol": symbol, "size": 11, "color": INK})
        traces += [_chance(part, at, metric, show=s == 0), _dots(part, at, metric, (str(name), symbol), colours), key]
    fig = figure(traces, x=f"{METRICS[metric]} ({level:.0%} interval)", height=120 + 58 * len(endpoints))
    fig.update_yaxes(
        tickvals=[places[e] for e in endpoints], ticktext=endpoints, range=[0.5 - len(endpoints), 0.5], showgrid=False
    )
    fig.update_xaxes(range=[-0.02, 1.02])
    fig.update_layout(legend={"font": {"size": 12}})
    return fig


def _dots(part: pd.DataFrame, at: list[float], metric: str, series: tuple[str, str], colours: dict[str, str]) -> go.Scatter:
    name, symbol = series
    paint = [colours[endpoint] for endpoint in part["endpoint"]]
    told = [f"n {count(n)}, {count(k)} positives" for n, k in zip(part["n"], part["positives"], strict=True)]
    bounds = np.stack([part[f"{metric}_low"], part[f"{metric}_high"]], axis=1)
    hover = "%{customdata[0]}<br>%{x:.3f} [%{customdata[1]:.3f}, %{customdata[2]:.3f}]<br>%{text}"
    return go.Scatter(
        x=part[metric],
        y=at,
        mode="markers",
        name=name,
        showlegend=False,
        marker={"symbol": symbol, "size": 11, "color": paint},
        error_x=interval(part[metric], part[f"{metric}_low"], part[f"{metric}_high"]),
        text=told,
        customdata=np.column_stack([part["endpoint"], bounds]),
        hovertemplate=f"{hover}<extra>{name}</extra>",
    )


def _chance(part: pd.DataFrame, at: list[float], metric: str, show: bool) -> go.Scatter:
    chance = part["positives"] / part["n"].where(part["n"] > 0) if metric == "ap" else pd.Series(0.5, index=part.index)
    name = "prevalence" if metric == "ap" else "chance"
    marker = {"symbol": "line-ns-open", "size": 18, "color": INK, "line": {"width": 2}}
    hover = f"{name} %{{x:.3f}}<extra></extra>"
    return go.Scatter(x=chance, y=at, mode="markers", name=name, marker=marker, showlegend=show, hovertemplate=hover)


def differences(comparison: pd.DataFrame, metric: str, titles: Sequence[str], level: float = 0.95) -> go.Figure:
    """The difference of two runs in every endpoint and the macro mean with its paired interval; hollow: not distinguishable.

    comparison: the table of a `Comparison`; titles: of run a and run b.
    """
    part = comparison.groupby("metric").get_group(metric)
    names = part["endpoint"].tolist()
    paint = {**task_colours(names[:-1]), names[-1]: INK}
    at = -np.arange(len(names), dtype=float)
    sure = np.asarray(part["distinguishable"], dtype=bool)
    dots = go.Scatter(
        x=part["difference"],
        y=at,
        mode="markers",
        marker={
            "size": 12,
            "symbol": ["circle" if s else "circle-open" for s in sure],
            "color": [paint[n] for n in names],
            "line": {"width": 2},
        },
        error_x=interval(part["difference"], part["low"], part["high"]),
        customdata=np.array([[name, verdict(row)] for name, row in zip(names, part.itertuples(), strict=True)]),
        hovertemplate="%{customdata[0]}<br>%{customdata[1]}<extra></extra>",
        showlegend=False,
    )
    fig = figure([dots], x=f"Difference of {metric} ({level:.0%} interval)", height=150 + 44 * len(names))
    fig.update_yaxes(tickvals=at, ticktext=names, range=[0.5 - len(names), 0.5], showgrid=False)
    fig.add_vline(x=0, line={"color": INK, "width": 1.5, "dash": "dot"})
    side = {"yref": "paper", "y": 1.0, "yanchor": "bottom", "xref": "paper", "showarrow": False}
    fig.add_annotation(x=0, xanchor="left", yshift=18, text=f"← better: {titles[0]}", **side)
    fig.add_annotation(x=1, xanchor="right", text=f"better: {titles[1]} →", **side)
    fig.update_layout(margin={"t": 52})
    return fig
