"""What the parameters of a study did: importance, slices, and how batches are composed."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from milbench.figures.facets import facets, place
from milbench.figures.style import figure, interval
from milbench.palette import INK, OKABE_ITO, task_colours


def importance_bars(table: pd.DataFrame, colour: str = OKABE_ITO[0], most: int = 15) -> go.Figure:
    """Importance of the foremost parameters; the grey mark is what chance alone gives in one of twenty studies.

    table: `importance`. A bar that does not pass its mark is drawn pale.
    """
    top = table.head(most).iloc[::-1]
    clear = top["importance"] > top["chance"]
    bars = go.Bar(
        x=top["importance"],
        y=top["parameter"],
        orientation="h",
        name="importance",
        marker={"color": colour, "opacity": [1.0 if sure else 0.35 for sure in clear]},
        hovertemplate="%{y}: %{x:.3f}<extra></extra>",
    )
    marks = go.Scatter(
        x=top["chance"],
        y=top["parameter"],
        mode="markers",
        name="by chance (95 %)",
        marker={"symbol": "line-ns", "size": 14, "line": {"width": 2.5, "color": INK}},
        hovertemplate="by chance up to %{x:.3f}<extra></extra>",
    )
    return figure([bars, marks], x="Importance (sum 1)", height=110 + 24 * max(len(top), 4))


def slices(table: pd.DataFrame, parameter: str, tasks: Sequence[str], *, log: bool = False) -> go.Figure:
    """AP of every endpoint against one parameter, a panel an endpoint; table: trial, `parameter` and ap_<endpoint>."""
    fig = facets(list(tasks), x=parameter, y="AP, mean over folds", height=310)
    text = not pd.api.types.is_numeric_dtype(table[parameter])
    ordered = table.sort_values(parameter) if not text else table
    for t, (name, colour) in enumerate(task_colours(tasks).items()):
        points = go.Scatter(
            x=ordered[parameter].astype(str) if text else ordered[parameter],
            y=ordered[f"ap_{name}"],
            mode="markers",
            name=name,
            showlegend=False,
            marker={"color": colour, "size": 9, "opacity": 0.85},
            customdata=ordered["number"],
            hovertemplate=f"{parameter} %{{x}}: AP %{{y:.3f}}<extra>trial %{{customdata}}</extra>",
        )
        place(fig, points, t)
    if log and not text:
        fig.update_xaxes(type="log")
    return fig


def composition(summary: pd.DataFrame, batch_size: int) -> go.Figure:
    """Positives of every endpoint in a batch as composed (mean, least to most) and as plain shuffling would give.

    summary: `BatchComposition.summary`.
    """
    table = summary.iloc[::-1]
    colours = task_colours(summary["endpoint"].tolist())
    plain = go.Bar(
        y=table["endpoint"],
        x=table["shuffled"],
        orientation="h",
        name="plain shuffling",
        marker={"color": INK, "opacity": 0.45},
        hovertemplate="%{y}: %{x:.2f} positives a batch by plain shuffling<extra></extra>",
    )
    composed = go.Bar(
        y=table["endpoint"],
        x=table["mean"],
        orientation="h",
        name="as composed",
        marker={"color": [colours[name] for name in table["endpoint"]]},
        error_x=interval(table["mean"], table["least"], table["most"]),
        customdata=np.column_stack([table["least"], table["most"], table["repeats"]]),
        hovertemplate="%{y}: %{x:.1f} positives a batch (%{customdata[0]:d} to %{customdata[1]:d})<br>"
        "each drawn %{customdata[2]:.1f} times an epoch<extra></extra>",
    )
    fig = figure([plain, composed], x=f"Positives in a batch of {batch_size} (grey: shuffled)", height=340)
    fig.update_layout(showlegend=False, bargap=0.35)
    return fig


def batches(preview: pd.DataFrame, tasks: Sequence[str], most: int = 200) -> go.Figure:
    """Positives of every endpoint, batch after batch of the first epoch; preview: `BatchComposition.preview`."""
    first = preview[preview["epoch"] == 0].head(most)
    traces = [
        go.Scatter(
            x=first["batch"],
            y=first[f"t{t}"],
            mode="lines+markers" if len(first) < 60 else "lines",
            line={"color": colour, "width": 1.8, "shape": "hvh"},
            marker={"size": 5},
            name=name,
            hovertemplate=f"batch %{{x}}: %{{y}} positives<extra>{name}</extra>",
        )
        for t, (name, colour) in enumerate(task_colours(tasks).items())
    ]
    fig = figure(traces, x="Batch of the first epoch", y="Positives", height=340)
    fig.update_yaxes(rangemode="tozero")
    fig.update_xaxes(tickformat="d", nticks=min(len(first), 12))
    return fig
