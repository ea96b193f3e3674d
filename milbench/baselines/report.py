"""What the baselines gave: scores with intervals, differences to a reference, and what each cost."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from milbench.baselines.methods import PLATE
from milbench.baselines.runner import Run
from milbench.data.comparison import MACRO, Comparison, verdict
from milbench.data.results import kept
from milbench.data.scoreboard import DRAWN, DRAWS, LEVEL, SEED, compared
from milbench.data.scoring import Scores, score
from milbench.figures.conformers import differences_to
from milbench.figures.page import Section, page
from milbench.files import write_table, write_text
from milbench.progress import clocked
from milbench.score_report import score_report, verdicts
from milbench.version import __version__


@dataclass(frozen=True)
class Report:
    """Runs that are told of together, the first one being what the others are compared with; `cache` keeps what costs time."""

    runs: Sequence[Run]
    cache: Path

    def scores(self) -> pd.DataFrame:
        """One row a run and endpoint, the macro mean last: run, title, endpoint, ap, ap_low, ap_high, auc, …, seconds."""
        return pd.concat([self._scores(run) for run in self.runs], ignore_index=True)

    def _scores(self, run: Run) -> pd.DataFrame:
        key = f"whole-{run.result.content[:24]}-{DRAWN}"
        table = kept(self.cache, key, lambda: with_macro(scored(run)))
        return table.assign(run=run.method.folder, title=run.method.title, seconds=sum(run.seconds))

    def comparisons(self) -> list[Comparison]:
        """Every other run against the first."""
        return [compared(self.runs[0].result, run.result, self.cache) for run in self.runs[1:]]

    def lines(self) -> list[str]:
        """Scores, differences of the macro AP, costs; and where the plate alone does as well, in words."""
        table = self.scores()
        width = max(len(title) for title in table["title"])
        rows: list[Any] = list(table[table["endpoint"] == MACRO].itertuples())
        said = ["–", *(verdict(_macro_ap(comparison)) for comparison in self.comparisons())]
        lines = [f"{'method':<{width}}  {'macro AP':<21}  {'cost':>7}  against {self.runs[0].method.title}"]
        lines += [
            f"{row.title:<{width}}  {_cell(row):<21}  {clocked(row.seconds):>7}  {words}"
            for row, words in zip(rows, said, strict=True)
        ]
        for name, part in _by_endpoint(table):
            lines.append(f"{name}, AP of {part['positives'].iloc[0]:,} positives in {part['n'].iloc[0]:,} molecules")
            rows = list(part.itertuples())
            lines += [f"  {row.title:<{width}}  {_cell(row)}" for row in rows]
        return [*lines, *self._plate_lines(table)]

    def _plate_lines(self, table: pd.DataFrame) -> list[str]:
        """A warning where knowing the plate alone is as good as a model."""
        plates, lines = [run.method.folder for run in self.runs if run.method.kind == PLATE], []
        for endpoint, part in _by_endpoint(table):
            alone = part["ap"][part["run"].isin(plates)].max()
            beaten = part["title"][~part["run"].isin(plates) & (part["ap"] <= alone)].tolist()
            if beaten:
                said = f"warning: {endpoint}: who knows the plate alone has AP {alone:.3f}, as good as or better than "
                lines.append(said + "; ".join(beaten))
        return lines

    def write(self, folder: Path, name: str) -> list[Path]:
        """`name`.csv with every score, `name`.html with the tables, curves and comparisons."""
        table, pairs = self.scores(), [(self.runs[0].result, run.result) for run in self.runs[1:]]
        write_table(folder / f"{name}.csv", table)
        write_text(folder / f"{name}.html", score_report([run.result for run in self.runs], pairs, self.cache))
        return [folder / f"{name}.csv", folder / f"{name}.html"]

    def write_answer(self, folder: Path, name: str) -> list[Path]:
        """`name`.csv, `name`.html with one figure: what each run adds to the first, and what it costs."""
        table, found = self.scores(), self.comparisons()
        titles = [run.method.title for run in self.runs[1:]]
        said = (f"{run.method.title.removeprefix('network, ')}, {clocked(sum(run.seconds))}" for run in self.runs)
        base, *labels = said
        figure = differences_to([one.table for one in found], labels, base)
        differences = pd.concat(
            [verdicts(one.table).assign(method=title) for one, title in zip(found, titles, strict=True)], ignore_index=True
        )
        text = (
            f"milbench {__version__}. The same molecules drawn for both, {DRAWS:,} times; hollow: the {LEVEL:.0%} interval "
            f"holds zero, so the two are not distinguishable. Cost: training of all folds. {found[0].n:,} molecules."
        )
        shown = [figure, readable_scores(table), differences[["method", *differences.columns[:-1]]]]
        write_table(folder / f"{name}.csv", table)
        write_text(folder / f"{name}.html", page("Do conformers help?", text, [Section("Against 2D alone", "", shown)]))
        return [folder / f"{name}.csv", folder / f"{name}.html"]


def scored(run: Run) -> Scores:
    """A run's scores with intervals."""
    r = run.result
    return score(r.y, r.p, r.names, r.weights, draws=DRAWS, level=LEVEL, seed=SEED)


def with_macro(scores: Scores) -> pd.DataFrame:
    """The table of the scores, with the macro mean as its last row."""
    table = scores.table()
    (ap, *ap_range), (auc, *auc_range) = scores.macro.tolist()
    values = {"ap": ap, "ap_low": ap_range[0], "ap_high": ap_range[1], "auc": auc, "auc_low": auc_range[0]}
    counts = {"n": int(scores.n.max()), "positives": int(scores.positives.sum())}
    last = pd.DataFrame([{"endpoint": MACRO, **counts, **values, "auc_high": auc_range[1]}])
    return pd.concat([table, last], ignore_index=True)


def readable_scores(table: pd.DataFrame) -> pd.DataFrame:
    """AP for reading: one row a run, one column an endpoint, and the macro mean."""
    rows: list[Any] = list(table.itertuples())
    wide = table.assign(words=[_cell(row) for row in rows]).pivot(index="title", columns="endpoint", values="words")
    titles, endpoints = (list(dict.fromkeys(table[name])) for name in ("title", "endpoint"))
    costs = table.drop_duplicates("title")["seconds"].map(clocked).tolist()
    wide = wide.loc[titles, endpoints].assign(cost=costs)
    return wide.reset_index().rename(columns={"title": "average precision of", MACRO: "macro"})


def _cell(row: Any) -> str:
    return "–" if np.isnan(row.ap) else f"{row.ap:.3f} [{row.ap_low:.3f}, {row.ap_high:.3f}]"


def _by_endpoint(table: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    names = [name for name in dict.fromkeys(table["endpoint"]) if name != MACRO]
    return [(name, table.loc[table["endpoint"] == name]) for name in names]


def _macro_ap(comparison: Comparison) -> Any:
    table = comparison.table
    rows: list[Any] = list(table[(table["endpoint"] == MACRO) & (table["metric"] == "AP")].itertuples())
    return rows[0]
