"""What lies behind a score: precision and recall, ROC, calibration, where the scores lie."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from milbench.figures.style import count, figure
from milbench.palette import FAINT, INK, OKABE_ITO, task_colours

POSITIVE, NEGATIVE = OKABE_ITO[1], OKABE_ITO[0]


def pr_curves(cuts: Mapping[str, pd.DataFrame]) -> go.Figure:
    """Precision against recall of every endpoint, its prevalence as a dotted line; cuts: `thresholds` of each endpoint."""
    traces = []
    for name, colour, table in _shown(cuts):
        traces.append(_curve(table, ("recall", "precision"), name, colour))
        prevalence = float(table["precision"].iloc[-1])
        line = {"color": colour, "dash": "dot", "width": 1.2}
        traces.append(go.Scatter(x=[0, 1], y=[prevalence] * 2, mode="lines", line=line, showlegend=False, hoverinfo="skip"))
    return _unit_square(traces, "Recall", "Precision (dotted: prevalence)")


def roc_curves(cuts: Mapping[str, pd.DataFrame]) -> go.Figure:
    """True-positive against false-positive rate of every endpoint; cuts: `thresholds` of each endpoint."""
    traces = []
    for name, colour, table in _shown(cuts):
        start = pd.DataFrame({"fpr": [0.0], "tpr": [0.0], "threshold": [np.inf], "tp": [0], "fp": [0]})
        tpr = table["tp"] / (table["tp"] + table["fn"]).where(lambda n: n > 0)
        traces.append(_curve(pd.concat([start, table.assign(tpr=tpr)]), ("fpr", "tpr"), name, colour))
    line = {"color": INK, "dash": "dot", "width": 1.2}
    traces.append(go.Scatter(x=[0, 1], y=[0, 1], mode="lines", name="chance", line=line, hoverinfo="skip"))
    return _unit_square(traces, "False-positive rate", "True-positive rate")


def _shown(tables: Mapping[str, pd.DataFrame]) -> list[tuple[str, str, pd.DataFrame]]:
    """Name, colour and table of every endpoint that has labels; the others leave it its colour."""
    return [(name, colour, tables[name]) for name, colour in task_colours(list(tables)).items() if len(tables[name])]


def _curve(table: pd.DataFrame, axes: tuple[str, str], name: str, colour: str) -> go.Scatter:
    end = table.iloc[-1]
    said = f"{name} ({count(end['tp'])} of {count(end['tp'] + end['fp'])})"
    counts = "%{customdata[1]} true, %{customdata[2]} false positives"
    hover = f"%{{x:.3f}}, %{{y:.3f}}<br>threshold %{{customdata[0]:.3f}}<br>{counts}"
    return go.Scatter(
        x=table[axes[0]],
        y=table[axes[1]],
        mode="lines",
        name=said,
        line={"color": colour, "width": 2.2, "shape": "hv" if axes[0] == "fpr" else "linear"},
        customdata=table[["threshold", "tp", "fp"]].to_numpy(),
        hovertemplate=f"{hover}<extra>{name}</extra>",
    )


def _unit_square(traces: list, x: str, y: str) -> go.Figure:
    fig = figure(traces, x=x, y=y, height=420)
    fig.update_xaxes(range=[-0.01, 1.01])
    fig.update_yaxes(range=[-0.01, 1.02])
    return fig


def calibration_curves(bins: Mapping[str, pd.DataFrame]) -> go.Figure:
    """Observed share against predicted probability with 95 % intervals; on the dotted line the model says what happens.

    bins: `calibration` of each endpoint.
    """
    line = {"color": INK, "dash": "dot", "width": 1.2}
    traces = [go.Scatter(x=[0, 1], y=[0, 1], mode="lines", name="perfect", line=line, hoverinfo="skip")]
    for name, colour, table in _shown(bins):
        up, down = table["high"] - table["observed"], table["observed"] - table["low"]
        traces.append(
            go.Scatter(
                x=table["predicted"],
                y=table["observed"],
                mode="lines+markers",
                name=name,
                line={"color": colour, "width": 2},
                marker={"size": 8},
                error_y={"type": "data", "array": up, "arrayminus": down, "thickness": 1.2, "width": 3},
                customdata=table["n"],
                hovertemplate=f"said %{{x:.3f}}, was %{{y:.3f}}<br>n %{{customdata:,}}<extra>{name}</extra>",
            )
        )
    return _unit_square(traces, "Predicted probability (mean of the bin)", "Observed share (95%)")


def score_distribution(bins: pd.DataFrame, threshold: float) -> go.Figure:
    """Molecules by predicted probability, positives and negatives, with the threshold; bins: `histogram` of one endpoint."""
    middle, width = (bins["low"] + bins["high"]) / 2, bins["high"] - bins["low"]
    traces = []
    for kind, colour in (("negatives", NEGATIVE), ("positives", POSITIVE)):
        hover = f"%{{customdata[0]:.3f}} to %{{customdata[1]:.3f}}: %{{y:,}} {kind}<extra></extra>"
        traces.append(
            go.Bar(
                x=middle,
                y=bins[kind],
                width=width,
                name=f"{count(bins[kind].to_numpy().sum())} {kind}",
                marker={"color": colour, "opacity": 0.75},
                customdata=bins[["low", "high"]].to_numpy(),
                hovertemplate=hover,
            )
        )
    fig = figure(traces, x="Predicted probability", y="Molecules (log scale)", height=320)
    fig.update_layout(barmode="overlay", bargap=0)
    top = np.log10(max(2, bins[["positives", "negatives"]].to_numpy().max())) + 0.1
    fig.update_yaxes(type="log", dtick=1 if top > 2 else "D2", range=[-0.3, top])
    fig.update_xaxes(range=[-0.01, 1.01])
    return _with_threshold(fig, threshold)


def threshold_curves(cuts: pd.DataFrame, threshold: float) -> go.Figure:
    """Precision, recall and the share of molecules called positive by threshold; cuts: `thresholds` of one endpoint."""
    called = (cuts["tp"] + cuts["fp"]) / (cuts["tp"] + cuts["fp"] + cuts["fn"] + cuts["tn"])
    lines = {"precision": (cuts["precision"], "solid"), "recall": (cuts["recall"], "dash"), "called positive": (called, "dot")}
    traces = []
    for (name, (values, dash)), colour in zip(lines.items(), (OKABE_ITO[2], OKABE_ITO[3], INK), strict=True):
        line = {"color": colour, "width": 2.2, "dash": dash}
        hover = f"at %{{x:.3f}}: {name} %{{y:.3f}}<extra></extra>"
        traces.append(go.Scatter(x=cuts["threshold"], y=values, mode="lines", name=name, line=line, hovertemplate=hover))
    fig = figure(traces, x="Threshold (predicted probability)", y="Share", height=320)
    fig.update_xaxes(range=[-0.01, 1.01])
    fig.update_yaxes(range=[-0.01, 1.02])
    return _with_threshold(fig, threshold)


def _with_threshold(fig: go.Figure, threshold: float) -> go.Figure:
    fig.add_vrect(x0=threshold, x1=1.01, fillcolor=FAINT, line={"width": 0}, layer="below")
    fig.add_vline(x=threshold, line={"color": INK, "width": 2})
    return fig
