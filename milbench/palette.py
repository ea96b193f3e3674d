"""The colours of apps, figures and reports: one colour an endpoint, everywhere. Loads nothing."""

from collections.abc import Sequence

OKABE_ITO = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#B3A500")
"""Told apart by colour-blind people too (Okabe and Ito 2008; the yellow is darkened, to be seen on white)."""
STATES = {
    "queued": "#7A828C",
    "running": "#0072B2",
    "done": "#009E73",
    "stopped": "#7A828C",
    "failed": "#D55E00",
    "lost": "#E69F00",
}
"""What a job or a trial is doing."""
INK, GRID, FAINT = "#7A828C", "rgba(128,128,128,0.25)", "rgba(128,128,128,0.12)"
"""Text, grid lines and areas that can be seen on a light and on a dark ground."""
SEQUENTIAL = "Viridis"
"""Scale of magnitudes; even in lightness, so that it survives print."""


def task_colours(names: Sequence[str]) -> dict[str, str]:
    """A colour for each endpoint, by its place in the task set; after seven they begin again."""
    return {name: OKABE_ITO[t % len(OKABE_ITO)] for t, name in enumerate(names)}
