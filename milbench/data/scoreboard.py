"""The statistics of a scoreboard; what takes seconds is kept in a folder, under the hash of the numbers it was made of."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from milbench.data.comparison import Comparison, compare
from milbench.data.curves import calibration, histogram, thresholds
from milbench.data.results import Result, kept, shared
from milbench.data.scoring import rank, score

DRAWS, LEVEL, SEED = 1000, 0.95, 0
DRAWN = f"{DRAWS}-{LEVEL:g}-{SEED}"
"""The same in the names of what is kept."""


def board(results: Sequence[Result], cache: Path) -> pd.DataFrame:
    """Scores with intervals of every result and endpoint: series (the result's title) and the columns of `Scores.table`."""
    tables = []
    for result in results:
        table = kept(cache, _name(result), lambda r=result: _scores(r))
        tables.append(table.assign(series=result.title, run=result.run, part=result.part))
    return pd.concat(tables, ignore_index=True)


def _name(result: Result) -> str:
    return f"scores-{result.content[:24]}-{DRAWN}"


def at_first(results: Sequence[Result], cache: Path) -> pd.DataFrame:
    """The results whose intervals `board` has yet to draw, without them: part, endpoint, n, positives, AP, ROC-AUC."""
    rows = []
    for result in (new for new in results if not (cache / f"{_name(new)}.parquet").is_file()):
        everyone = np.arange(len(result.y))
        for t, (name, ranking) in enumerate(zip(result.names, rank(result.y, result.p, result.weights), strict=True)):
            (ap,), (auc,) = ranking.score([everyone])
            known = result.y[:, t]
            rows.append((result.part, name, int(np.isfinite(known).sum()), int((known == 1).sum()), ap, auc))
    return pd.DataFrame(rows, columns=["part", "endpoint", "n", "positives", "AP", "ROC-AUC"])


def _scores(result: Result) -> pd.DataFrame:
    scores = score(result.y, result.p, result.names, result.weights, draws=DRAWS, level=LEVEL, seed=SEED, macro=False)
    return scores.table().assign(weighted=[name in scores.weighted for name in result.names])


def compared(a: Result, b: Result, cache: Path) -> Comparison:
    """`compare`, from the folder where the same numbers were compared before."""
    key = f"compared-{a.content[:24]}-{b.content[:24]}-{DRAWN}"
    found: list[Comparison] = []

    def make() -> pd.DataFrame:
        found.append(compare(a, b, draws=DRAWS, level=LEVEL, seed=SEED))
        return found[0].table

    table = kept(cache, key, make)
    return found[0] if found else Comparison(a.title, b.title, table, LEVEL, shared(a, b)[2])


@dataclass(frozen=True)
class Behind:
    """What lies behind one result's scores, a table an endpoint: `thresholds`, `calibration`, `histogram`."""

    cuts: dict[str, pd.DataFrame]
    calibrations: dict[str, pd.DataFrame]
    histograms: dict[str, pd.DataFrame]


def behind(result: Result) -> Behind:
    """Curves of every endpoint; precision and recall weighted where its AP is."""
    weights = [None if np.isnan(w).all() else w for w in result.weights.T]
    columns = {name: (result.y[:, t], result.p[:, t], weights[t]) for t, name in enumerate(result.names)}
    return Behind(
        {name: thresholds(y, p, w) for name, (y, p, w) in columns.items()},
        {name: calibration(y, p) for name, (y, p, _) in columns.items()},
        {name: histogram(y, p) for name, (y, p, _) in columns.items()},
    )
