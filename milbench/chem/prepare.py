"""Molecules in, a bag store out: shards computed by processes or by a cluster, resumed after any kill, then put together."""

import dataclasses
import itertools
import logging
import shutil
from pathlib import Path

from milbench.chem.cluster import run_on_cluster
from milbench.chem.compute import Recipe
from milbench.chem.merge import merge
from milbench.chem.select import wanted_columns
from milbench.chem.shards import run_shards
from milbench.chem.work import Work, asked, open_work
from milbench.data.manifest import read_manifest, recipe_there
from milbench.files import make_folder, sweep_orphans
from milbench.plural import plural
from milbench.prepare_config import PrepareConfig
from milbench.progress import progress
from milbench.recipe import RECIPE
from milbench.rerun import alone, refuse_other
from milbench.tasks import load_tasks

log = logging.getLogger(__name__)
_SHOWN = 12


def prepare(config: PrepareConfig) -> list[str]:
    """Make the bag store that `config` asks for and give the report's lines.

    Killed at any moment, the same call goes on from the finished shards and gives the same bytes; a store that is there
    already is left as it is when it was made by the same settings from the same input, else it is a ConfigError.
    """
    tasks, config = load_tasks(config.tasks), as_like(config)
    wanted_columns(config, Recipe.of(config).names)  # an unknown set, or a column of --like, is said before anything is read
    make_folder(config.out.parent)
    wanted = asked(config, tasks)
    if config.out.exists():
        refuse_other(config.out, read_manifest(config.out)["provenance"], wanted)
    else:
        make_folder(config.work)
        with alone(config.work, "prepare"):
            sweep_orphans(config.out.parent)
            work = open_work(config, tasks, wanted)
            _compute(config, work)
            merge(config, tasks, work, wanted)
    shutil.rmtree(config.work, ignore_errors=True)
    return report_lines(config.out)


def as_like(config: PrepareConfig) -> PrepareConfig:
    """With --like, settings that are left at their defaults are those of that store or model, as far as it knows them."""
    recipe = {} if config.like is None else recipe_there(config.like) or {}
    left = {name: recipe[name] for name in RECIPE if name in recipe and getattr(config, name) == getattr(PrepareConfig, name)}
    made = {name: tuple(value) if isinstance(value, list) else value for name, value in left.items()}
    changed = {name: value for name, value in made.items() if value != getattr(config, name)}
    if changed:
        said = (f"{name} {' '.join(map(str, value)) if isinstance(value, tuple) else value}" for name, value in changed.items())
        log.info("prepare: as %s: %s", config.like, ", ".join(said))
    return dataclasses.replace(config, **changed)


def _compute(config: PrepareConfig, work: Work) -> None:
    """Compute the shards that are not finished yet, here or on the cluster."""
    todo = work.unfinished
    there = plural(work.n_rows, "row"), plural(work.n_shards, "shard"), work.n_shards - len(todo)
    log.info("prepare: %s in %s, %d of them finished before", *there)
    finished = max(work.n_rows - len(todo) * config.shard_size, 0) if todo else work.n_rows
    with progress("molecules", work.n_rows, finished) as advance:
        if todo and config.slurm.cluster == "slurm":
            run_on_cluster(config, work, todo, advance)
        elif todo:
            counter = itertools.count(finished + 1)
            run_shards(config, work, todo, lambda: advance(next(counter), ""))


def report_lines(store: Path) -> list[str]:
    """What became of the input's rows, for people; read off a prepared store."""
    manifest = read_manifest(store)
    found, sizes = manifest["prepare"], manifest["counts"]
    lines = [
        f"{store}: {sizes['molecules']} molecules with {sizes['conformers']} conformers, "
        f"{len(manifest['features_2d'])} 2D and {len(manifest['features_3d'])} conformer columns",
        f"of {found['rows']} rows {found['kept']} were kept as written, {found['changed']} changed{_listed(found['changes'])}, "
        f"{sum(found['dropped'].values())} dropped{_listed(found['dropped'])}",
    ]
    if found["duplicates"]:
        lines.append(f"{found['duplicates']} molecules repeat the InChIKey of an earlier one (column duplicate_of)")
    lacking = [f"{name} {n}" for name, n in found["columns_left_out"].items()]
    if lacking:
        named = ", ".join(lacking[:_SHOWN]) + (", …" if len(lacking) > _SHOWN else "")
        lines.append(f"{len(lacking)} columns are left out, not finite in so many molecules: {named} (all: manifest.json)")
    if "float16" in manifest:
        loss = manifest["float16"]
        lines.append(
            f"float16 costs at most {loss['max_error_in_sd']:.2g} standard deviations ({loss['worst_column']}), "
            f"relative error {loss['max_relative_error']:.2g}"
        )
    return [*lines, *manifest["notes"], f"every row's outcome: {store / 'prepare_report.parquet'}"]


_WORDS = {"rewritten": "SMILES made canonical"}


def _listed(counted: dict[str, int]) -> str:
    parts = [f"{_WORDS.get(name, name.replace('_', ' '))} {n}" for name, n in counted.items() if n]
    return f" ({', '.join(parts)})" if parts else ""
