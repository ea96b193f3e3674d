"""What is to be predicted as an opened bag store, whatever form it came in, described as the model's own molecules were."""

import dataclasses
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from milbench.columns import Columns
from milbench.data.assemble import TableOptions, load_tables
from milbench.data.labelled import SMILES_COLUMNS
from milbench.data.manifest import MODEL, read_manifest
from milbench.data.store import save_store
from milbench.data.store_blocks import StoreBlocks
from milbench.data.tables import open_table
from milbench.errors import ConfigError
from milbench.files import file_hash, write_json
from milbench.predict_config import PredictConfig
from milbench.prepare_config import PrepareConfig
from milbench.recipe import RECIPE
from milbench.training.ensemble import Ensemble

log = logging.getLogger(__name__)


def identity(config: PredictConfig) -> dict[str, Any]:
    """What the input is: a store's content, or the names and hashes of its files. Plain JSON types."""
    if config.source.is_dir():
        return {"store": read_manifest(config.source)["content"]}
    return {path.name: file_hash(path) for path in (config.source, *config.instances)}


def open_source(config: PredictConfig, model: Ensemble) -> tuple[StoreBlocks, pd.DataFrame]:
    """The molecules as a store, made first where they come as SMILES or tables; and the rows that did not become molecules.

    These, [k]: row (1-based), ID, reason, detail, source. A killed preparation goes on where it stopped.
    """
    nothing = pd.DataFrame(columns=["row", "ID", "reason", "detail", "source"])
    if config.source.is_dir():
        return StoreBlocks(config.source), nothing
    store = config.described
    if config.instances:
        if not store.is_dir():
            _from_tables(config, model, store)
        return StoreBlocks(store), nothing
    _prepare(config, model, store)
    rows = pq.read_table(store / "prepare_report.parquet", filters=[("outcome", "==", "dropped")])
    return StoreBlocks(store), rows.select(nothing.columns.tolist()).to_pandas()


def _prepare(config: PredictConfig, model: Ensemble, store: Path) -> None:
    """SMILES or .sdf through `milbench prepare` with the model's recipe; empty bags stay."""
    from milbench.chem.prepare import prepare

    names2d, names_inst = model.features
    flat = model.conformers == 0  # conformers that it is not given need not be made
    recipe = model.recipe
    if recipe is None:
        what = "the model was trained on tables: how to make its features is not known"
        do = f"give tables with its {len(names2d)} + {len(names_inst)} columns (--instances), or a bag store"
        raise ConfigError(config.source, what, do=do)
    _say_differences(config, recipe)
    write_json(config.work / "tasks.json", model.tasks.to_dict())
    about = {
        "features_2d": list(names2d),
        "features_3d": [] if flat else list(names_inst),
        "content": model.members[0].info["data"],
    }
    write_json(config.work / MODEL, about)
    settings: dict[str, Any] = {name: recipe[name] for name in RECIPE}
    settings |= {name: tuple(settings[name]) for name in ("sets_2d", "sets_3d")}
    settings |= {"conformers": 0} if flat else {}
    asked = PrepareConfig(
        source=config.source,
        out=store,
        tasks=str(config.work / "tasks.json"),
        like=config.work,
        id_col=config.id_col,
        smiles_col=config.smiles_col,
        keep_empty_bags=True,
        processes=config.processes,
        **settings,
    )
    _, outcome, *_ = prepare(asked)
    log.info("prepare: %s", outcome)


def _say_differences(config: PredictConfig, recipe: dict[str, Any]) -> None:
    import rdkit

    if recipe["rdkit"] not in {"", rdkit.__version__}:
        versions = recipe["rdkit"], rdkit.__version__
        log.warning("the model's features were made with RDKit %s, these are with %s: descriptors may differ", *versions)
    if recipe["own_coordinates"] != (config.source.suffix == ".sdf"):
        made = "brought by an .sdf", "made by ETKDG"
        there, here = made if recipe["own_coordinates"] else made[::-1]
        log.warning("the model was trained on conformers %s, these are %s", there, here)


def _from_tables(config: PredictConfig, model: Ensemble, store: Path) -> None:
    """A 2D table and conformer tables; labels are not needed, molecules without conformers stay."""
    columns = Columns(id=config.id_col, conf=config.conf_col)
    table = open_table(config.source, (config.id_col,))
    unknown = {columns.split: "train"} | {endpoint.label: np.nan for endpoint in model.tasks.endpoints}
    labels = pd.DataFrame({config.id_col: table.text(config.id_col)}).assign(**unknown)
    for name in SMILES_COLUMNS:
        if name in table.names:
            labels[name] = table.column(name).to_pandas()
    options = TableOptions(columns, keep_empty_bags=True, allow_missing_features=True)
    bags = load_tables(labels, config.source, config.instances, model.tasks, options)
    for note in bags.notes:
        log.info("data: %s", note)
    bags = bags.with_features(*model.features, config.source)
    save_store(store, dataclasses.replace(bags, content=""), model.tasks, provenance=bags.provenance)
