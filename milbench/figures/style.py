"""What all figures look like: read on a light and on a dark ground, in an app, a notebook, a report and the dashboard alike."""

from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go

from milbench.palette import GRID, INK, OKABE_ITO

FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif"
SYMBOLS = ("circle", "diamond", "square", "triangle-up", "x", "cross", "star")
MOST_POINTS = 10_000
"""Points in one figure, at most; more are sampled, and the figure says so."""
_LEGEND = 66
"""Pixels from the plot down to the legend: ticks and the axis title stand between."""


def figure(traces: Sequence[Any], *, x: str = "", y: str = "", title: str = "", height: int = 360) -> go.Figure:
    """A figure of these traces with axis titles (with units), on a transparent ground."""
    axis = {"gridcolor": GRID, "linecolor": GRID, "zerolinecolor": GRID, "ticks": "", "automargin": True}
    above = 44 if title else 16
    layout = {  # given at once: ten times as fast as an update of a figure that is there
        "template": "none",
        "height": height,
        "title": {"text": title, "font": {"size": 15}, "x": 0, "xref": "container", "xanchor": "left", "pad": {"l": 8}},
        "font": {"family": FONT, "size": 13, "color": INK},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "margin": {"l": 56, "r": 16, "t": above, "b": 48},
        "legend": {
            "orientation": "h",
            "yanchor": "top",
            "y": -_LEGEND / max(1, height - above - 48),
            "x": 0,
            "bgcolor": "rgba(0,0,0,0)",
        },
        "colorway": list(OKABE_ITO),
        "hoverlabel": {"font": {"family": FONT}},
        "xaxis": {**axis, "title": {"text": x, "standoff": 8}},
        "yaxis": {**axis, "title": {"text": y, "standoff": 8}},
    }
    return go.Figure(list(traces), layout)


def whole(fig: go.Figure, values: Sequence[int]) -> go.Figure:
    """Ticks of the x axis at whole numbers alone, about ten of them; values: what is on it, numbers of trials for example."""
    span = max(values, default=0) - min(values, default=0)
    return fig.update_xaxes(tickformat="d", dtick=max(1, round(span / 10)), tick0=min(values, default=0))


def interval(middle: Any, low: Any, high: Any) -> dict[str, Any]:
    """Error bars from `low` to `high` around marks at `middle`, three columns of a table."""
    return {"type": "data", "array": high - middle, "arrayminus": middle - low, "color": INK, "thickness": 2, "width": 5}


def remark(fig: go.Figure, text: str) -> go.Figure:
    """A line of small print below the title, e.g. that points were sampled."""
    fig.add_annotation(text=text, xref="paper", yref="paper", x=0, y=1.0, yshift=14, showarrow=False, font={"size": 12})
    return fig


def count(n: float) -> str:
    """1234 as 1,234."""
    return f"{int(n):,}"
