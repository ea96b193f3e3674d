"""The whole way in one call: data, study, final model, attention against the planted truth."""

import logging
from pathlib import Path

import numpy as np
import pandas as pd

from milbench.data.assemble import load_tables
from milbench.data.attention import key_hits
from milbench.data.demo import ABOUT, make_demo, write_demo
from milbench.data.store import conformer_table, load_store, save_store
from milbench.errors import DataError
from milbench.files import make_folder, read_array, read_json, sweep_orphans, write_json
from milbench.pipeline import MILPipelineOrchestrator
from milbench.progress import progress
from milbench.report import final_lines
from milbench.run_config import FINAL_FOLDER, PipelineConfig
from milbench.tasks import EUOS25, TaskSet
from milbench.training.checkpoint import load_checkpoint

log = logging.getLogger(__name__)

PINS = (
    "batch_size=64",
    "accumulate_grad_batches=1",
    "mol_layers=2",
    "inst_layers=3",
    "mixer_layers=3",
    "mol_hidden=128",
    "inst_hidden=128",
    "mixer_hidden=128",
    "proj_dim=256",
    "head_num_layers=2",
)
"""A few hundred molecules want small models and many small steps; what else there is, the study searches."""

_INSTANCE_TABLES = ("feat3d.parquet", "feat3d_qm.parquet")


def run_demo(out: Path, molecules: int = 600, trials: int = 3, seed: int = 0, workers: int | None = None) -> list[str]:
    """Make what is not there yet in `out` and give the report's lines; a demo of other settings there is a DataError."""
    study = PipelineConfig(
        study_dir=out / "study",
        store=out / "store",
        run_hpo=True,
        trials=trials,
        folds=3,
        max_epochs=32,
        patience=10,
        seed=seed,
        fix=PINS,
    )
    study.cv_run({})  # its settings are checked before the molecules cost time
    make_folder(out)
    sweep_orphans(out)
    settings = {"molecules": molecules, "seed": seed}
    _same_demo(out / "demo.json", settings)
    log.info("demo: %s", ABOUT)
    tables, store = out / "tables", out / "store"
    if not (tables / "about.json").is_file():
        with progress("molecules and conformers", molecules) as advance:
            made = make_demo(molecules, seed, workers, lambda done, _: advance(done, ""))
        write_json(out / "demo.json", settings)
        write_demo(made, out)
    if not store.is_dir():
        make_store(tables, store)
    report = MILPipelineOrchestrator(study).run()
    return [
        *final_lines(report, study.study_dir),
        "",
        *key_lines(out, EUOS25),
        "",
        "All endpoints of this demo are simulated; the molecules are real.",
        f"Tables: {tables}    Bag store: {store}",
        "Next, your own tables:",
        "  milbench run --labels labels.parquet --feat2d_scaled feat2d.parquet --feat3d_scaled feat3d.parquet \\",
        "    --study_dir runs/mine --run_hpo",
    ]


def _same_demo(path: Path, wanted: dict[str, int]) -> None:
    if path.is_file() and read_json(path) != wanted:
        raise DataError(path.parent, "holds a demo with other settings", got=str(read_json(path)), do="choose another --out")


def make_store(tables: Path, store: Path) -> None:
    """The bag store of the demo's tables, with the planted key conformers and the coordinates."""
    bags = load_tables(
        tables / "labels.parquet", tables / "feat2d.parquet", [tables / name for name in _INSTANCE_TABLES], EUOS25
    )
    truth = pd.read_parquet(tables / "conformers.parquet").astype({"ID": str, "conf_id": str})
    coordinates = read_array(tables / "coordinates.npy"), read_array(tables / "coordinate_offsets.npy")
    if not conformer_table(bags)[["ID", "conf_id"]].equals(truth[["ID", "conf_id"]]):
        raise DataError(tables, "conformers are not in the order of the feature tables", do="delete this folder and run again")
    save_store(
        store,
        bags,
        EUOS25,
        provenance=read_json(tables / "about.json"),
        conformers=truth,
        coordinates=coordinates,
        units={"coordinates": "angstrom", "huckel_gap_true": "|beta|"},
    )


def key_lines(out: Path, tasks: TaskSet) -> list[str]:
    """How often the most attended conformer is the planted key, against chance: held-out molecules, and all."""
    bags, _ = load_store(out / "store")
    conformers = pd.read_parquet(out / "store" / "conformers.parquet")
    trained = load_checkpoint(out / "study" / FINAL_FOLDER / "best_model.ckpt")
    attention = trained.evaluator(bags).predict(np.arange(len(bags))).attention
    bag = np.repeat(np.arange(len(bags)), bags.bag_sizes)
    held_out = (bags.split == "leaderboard")[bag]
    lines = ["Is the most attended conformer the one that made the molecule positive (planted, so it is known)?"]
    for title, chosen in (("leaderboard", held_out), ("all molecules", np.ones(len(bag), dtype=bool))):
        hits = key_hits(conformers.loc[chosen], attention[chosen], bag[chosen], tasks.names)
        if hits.empty:
            lines.append(f"  {title}: no positive with more than one conformer")
            continue
        found, chance = hits["hit"].mean(), hits["chance"].mean()
        lines.append(f"  {title}: {found:.0%} of {len(hits)} positives, chance {chance:.0%}, {found / chance:.1f} times chance")
    return lines
