"""Figures and tables as one HTML file that needs no network: plotly.js is inlined once."""

import html
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

_STYLE = """
:root{color-scheme:light dark;--ink:#1c2126;--ground:#fff;--dim:#5d6670;--line:#8884}
@media (prefers-color-scheme:dark){:root{--ink:#e4e7ea;--ground:#16191c;--dim:#9aa3ad}}
body{margin:0 auto;max-width:72rem;padding:1.5rem;background:var(--ground);color:var(--ink);
 font:15px/1.55 system-ui,-apple-system,'Segoe UI',Roboto,sans-serif}
h1{font-size:1.7rem;margin:.2rem 0}
h2{font-size:1.2rem;margin:2.2rem 0 .3rem;border-top:1px solid var(--line);padding-top:1.2rem}
p{max-width:52rem}.dim{color:var(--dim)}
table{border-collapse:collapse;font-size:.93rem;margin:.6rem 0;display:block;overflow-x:auto}
th,td{padding:.28rem .9rem .28rem 0;border-bottom:1px solid var(--line);text-align:left}
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}
@media print{body{max-width:none}section{break-inside:avoid}}
"""

_ON_PLANES = ["pan2d", "select2d", "lasso2d", "zoom2d", "zoomIn2d", "zoomOut2d", "autoScale2d"]
_IN_SPACE = ["pan3d", "zoom3d", "orbitRotation", "tableRotation", "resetCameraLastSave3d"]


@dataclass(frozen=True)
class Section:
    """A heading, a paragraph, and figures or tables below it."""

    title: str
    text: str
    contents: Sequence[go.Figure | pd.DataFrame]


def page(title: str, about: str, sections: Sequence[Section]) -> str:
    """The whole document. Text is escaped; floats in tables have three decimals."""
    body = "".join(
        f"<section><h2>{html.escape(s.title)}</h2><p>{html.escape(s.text)}</p>{_contents(s, title)}</section>" for s in sections
    )
    # the scripts of a page with figures only: a page of tables needs none
    script = f"<script>{get_plotlyjs()}</script>" if any(isinstance(c, go.Figure) for s in sections for c in s.contents) else ""
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{html.escape(title)}</title>'
    top = f'<h1>{html.escape(title)}</h1><p class="dim">{html.escape(about)}</p>'
    return f'<!DOCTYPE html><html lang="en"><head>{head}<style>{_STYLE}</style>{script}</head><body>{top}{body}</body></html>\n'


def _contents(section: Section, title: str) -> str:
    config = {"responsive": True, **camera(f"{title} {section.title}")}
    return "".join(
        _table(content)
        if isinstance(content, pd.DataFrame)
        else content.to_html(full_html=False, include_plotlyjs=False, config=config)
        for content in section.contents
    )


def camera(name: str) -> dict[str, Any]:
    """Plotly's settings: the camera above a figure saves it as <name>.png, three times as fine as the screen.

    Beside it stays what brings back the first view: to zoom, drag in a plane and scroll in space.
    """
    file = re.sub(r"[^\w.-]+", "-", name.lower()).strip("-")
    image = {"format": "png", "filename": file, "scale": 3}
    return {"displaylogo": False, "toImageButtonOptions": image, "modeBarButtonsToRemove": _ON_PLANES + _IN_SPACE}


def _table(frame: pd.DataFrame) -> str:
    kinds = [' class="n"' if pd.api.types.is_numeric_dtype(frame[name]) else "" for name in frame.columns]
    head = "".join(f"<th{kind}>{html.escape(str(name))}</th>" for name, kind in zip(frame.columns, kinds, strict=True))
    rows = (
        "".join(f"<td{k}>{html.escape(shown(v))}</td>" for v, k in zip(row, kinds, strict=True)) for row in frame.to_numpy()
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(f'<tr>{row}</tr>' for row in rows)}</tbody></table>"


def shown(value: object) -> str:
    """A cell of a table as text: floats with three decimals, integers with commas, NaN as –."""
    if isinstance(value, float):
        return "–" if value != value else f"{value:.3f}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
