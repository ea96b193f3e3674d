"""`milbench score`: how good predictions are, alone, averaged, against others, with and without groups of molecules."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from milbench.errors import ConfigError
from milbench.flags import Average, OptionalPath
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
    average: Average = "mean"
    """Of probabilities; of their logits, so that every model ranks a rare endpoint alike; or a stack: a logistic regression an
    endpoint, of all endpoints' logits by all models, fitted on the other folds (with few positives: the mean logit)."""
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

    results, left = zip(*(_read(path, config) for path in (config.predictions, *config.also)), strict=True)
    result, left_out = _average(results, config.average), left[0]
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
    from milbench.data.results import Result, fold_of
    from milbench.data.scoring import join_tables
    from milbench.data.tables import read_table

    tasks = load_tasks(config.tasks)
    labels = None if config.labels is None else read_table(config.labels, ("ID",))
    table = read_table(path, ("ID",))
    joined = join_tables(table, labels, tasks)
    what = (path.parent.name or str(path), path.stem, tasks.names)
    return Result(*what, joined.ids, joined.y, joined.p, joined.weights, fold_of(table, joined.ids)), joined.left_out


def _average(results: "Sequence[Result]", how: str) -> "Result":
    """The average predictions of the molecules that all have."""
    import dataclasses

    from milbench.data.averaging import WORDS, averaged, cross_fitted, told
    from milbench.data.results import aligned, common_fold, out_of_fold

    if how != "stack" and len(results) == 1:
        return results[0]
    same = aligned(results)
    first, fold = same[0], common_fold(same)
    log.info("the %s of %d tables, on the %d molecules that are in all", WORDS[how], len(same), len(first.ids))
    parts = [result.p for result in same]
    if how == "stack":
        p, plain = cross_fitted(parts, first.y, out_of_fold(same))
        told(plain, first.names)
    else:
        p = averaged(parts, how)
    return dataclasses.replace(first, run=f"the {WORDS[how]} of {len(same)}", p=p, fold=fold)


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
