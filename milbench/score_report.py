"""The scoreboard as one HTML file to send around: scores, curves, calibration, and runs against each other."""

import time
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from milbench.data.comparison import Comparison, verdict
from milbench.data.results import Result
from milbench.data.scoreboard import DRAWS, LEVEL, behind, board, compared
from milbench.figures import calibration_curves, differences, pr_curves, roc_curves, score_intervals
from milbench.figures.page import Section, page
from milbench.version import __version__

CAVEAT = (
    "An interval is for one comparison alone: of twenty between equal runs (endpoints, metrics, pairs of runs) about one looks "
    "distinguishable by chance."
)
"""What to remember where many comparisons are read."""
_METRICS = {"ap": "AP", "auc": "ROC-AUC"}


def readable(scores: pd.DataFrame) -> pd.DataFrame:
    """Scores for reading: one row a series and endpoint, intervals in words."""
    table = pd.DataFrame({"run": scores["series"], "endpoint": scores["endpoint"], "molecules": scores["n"]})
    table = table.assign(positives=scores["positives"], prevalence=scores["positives"] / scores["n"].where(scores["n"] > 0))
    for metric, title in _METRICS.items():
        bounds = scores[[metric, f"{metric}_low", f"{metric}_high"]].to_numpy()
        words = [f"{v:.3f} [{low:.3f}, {high:.3f}]" if v == v else "–" for v, low, high in bounds]
        weighted = scores["weighted"] if metric == "ap" else [False] * len(scores)
        table[title] = [w + (" ʷ" if mark else "") for w, mark in zip(words, weighted, strict=True)]
    return table


def verdicts(comparison: pd.DataFrame) -> pd.DataFrame:
    """A comparison for reading: one row an endpoint and metric, with its verdict."""
    said = [verdict(row) for row in comparison.itertuples()]
    return comparison[["endpoint", "metric", "n", "positives", "a", "b"]].assign(difference=said)


def side_by_side(comparison: Comparison) -> pd.DataFrame:
    """The verdicts of a comparison, its runs by their names."""
    return verdicts(comparison.table).rename(columns={"a": comparison.a, "b": comparison.b})


def score_report(results: Sequence[Result], pairs: Sequence[tuple[Result, Result]], cache: Path, about: str = "") -> str:
    """The report on `results`, and on the comparisons `pairs`, as HTML; `about`: what the runs were trained on."""
    scores = board(results, cache)
    made = f"milbench {__version__}, {time.strftime('%Y-%m-%d')}"
    told = (
        f"{'. '.join(filter(None, [about, made]))}. Intervals: {LEVEL:.0%}, percentile bootstrap of {DRAWS:,} draws that keep "
        "the counts of positives and negatives. ʷ: sample-weighted. A missing label is left out."
    )
    figures = [score_intervals(scores, metric) for metric in ("ap", "auc")]
    sections = [Section("Scores", "Grey ticks: what chance gives.", [readable(scores), *figures])]
    for result in results:
        found = behind(result)
        shown = [pr_curves(found.cuts), roc_curves(found.cuts), calibration_curves(found.calibrations)]
        sections.append(Section(result.title, "Precision and recall, ROC, calibration of every endpoint.", shown))
    for a, b in pairs:
        c = compared(a, b, cache)
        text = (
            f"The same {c.n:,} molecules drawn for both, {DRAWS:,} times. Where the interval holds zero, the runs are not "
            f"distinguishable. {' '.join([CAVEAT, *c.notes])}"
        )
        shown = [side_by_side(c), *(differences(c.table, metric, (c.a, c.b)) for metric in ("AP", "ROC-AUC"))]
        sections.append(Section(f"{c.b} against {c.a}", text, shown))
    return page(f"Scores of {', '.join(dict.fromkeys(result.run for result in results))}", told, sections)
