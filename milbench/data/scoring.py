"""Scores of any file of predictions and labels: ROC-AUC and AP per endpoint, each with a stratified bootstrap interval."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from milbench.data.bootstrap import Heard, Ladder, Ranking, interval, plain, resampled, stratified
from milbench.data.tables import Table
from milbench.errors import ConfigError, DataError
from milbench.progress import counted
from milbench.seeds import stream
from milbench.tasks import TaskSet

_MACRO = ("macro_ap", "macro_auc")


@dataclass(frozen=True)
class Scores:
    """Scores of T endpoints: ap, auc [T]; ap_range, auc_range [T, 2], percentile bootstrap; n, positives [T].

    macro [2, 3]: mean AP and mean ROC-AUC over the endpoints that have one, each with its interval, by draws in which the
    endpoints share their molecules. NaN where an endpoint has no positive (or, for AUC, no negative). `level`: coverage;
    `weighted`: endpoints whose AP is sample-weighted.
    """

    names: tuple[str, ...]
    n: np.ndarray
    positives: np.ndarray
    ap: np.ndarray
    ap_range: np.ndarray
    auc: np.ndarray
    auc_range: np.ndarray
    macro: np.ndarray
    level: float
    weighted: tuple[str, ...] = ()

    @property
    def undefined(self) -> tuple[str, ...]:
        """Endpoints without any known positive."""
        return tuple(name for name, count in zip(self.names, self.positives, strict=True) if not count)

    def table(self) -> pd.DataFrame:
        """One row an endpoint."""
        return pd.DataFrame(
            {
                "endpoint": self.names,
                "n": self.n,
                "positives": self.positives,
                "ap": self.ap,
                "ap_low": self.ap_range[:, 0],
                "ap_high": self.ap_range[:, 1],
                "auc": self.auc,
                "auc_low": self.auc_range[:, 0],
                "auc_high": self.auc_range[:, 1],
            }
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        tasks = {row.pop("endpoint"): row for row in self.table().to_dict("records")}
        macro = {name: dict(zip(("value", "low", "high"), row.tolist(), strict=True)) for name, row in zip(_MACRO, self.macro)}
        return {
            "level": self.level,
            "tasks": tasks,
            **macro,
            "undefined": list(self.undefined),
            "weighted": list(self.weighted),
        }

    def lines(self) -> list[str]:
        """The table in words, with n, positives and prevalence beside every score."""
        width = max(len(name) for name in self.names)
        head = f"{'endpoint':<{width}}  {'n':>7}  {'positives':>9}  {'prevalence':>10}"
        lines = [f"{head}  {'AP':<21}  ROC-AUC   [{self.level:.0%} intervals]"]
        for t, name in enumerate(self.names):
            share = f"{self.positives[t] / self.n[t]:.3%}" if self.n[t] else "–"
            ap, auc = _cell(self.ap[t], self.ap_range[t]), _cell(self.auc[t], self.auc_range[t])
            lines.append(f"{name:<{width}}  {self.n[t]:>7}  {self.positives[t]:>9}  {share:>10}  {ap:<21}  {auc}")
        macro_ap, macro_auc = (_cell(row[0], row[1:]) for row in self.macro)
        lines.append(f"macro AP {macro_ap}, macro ROC-AUC {macro_auc}")
        if self.weighted:
            lines.append(f"AP of {', '.join(self.weighted)} is sample-weighted")
        if self.undefined:
            lines.append(f"no positive of {', '.join(self.undefined)}: no score, left out of the macro means")
        return lines


def _cell(value: float, bounds: np.ndarray) -> str:
    return "–" if np.isnan(value) else f"{value:.3f} [{bounds[0]:.3f}, {bounds[1]:.3f}]"


def score(
    y: np.ndarray,
    p: np.ndarray,
    names: Sequence[str],
    weights: np.ndarray | None = None,
    *,
    draws: int = 1000,
    level: float = 0.95,
    seed: int = 0,
    macro: bool = True,
) -> Scores:
    """AP and ROC-AUC with percentile intervals of a bootstrap that draws positives and negatives apart (their counts stay).

    y [n, T] 0/1 with NaN where missing (left out), p [n, T] finite scores, higher = more likely positive; weights [n, T] >= 0
    of the APs (NaN in the column of a task whose AP is unweighted, None: all are). Ties count half in the AUC and stand at
    one threshold in the AP, as in scikit-learn. An endpoint without positives is NaN. macro: draw the macro means too (as long
    as all endpoints together); else they are NaN.
    """
    check_draws(draws, level)
    check_predicted(y, p)
    rankings = rank(y, p, weights)
    points = [ranking.score([np.arange(len(y))]) for ranking in rankings]
    bounds, means = np.full((len(names), 2, 2), np.nan), np.full((2, 3), np.nan)
    ap, auc = (np.concatenate(values) for values in zip(*points, strict=True))
    with counted("bootstrap", draws * len(names) * (1 + macro)) as heard:
        for t, name in enumerate(names):
            if rankings[t].ladder.steps:
                drawn = resampled([rankings[t]], stratified(y[:, t], stream(seed, "bootstrap", name)), draws, heard)
                bounds[t] = interval(np.concatenate(drawn), level)
            else:
                heard(draws)
        if macro:
            means = _macro(rankings, (ap, auc), draws, level, seed, heard)
    known, positives = np.isfinite(y).sum(axis=0), (y == 1).sum(axis=0)
    weighted = tuple(name for name, ranking in zip(names, rankings, strict=True) if ranking.weights is not None)
    return Scores(tuple(names), known, positives, ap, bounds[:, 0], auc, bounds[:, 1], means, level, weighted)


def _macro(
    rankings: Sequence[Ranking], points: tuple[np.ndarray, np.ndarray], draws: int, level: float, seed: int, heard: Heard
) -> np.ndarray:
    """Mean AP and ROC-AUC over the endpoints that have one, each with its interval, [2, 3]; NaN without any.

    Every draw takes the same molecules for all endpoints; one in which an endpoint has no score counts for nothing.
    """
    n = len(rankings[0].ladder.cell)
    drawn = resampled(rankings, plain(n, stream(seed, "macro", n)), draws, heard)
    out = np.full((2, 3), np.nan)
    for row, point, values in zip(out, points, drawn, strict=True):
        scored = np.isfinite(point)
        if scored.any():
            row[:] = point[scored].mean(), *interval(values[scored].mean(axis=0), level)
    return out


def check_draws(draws: int, level: float) -> None:
    """A ConfigError unless an interval of this level can be had from so many draws."""
    if draws < 100 or not 0 < level < 1:
        raise ConfigError("bootstrap", got=f"{draws} draws, level {level}", want="100 draws or more, a level between 0 and 1")


def check_predicted(y: np.ndarray, p: np.ndarray) -> None:
    """A DataError unless every known label of y [n, T] has a finite prediction in p [n, T]."""
    if not np.isfinite(p[np.isfinite(y)]).all():
        raise DataError("predictions", "NaN or inf", do="every labelled molecule needs a finite prediction")


def rank(y: np.ndarray, p: np.ndarray, weights: np.ndarray | None) -> list[Ranking]:
    """The T endpoints as p ranks them; y, p, weights [n, T] as in `score`."""
    columns = [None] * y.shape[1] if weights is None else [None if np.isnan(w).all() else w for w in weights.T]
    return [Ranking(Ladder.of(y[:, t], p[:, t]), columns[t]) for t in range(y.shape[1])]


@dataclass(frozen=True)
class Joined:
    """Molecules `ids` [n] with labels y [n, T] (NaN where unknown), predictions p [n, T] and weights [n, T] of the APs (a
    column of NaN: unweighted); `left_out`: what was not used, in words.
    """

    ids: np.ndarray
    y: np.ndarray
    p: np.ndarray
    weights: np.ndarray
    left_out: tuple[str, ...]


def join_tables(predictions: Table, labels: Table | None, tasks: TaskSet) -> Joined:
    """A table of predictions and a table of labels, joined on ID.

    predictions: ID and `pred_<endpoint>` (or `<endpoint>`); a molecule may stand on several rows (one a conformer) if they
    agree. labels: ID and the endpoints' label columns; None takes the `label_<endpoint>` columns beside the predictions, as
    `milbench run` writes them. The AP of an endpoint that declares it is weighted, where its weights (or `weight_<endpoint>`)
    stand beside the labels. Labelled molecules without a prediction are left out with a count.
    """
    ids, p = by_molecule(predictions, [(f"pred_{name}", name) for name in tasks.names])
    truth = predictions if labels is None else labels
    own = [(f"label_{name}",) for name in tasks.names]
    columns = own if labels is None else [(e.label, *other) for e, other in zip(tasks.endpoints, own, strict=True)]
    labelled, y = by_molecule(truth, columns)
    weights = _weights(truth, tasks)
    rows = pd.Index(ids).get_indexer(pd.Index(labelled))
    if (rows < 0).all():
        raise DataError(predictions.source, f"shares no ID with {truth.source}", got=ids[0], want=f"IDs like {labelled[0]!r}")
    wrong = np.argwhere(np.isfinite(y) & (y != 0) & (y != 1))
    if len(wrong):
        row, t = (int(place) for place in wrong[0])
        raise DataError(truth.source, f"ID {labelled[row]}", column=tasks.names[t], got=float(y[row, t]), want="0, 1 or empty")
    without = int((np.isfinite(y).any(axis=1) & (rows < 0)).sum())
    said = (f"{without} labelled molecules have no prediction and are left out",) if without else ()
    there = rows >= 0
    return Joined(labelled[there], y[there], p[rows[there]], weights[there], said)


def _weights(truth: Table, tasks: TaskSet) -> np.ndarray:
    """Weights of the APs [n, T], in the order of `by_molecule`; a column of NaN where an AP is unweighted."""
    names = [(endpoint.weight or "", f"weight_{endpoint.name}") if endpoint.ap_weighted else () for endpoint in tasks.endpoints]
    there = [next((name for name in group if name in truth.names), None) for group in names]
    found, columns = by_molecule(truth, [(name,) for name in there if name is not None])
    weights = np.full((len(found), len(tasks)), np.nan)
    weights[:, [name is not None for name in there]] = columns
    return weights


def by_molecule(table: Table, columns: Sequence[tuple[str, ...]]) -> tuple[np.ndarray, np.ndarray]:
    """IDs [n] and the first column there is of each group [n, T]; rows that repeat an ID must agree."""
    ids = table.text("ID")
    chosen = [next((name for name in names if name in table.names), names[0]) for names in columns]
    values = np.stack([table.numbers(name) for name in chosen], axis=1) if chosen else np.empty((len(ids), 0))
    code, unique = pd.factorize(ids)
    first = np.unique(code, return_index=True)[1]
    same = (values == values[first][code]) | (np.isnan(values) & np.isnan(values[first][code]))
    if not same.all():
        row, t = (int(place) for place in np.argwhere(~same)[0])
        raise DataError(table.source, f"two values for ID {ids[row]}", row=table.row(row), column=chosen[t], do="keep one")
    return np.asarray(unique, dtype=object), values[first]
