"""Conformers in three dimensions, with nothing but Plotly, so that they are seen offline too."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import plotly.graph_objects as go

from milbench.figures.style import figure

if TYPE_CHECKING:
    from milbench.chem.geometry import Skeleton

ELEMENTS = {
    "C": "#7f8790",
    "N": "#3b6fe0",
    "O": "#e0443b",
    "S": "#c9a400",
    "P": "#e07b1a",
    "F": "#3fae3f",
    "Cl": "#2f9e4f",
    "Br": "#a8481f",
    "I": "#8a3fb0",
}
"""The chemist's colours, none too light for a white ground or too dark for a black one; other elements are grey."""


_CAMERA = {"eye": {"x": 0.0, "y": 0.0, "z": 2.5}, "up": {"x": 0, "y": 1, "z": 0}, "projection": {"type": "orthographic"}}


def conformers_3d(
    bones: "Skeleton", positions: np.ndarray, labels: Sequence[str], opacity: np.ndarray | None = None, height: int = 420
) -> go.Figure:
    """Conformers [N, atoms, 3] in Å, laid over each other where there are several; opacity [N] in 0..1, 1 where not given."""
    strength = np.ones(len(positions)) if opacity is None else np.clip(opacity, 0.05, 1)
    order = np.argsort(strength, kind="stable")  # the strongest last, on top
    positions = _facing(positions, int(order[-1]))
    several = len(positions) > 1
    traces = []
    for i in map(int, order):
        label, alpha = str(labels[i]), float(strength[i])
        traces.append(_bonds(bones, positions[i], label, alpha, several))
        traces.append(_atoms(bones, positions[i], label, alpha, several))
    fig = figure(traces, height=height)
    reach = 1.08 * float(np.abs(positions).max(initial=1.0))  # one cube, else a flat molecule is stretched out of sight
    axis = {"visible": False, "showspikes": False, "range": [-reach, reach]}
    fig.update_layout(
        scene={
            "xaxis": axis,
            "yaxis": axis,
            "zaxis": axis,
            "aspectratio": {"x": 2.2, "y": 2.2, "z": 2.2},
            "bgcolor": "rgba(0,0,0,0)",
            "camera": _CAMERA,
        },
        margin={"l": 0, "r": 0, "t": 0, "b": 0},
        legend={"y": 0.0},
    )
    return fig


def _facing(positions: np.ndarray, chosen: int) -> np.ndarray:
    """All turned alike, so that the chosen one is as broad as it can be before the viewer, never mirrored."""
    middle = positions[chosen].mean(axis=0)
    axes = np.linalg.svd(positions[chosen] - middle, full_matrices=True)[2]
    axes[2] *= np.sign(np.linalg.det(axes))
    return (positions - middle) @ axes.T


def _bonds(bones: "Skeleton", at: np.ndarray, label: str, opacity: float, legend: bool) -> go.Scatter3d:
    ends = np.array([[i, j] for i, j, _ in bones.bonds], dtype=np.int64).reshape(-1, 2)
    x, y, z = np.concatenate([at[ends], np.full((len(ends), 1, 3), np.nan)], axis=1).reshape(-1, 3).T
    style = {"mode": "lines", "line": {"width": 5 if legend else 8, "color": ELEMENTS["C"]}, "opacity": opacity}
    return go.Scatter3d(x=x, y=y, z=z, name=label, legendgroup=label, showlegend=legend, hoverinfo="skip", **style)


def _atoms(bones: "Skeleton", at: np.ndarray, label: str, opacity: float, small: bool) -> go.Scatter3d:
    scale = 0.55 if small else 1.0
    size = [scale * (8 if element == "C" else 12) for element in bones.elements]
    marker = {"size": size, "color": [_colour(bones, i) for i in range(len(bones.elements))], "line": {"width": 0}}
    names = [f"{element}{i}" for i, element in enumerate(bones.elements)]
    x, y, z = at.T
    return go.Scatter3d(
        x=x,
        y=y,
        z=z,
        mode="markers",
        marker=marker,
        opacity=opacity,
        text=names,
        name=label,
        legendgroup=label,
        showlegend=False,
        hovertemplate=f"%{{text}}<extra>{label}</extra>",
    )


def _colour(bones: "Skeleton", i: int) -> str:
    return ELEMENTS.get(bones.elements[i], "#9a7fb0")
