"""Do conformers help? What each way to use them adds to 2D alone, endpoint by endpoint."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from milbench.data.comparison import verdict
from milbench.figures.facets import facets, place
from milbench.figures.style import interval
from milbench.palette import INK, task_colours

_COLUMNS = 5
"""Panels side by side."""


def differences_to(tables: Sequence[pd.DataFrame], labels: Sequence[str], base: str, metric: str = "AP") -> go.Figure:
    """A panel an endpoint and the macro mean, a row a run: its difference to `base` with the paired interval; hollow: not
    distinguishable.

    tables: of each run's `Comparison` with the base, in the order of `labels`.
    """
    parts = [table.groupby("metric").get_group(metric).reset_index(drop=True) for table in tables]
    names = parts[0]["endpoint"].tolist()
    paint = {**task_colours(names[:-1]), names[-1]: INK}
    rows = -(-len(names) // _COLUMNS)
    fig = facets(names, height=(170 + 46 * len(labels)) * rows, columns=_COLUMNS)
    at = -np.arange(len(labels), dtype=float)
    for panel, name in enumerate(names):
        each = pd.concat([part.iloc[[panel]] for part in parts], ignore_index=True)
        place(fig, _dots(each, at, paint[name], labels), panel)
    fig.add_vline(x=0, line={"color": INK, "width": 1.5, "dash": "dot"})
    fig.update_annotations(font={"size": 11})  # names of endpoints are long
    fig.update_xaxes(nticks=4, tickangle=0)
    under = {"xref": "paper", "yref": "paper", "x": 0.5, "y": 0, "yanchor": "top", "yshift": -28, "showarrow": False}
    fig.add_annotation(text=f"Difference of {metric} to: {base}", **under)
    fig.update_layout(margin={"b": 64})
    fig.update_yaxes(tickvals=at, ticktext=list(labels), range=[0.5 - len(labels), 0.5], showgrid=False)
    return fig


def _dots(rows: pd.DataFrame, at: np.ndarray, colour: str, labels: Sequence[str]) -> go.Scatter:
    sure = rows["distinguishable"].to_numpy(bool)
    return go.Scatter(
        x=rows["difference"],
        y=at,
        mode="markers",
        showlegend=False,
        marker={"size": 11, "symbol": ["circle" if s else "circle-open" for s in sure], "color": colour, "line": {"width": 2}},
        error_x=interval(rows["difference"], rows["low"], rows["high"]),
        customdata=np.array([[label, verdict(row)] for label, row in zip(labels, rows.itertuples(), strict=True)]),
        hovertemplate="%{customdata[0]}<br>%{customdata[1]}<extra></extra>",
    )
