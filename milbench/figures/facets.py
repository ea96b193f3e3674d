"""Small multiples: panels side by side with one scale, in the same style as single figures."""

from collections.abc import Sequence

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from milbench.figures.style import figure


def facets(titles: Sequence[str], *, x: str = "", y: str = "", height: int = 320, columns: int = 0) -> go.Figure:
    """An empty figure of panels with these titles, `columns` in a row (0: all in one), the y axis shared; add traces with
    `place`.
    """
    columns = min(columns or len(titles), len(titles)) or 1
    rows = -(-len(titles) // columns) or 1
    gap = 0.03 if columns > 2 else 0.05
    spacing = {"horizontal_spacing": gap, "vertical_spacing": 0.2, "shared_yaxes": "all"}
    fig = make_subplots(rows=rows, cols=columns, subplot_titles=list(titles), **spacing)
    style = figure([], height=height).to_dict()["layout"]
    axis = {name: style["xaxis"][name] for name in ("gridcolor", "linecolor", "zerolinecolor", "ticks", "automargin")}
    fig.update_layout(
        {
            name: style[name]
            for name in ("template", "font", "paper_bgcolor", "plot_bgcolor", "legend", "colorway", "hoverlabel")
        },
        height=height,
        margin={"l": 56, "r": 16, "t": 34, "b": 48},
    )
    fig.update_xaxes(axis)
    fig.update_yaxes(axis)
    fig.update_xaxes(title={"text": x, "standoff": 8}, row=rows)
    fig.update_yaxes(title={"text": y, "standoff": 8}, col=1)
    fig.update_annotations(font={"size": 13})
    fig.update_layout(legend_y=-0.25 * 320 / height)
    return fig


def place(fig: go.Figure, trace: object, panel: int) -> None:
    """Add a trace to a panel, counted from 0 in reading order."""
    columns = len(fig._grid_ref[0])  # type: ignore[attr-defined]
    fig.add_trace(trace, row=panel // columns + 1, col=panel % columns + 1)
