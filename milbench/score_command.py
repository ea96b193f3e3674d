"""`milbench score`: how good predictions are, alone, averaged, against others, with and without groups of molecules."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from milbench.errors import ConfigError, DataError
from milbench.flags import OptionalPath
from milbench.tasks import load_tasks

if TYPE_CHECKING:
    from milbench.data.results import Result

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ScoreConfig:
    """ROC-AUC and AP of every endpoint, with bootstrap intervals, for any table of predictions."""

    predictions: Annotated[Path, tyro.conf.Positional]
    """Table with ID and pred_<endpoint>."""
    labels: OptionalPath = None
    """Table with ID and the label columns; default: the label_<endpoint> columns beside the predictions."""
    also: tuple[Path, ...] = ()
    """Further predictions of the same molecules; what is scored is the average of all (other folds, seeds or models)."""
    average: Literal["mean", "logit"] = "mean"
    """What is averaged: probabilities, or their logits, so that every model ranks a rare endpoint alike."""
    against: OptionalPath = None
    """Other predictions to compare with, the same molecules drawn for both."""
    without: tuple[str, ...] = ()
    """Groups to leave out, such as plates; everything is scored with and without them."""
    group_col: str = "plate"
    """Name of their column."""
    groups: OptionalPath = None
    """Table with ID and that column; default: --labels."""
    tasks: str = "euos25"
    """What is predicted: euos25, or a .toml or .json file that declares endpoints."""
    draws: int = 1000
    """Bootstrap draws."""
    level: float = 0.95
    """Coverage of the intervals."""
    seed: int = 0
    """Seed of the bootstrap."""
    json: OptionalPath = None
    """Write the scores here too."""
    out: OptionalPath = None
    """Write the average predictions here, with their labels (.parquet or .csv)."""

    def __post_init__(self) -> None:
        if self.without and self.groups is None and self.labels is None:
            do = f"name a table with ID and {self.group_col}: --groups"
            raise ConfigError("--without", "needs to know the groups", do=do)


def run_score(config: ScoreConfig) -> tuple[list[str], int]:
    """Score predictions."""
    import numpy as np

    from milbench.files import write_json, write_table

    result, left_out = _average([_read(path, config) for path in (config.predictions, *config.also)], config.average)
    other = None if config.against is None else _read(config.against, config)[0]
    lines, found = _told(result, other, config)
    lines, found = [*lines, *left_out], {**found, "left_out": list(left_out)}
    rest = _others(result, config)
    if rest is not None:
        other = None if other is None else other.take(np.flatnonzero(np.isin(other.ids, rest.ids)))
        more, about = _told(rest, other, config)
        count = len(result.ids) - len(rest.ids)
        head = f"Without the {count:,} molecules of {config.group_col} {', '.join(config.without)}:"
        lines, found = [*lines, "", head, *more], {**found, "without": about}
    if config.json is not None:
        write_json(config.json, found)
    if config.out is not None:
        from milbench.data.results import result_table

        write_table(config.out, result_table(result))
        lines.append(f"written: {config.out}")
    return lines, 0


def _read(path: Path, config: ScoreConfig) -> tuple["Result", tuple[str, ...]]:
    from milbench.data.results import Result, folds_in
    from milbench.data.scoring import join_tables
    from milbench.data.tables import read_table

    tasks = load_tasks(config.tasks)
    labels = None if config.labels is None else read_table(config.labels, ("ID",))
    table = read_table(path, ("ID",))
    joined = join_tables(table, labels, tasks)
    what = (path.parent.name or str(path), path.stem, tasks.names)
    return Result(*what, joined.ids, joined.y, joined.p, joined.weights, folds_in(table)), joined.left_out


def _average(parts: "list[tuple[Result, tuple[str, ...]]]", how: str) -> "tuple[Result, tuple[str, ...]]":
    """The average predictions of the molecules that all have; what is left out, in words."""
    import dataclasses

    import numpy as np
    import pandas as pd

    from milbench.data.scoring import averaged

    (first, said), *others = parts
    rows = [pd.Index(other.ids).get_indexer(pd.Index(first.ids)) for other, _ in others]
    there = np.logical_and.reduce([np.full(len(first.ids), True), *(row >= 0 for row in rows)])
    if not there.any():
        raise DataError("--also", "shares no molecule with the predictions", do="average predictions of the same molecules")
    whole = [first.p[there], *(other.p[row[there]] for (other, _), row in zip(others, rows, strict=True))]
    name = "mean" if how == "mean" else "mean logit"
    if others:
        log.info("the %s of %d tables, on the %d molecules that are in all", name, len(parts), int(there.sum()))
    folds = first.folds if all(other.folds == first.folds for other, _ in others) else 0
    run = f"the {name} of {len(parts)}" if others else first.run
    return dataclasses.replace(first.take(np.flatnonzero(there)), run=run, p=averaged(whole, how), folds=folds), said


def _others(result: "Result", config: ScoreConfig) -> "Result | None":
    """The molecules of other groups than those to leave out; None where none are to be."""
    if not config.without:
        return None
    import numpy as np

    from milbench.data.groups import groups_of

    source = config.groups or config.labels
    own = groups_of(Path(source or ""), config.group_col, result.ids)
    missing = sorted(set(config.without) - set(own.tolist()))
    if missing:
        raise ConfigError("--without", f"no molecule has this {config.group_col}", got=", ".join(missing), do="check the list")
    return result.take(np.flatnonzero(~np.isin(own.astype(str), config.without)))


def _told(result: "Result", other: "Result | None", config: ScoreConfig) -> tuple[list[str], dict[str, Any]]:
    """Scores, and the comparison with another run, as lines and as plain JSON types."""
    from milbench.data.comparison import compare
    from milbench.data.scoring import score

    options: dict[str, Any] = {"draws": config.draws, "level": config.level, "seed": config.seed}
    scores = score(result.y, result.p, result.names, result.weights, **options)
    lines, found = scores.lines(), scores.to_dict()
    if other is not None:
        comparison = compare(other, result, **options)
        lines += ["", *comparison.lines()]
        found["against"] = comparison.table.to_dict("records")
    return lines, found
