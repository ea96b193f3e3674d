"""What is in a data set: labels, the patterns they make, bags."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from milbench.figures.style import count, figure
from milbench.palette import FAINT, INK, OKABE_ITO, task_colours


def label_shares(prevalences: pd.DataFrame, tasks: Sequence[str]) -> go.Figure:
    """Positive, negative and missing labels of every endpoint, in percent of the molecules.

    prevalences: endpoint, positives, negatives, missing, as `Look.prevalences` has them; `tasks`: all endpoints there are.
    """
    colours = task_colours(tasks)
    total = prevalences[["positives", "negatives", "missing"]].sum(axis=1).clip(lower=1)
    kinds = (("positives", [colours[name] for name in prevalences["endpoint"]]), ("negatives", "#9AA3AD"), ("missing", FAINT))
    traces = [
        go.Bar(
            y=prevalences["endpoint"],
            x=100 * prevalences[kind] / total,
            name=kind,
            orientation="h",
            marker={"color": colour, "line": {"width": 0.5, "color": INK}},
            customdata=[count(n) for n in prevalences[kind]],
            hovertemplate=f"%{{y}}<br>%{{customdata}} {kind} (%{{x:.2f}} %)<extra></extra>",
        )
        for kind, colour in kinds
    ]
    fig = figure(traces, x="Molecules, %", height=150 + 34 * len(prevalences))
    fig.update_layout(barmode="stack", legend={"y": 1.02, "yanchor": "bottom", "traceorder": "normal"}, margin={"t": 40})
    fig.update_yaxes(autorange="reversed", showgrid=False)
    return fig


def label_patterns(
    names: Sequence[str], patterns: Sequence[tuple[tuple[bool, ...], int]], tasks: Sequence[str], most: int = 16
) -> go.Figure:
    """Which endpoints are positive together: a column a pattern, dots for its endpoints, its count above (log scale).

    patterns: (positive [T], molecules) of the endpoints `names`, the most frequent first, as `Look.patterns` has them; `tasks`:
    all endpoints of the task set.
    """
    shown, rest = patterns[:most], sum(n for _, n in patterns[most:])
    at, colours = np.arange(len(shown)), task_colours(tasks)
    bars = go.Bar(
        x=at,
        y=[n for _, n in shown],
        marker_color=OKABE_ITO[0],
        text=[count(n) for _, n in shown],
        textposition="outside",
        cliponaxis=False,
        hovertext=[", ".join(name for name, on in zip(names, pattern) if on) or "none positive" for pattern, _ in shown],
        hovertemplate="%{hovertext}<br>%{y:,} molecules<extra></extra>",
        showlegend=False,
    )
    traces: list[go.Bar | go.Scatter] = [bars]
    for t, name in enumerate(names):
        paint = [colours[name] if pattern[t] else FAINT for pattern, _ in shown]
        dots = {"x": at, "y": [name] * len(shown), "mode": "markers", "marker": {"size": 13, "color": paint}, "yaxis": "y2"}
        traces.append(go.Scatter(**dots, showlegend=False, hoverinfo="skip"))
    title = f"{count(rest)} molecules have rarer patterns" if rest else ""
    fig = figure(traces, y="Molecules (log scale)", title=title, height=300 + 26 * len(names))
    fig.update_xaxes(showticklabels=False, showgrid=False, zeroline=False)
    share = 26 * len(names) / (300 + 26 * len(names))
    top = np.log10(max((n for _, n in shown), default=1)) + 0.25
    own = {"type": "log", "domain": [share + 0.04, 1], "range": [-0.3, top]}  # from a half: one molecule has a height
    fig.update_layout(yaxis=own | {"dtick": 1 if top > 2 else "D2", "exponentformat": "power"})
    fig.update_layout(yaxis2={"domain": [0, share], "autorange": "reversed", "showgrid": False, "automargin": True})
    return fig


def bag_sizes(sizes: np.ndarray) -> go.Figure:
    """How many conformers the molecules have; sizes [M]."""
    values, counts = np.unique(sizes, return_counts=True)
    hover = "%{x} conformers: %{y:,} molecules<extra></extra>"
    bars = go.Bar(x=values, y=counts, marker_color=OKABE_ITO[0], hovertemplate=hover)
    return figure([bars], x="Conformers a molecule", y="Molecules", height=300)
