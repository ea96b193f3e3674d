"""What a model looks at: attention over conformers, its evenness over a data set, its agreement with the truth."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from milbench.figures.style import MOST_POINTS, count, figure, interval, remark
from milbench.palette import INK, OKABE_ITO, task_colours

_SCALE = [[0.0, "rgba(0,114,178,0.06)"], [0.5, "rgba(0,114,178,0.55)"], [1.0, "rgb(0,114,178)"]]
"""Light to dark in one hue, on any ground."""
_KNOWN = "★ the conformer that made it positive (known, simulated)"


def attention_map(
    names: Sequence[str], conf_ids: Sequence[str], attention: np.ndarray, key: np.ndarray | None = None, chosen: str = ""
) -> go.Figure:
    """Attention of every endpoint (rows) over a molecule's conformers (columns); a click gives the conformer.

    attention [N, T]; key [N, T] bool: the conformers that made the molecule positive, starred; chosen: the conf_id framed.
    """
    strongest = float(max(attention.max(), 2 / max(1, len(conf_ids))))
    few = len(conf_ids) <= 24
    heat = go.Heatmap(
        z=attention.T,
        text=[[f"{value:.2f}" if value > 0.5 * strongest and few else "" for value in row] for row in attention.T],
        customdata=np.broadcast_to(np.asarray(conf_ids, dtype=object), attention.T.shape),
        texttemplate="%{text}",
        textfont={"color": "#fff"},
        colorscale=_SCALE,
        zmin=0,
        zmax=strongest,
        colorbar={"title": {"text": "Attention"}, "thickness": 12, "outlinewidth": 0},
        xgap=2,
        ygap=2,
        hovertemplate="conformer %{customdata}<br>%{y}<br>attention %{z:.3f}<extra></extra>",
    )
    i, t = np.nonzero(key) if key is not None else (np.empty(0, int), np.empty(0, int))
    star = {"symbol": "star", "size": 11, "color": OKABE_ITO[4], "line": {"color": "#fff", "width": 0.5}}
    stars = go.Scatter(x=i, y=t - 0.3, mode="markers", marker=star, name="made it positive (known)", hoverinfo="skip")
    fig = figure([heat, stars] if len(i) else [heat], x="Conformer (click one to see it)", height=130 + 44 * len(names))
    fig.update_yaxes(autorange="reversed", showgrid=False, zeroline=False, tickvals=np.arange(len(names)), ticktext=list(names))
    shown = np.arange(0, len(conf_ids), max(1, len(conf_ids) // 24))
    fig.update_xaxes(showgrid=False, zeroline=False, tickvals=shown, ticktext=[f"#{conf_ids[int(n)]}" for n in shown])
    if chosen in conf_ids:
        at = list(conf_ids).index(chosen)
        frame = {"x0": at - 0.5, "x1": at + 0.5, "y0": -0.5, "y1": len(names) - 0.5}
        fig.add_shape(type="rect", **frame, line={"color": OKABE_ITO[1], "width": 2.5})
    return remark(fig.update_layout(margin_t=34), _KNOWN) if len(i) else fig


def clicked(points: Sequence[Mapping[str, Any]] | None, attention: np.ndarray) -> tuple[int, int] | None:
    """Endpoint and conformer of the first point that was clicked in the map of attention [N, T]; None where none was."""
    for point in points or ():
        if "x" in point and "y" in point:
            conformer, endpoint = int(float(point["x"])), round(float(point["y"]))
            if 0 <= conformer < attention.shape[0] and 0 <= endpoint < attention.shape[1]:
                return endpoint, conformer
    return None


def attention_beside(table: pd.DataFrame, measure: str, attention: np.ndarray, task: str, names: Sequence[str]) -> go.Figure:
    """Attention of one endpoint against something known of each conformer; table: `StoreView.known`, attention [N]."""
    key = np.asarray(table[f"key_{task}"], dtype=bool) if f"key_{task}" in table else np.zeros(len(table), dtype=bool)
    marker = {
        "size": np.where(key, 17, 11),
        "symbol": np.where(key, "star", "circle"),
        "color": task_colours(names)[task],
        "opacity": 0.9,
    }
    trace = go.Scatter(
        x=table[measure],
        y=attention,
        mode="markers+text" if len(table) <= 24 else "markers",
        text=[f"#{c}" for c in table["conf_id"]],
        textposition="top center",
        marker=marker,
        hovertemplate=f"conformer %{{text}}<br>{measure} %{{x:.3f}}<br>attention %{{y:.3f}}<extra></extra>",
        showlegend=False,
    )
    fig = figure([trace], x=measure, y="Attention", title=task, height=340)
    fig.update_yaxes(range=[0, 1.15 * max(float(attention.max(initial=0)), 1 / max(1, len(table)))])  # room for the names
    fig.add_hline(y=1 / max(1, len(table)), line={"color": INK, "dash": "dot", "width": 1.2})
    return remark(fig, _KNOWN) if key.any() else fig


def entropy_distribution(entropy: np.ndarray, names: Sequence[str]) -> go.Figure:
    """How evenly attention is spread over the data set, every endpoint; entropy [n, T], NaN (one conformer) left out."""
    edges = np.linspace(0, 1, 21)
    traces = []
    for t, (name, colour) in enumerate(task_colours(names).items()):
        known = entropy[np.isfinite(entropy[:, t]), t]
        counts = np.histogram(known, edges)[0]
        traces.append(
            go.Scatter(
                x=(edges[:-1] + edges[1:]) / 2,
                y=counts,
                mode="lines",
                line={"shape": "hvh", "color": colour, "width": 2.2},
                name=f"{name} (mean {known.mean():.2f})" if known.size else name,
                hovertemplate=f"entropy %{{x:.2f}}: %{{y:,}} molecules<extra>{name}</extra>",
            )
        )
    n = int(np.isfinite(entropy).any(axis=1).sum())
    fig = figure(traces, x="Entropy (0: one conformer, 1: all)", y=f"Molecules (n {count(n)})", height=340)
    fig.update_xaxes(range=[0, 1])
    return fig


def hit_rate_bars(rates: pd.DataFrame, names: Sequence[str]) -> go.Figure:
    """How often the most attended conformer is the one that made the molecule positive, and chance; rates: `hit_rates`."""
    colours = task_colours(names)
    bars = go.Bar(
        x=rates["rate"],
        y=rates["endpoint"],
        orientation="h",
        marker={"color": [colours[name] for name in rates["endpoint"]], "opacity": 0.85},
        error_x=interval(rates["rate"], rates["low"], rates["high"]),
        customdata=rates[["positives", "low", "high"]].to_numpy(),
        hovertemplate="%{y}: %{x:.1%} [%{customdata[1]:.1%}, %{customdata[2]:.1%}]<br>n %{customdata[0]}<extra></extra>",
        showlegend=False,
    )
    marker = {"symbol": "line-ns-open", "size": 26, "color": INK, "line": {"width": 3}}
    chance = go.Scatter(x=rates["chance"], y=rates["endpoint"], mode="markers", marker=marker, name="chance (1 / conformers)")
    fig = figure([bars, chance], x="Hit rate (95% interval)", height=130 + 44 * len(rates))
    fig.update_yaxes(autorange="reversed", showgrid=False)
    fig.update_xaxes(range=[0, 1.02], tickformat=".0%")
    return fig


def deletion_curves(curve: pd.DataFrame, task: str, names: Sequence[str]) -> go.Figure:
    """Probability as conformers are taken away, the most attended first against random order (5 to 95 %)."""
    parts = {str(order): part for order, part in curve.groupby("order", sort=False)}
    first, random = parts.values()
    band = {"mode": "lines", "line": {"width": 0}, "hoverinfo": "skip", "showlegend": False}
    traces = [
        go.Scatter(x=random["removed"], y=random["high"], **band),
        go.Scatter(x=random["removed"], y=random["low"], fill="tonexty", fillcolor="rgba(128,128,128,0.2)", **band),
    ]
    for (name, part), colour in zip(parts.items(), (task_colours(names)[task], INK), strict=True):
        hover = f"%{{x}} taken away: %{{y:.3f}}<extra>{name}</extra>"
        style = {"line": {"color": colour, "width": 2.4}, "marker": {"size": 7}, "hovertemplate": hover, "name": name}
        traces.append(go.Scatter(x=part["removed"], y=part["probability"], mode="lines+markers", **style))
    fig = figure(traces, x="Conformers taken away (the last point: 2D alone)", y="Probability", title=task, height=360)
    fig.update_yaxes(range=[-0.02, 1.02])
    fig.update_xaxes(dtick=max(1, len(first) // 12))
    return fig


def entropy_against_prediction(table: pd.DataFrame, task: str, names: Sequence[str]) -> go.Figure:
    """Evenness of attention against the predicted probability, by label; table: `molecule_table`. Large tables are sampled."""
    known = table.loc[table["entropy"].notna()]
    shown = known if len(known) <= MOST_POINTS else known.sample(MOST_POINTS, random_state=0).sort_index()
    looks = {"negative": ("circle-open", INK), "positive": ("diamond", task_colours(names)[task]), "": ("x-thin-open", INK)}
    traces = []
    for label, (symbol, colour) in looks.items():
        part = shown.loc[shown["label"] == label]
        if len(part):
            marker = {"symbol": symbol, "color": colour, "size": 8, "opacity": 0.8}
            hover = "%{text}<br>probability %{x:.3f}, entropy %{y:.2f}<extra></extra>"
            title = f"{count(len(part))} {label or 'without a label'}"
            points = {"x": part["prediction"], "y": part["entropy"], "text": part["ID"]}
            traces.append(go.Scattergl(**points, mode="markers", marker=marker, name=title, hovertemplate=hover))
    fig = figure(traces, x=f"Predicted probability, {task}", y="Entropy of attention", height=340)
    fig.update_yaxes(range=[-0.03, 1.05])
    fig.update_xaxes(range=[-0.02, 1.02])
    if len(shown) < len(known):
        fig.update_layout(margin={"t": 40})
        remark(fig, f"{count(len(shown))} of {count(len(known))} molecules, drawn at random")
    return fig
