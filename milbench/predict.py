"""New molecules in, predictions out: block by block at constant memory, resumed after any kill."""

import logging
import os
import shutil
import time
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from milbench.data.store_blocks import cut
from milbench.errors import ConfigError, DataError, MilbenchError
from milbench.files import atomic_path, make_folder, read_json, sweep_orphans, write_json, write_table
from milbench.predict_blocks import Predictor
from milbench.predict_config import PredictConfig
from milbench.predict_source import identity, open_source
from milbench.progress import progress
from milbench.rerun import alone, refuse_other
from milbench.runlog import versions
from milbench.training.ensemble import Ensemble, load_model

log = logging.getLogger(__name__)

_CONFORMERS = 32
"""A block has at most this many times as many conformers as molecules."""
_COUNTED = ("milbench", "torch", "numpy", "rdkit")
"""Libraries that decide the numbers."""


def predict(config: PredictConfig) -> list[str]:
    """Predict what `config` asks for and give the report's lines.

    Killed at any moment, the same call goes on from the finished blocks and writes the same bytes; predictions that are there
    already are left as they are when they were made by the same models, settings and input, else it is a ConfigError.
    """
    model = load_model(config.model, *config.also)
    asked = {
        "models": [one[:12] for one in model.hashes],
        "input": identity(config),
        "settings": _settings(config),
        "versions": {name: version for name, version in versions().items() if name in _COUNTED},
    }
    speed = ""
    if not _is_done(config, asked):
        outputs = [path.parent for path in (config.out, config.attn_out) if path is not None]
        for folder in (*outputs, config.work):
            make_folder(folder)
        with alone(config.work, "predict"):
            _plan(config, asked, outputs)
            try:
                speed = _work(config, model.to(asked["settings"]["device"]), asked)
            except MilbenchError:
                _forget(config)
                raise
        shutil.rmtree(config.work, ignore_errors=True)
    return _lines(config, read_json(config.about), speed)


def _settings(config: PredictConfig) -> dict[str, Any]:
    names = ("id_col", "conf_col", "smiles_col", "min_similarity", "block")
    return {name: getattr(config, name) for name in names} | {
        "attention": config.attn_out is not None,
        "device": _device(config.nn_accelerator),
    }


def _device(accelerator: str) -> str:
    """cpu or cuda, where repeating gives the same bits too."""
    import torch

    if accelerator not in {"auto", "cpu", "gpu", "cuda"}:
        raise ConfigError("--nn_accelerator", got=accelerator, want="auto, cpu or gpu")
    found = torch.cuda.is_available()
    if accelerator in {"gpu", "cuda"} and not found:
        raise ConfigError("--nn_accelerator", "no CUDA device found", got=accelerator, do="use auto or cpu")
    if accelerator == "cpu" or not found:
        return "cpu"
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    return "cuda"


def _is_done(config: PredictConfig, asked: dict[str, Any]) -> bool:
    """Whether these predictions are there already; what is there and is not ours is an error."""
    outputs = [path for path in (config.out, config.attn_out) if path is not None]
    if config.about.is_file():
        refuse_other(config.about, read_json(config.about)["asked"], asked)
        return all(path.is_file() for path in outputs)
    if not (config.work / "plan.json").is_file():
        there = [path for path in (*outputs, config.left_out, config.store) if path is not None and path.exists()]
        if there:
            raise DataError(there[0], "is there already", do="choose another name, or move it away first")
    return False


def _plan(config: PredictConfig, asked: dict[str, Any], folders: list[Path]) -> None:
    """Note what is asked for, or find it noted; what killed writers left is removed."""
    for folder in (*folders, config.work, config.work / "parts", config.work / "attention"):
        sweep_orphans(folder)
    path = config.work / "plan.json"
    if path.is_file():
        refuse_other(config.work, read_json(path), asked)
    write_json(path, asked)


def _forget(config: PredictConfig) -> None:
    """Remove work in which nothing is finished, so that a mended command line begins anew."""
    unfinished = config.described.with_name(f"{config.described.name}.work")
    begun = (config.work / "parts", unfinished / "shards")
    if not config.described.exists() and not any(any(folder.glob("0*")) for folder in begun):
        for folder in (config.work, unfinished):
            shutil.rmtree(folder, ignore_errors=True)


def _work(config: PredictConfig, model: Ensemble, asked: dict[str, Any]) -> str:
    """Predict the blocks that are not finished, put all together; gives the speed in words."""
    started, fresh = time.monotonic(), 0
    store, dropped = open_source(config, model)
    predictor = Predictor(model, store, config.min_similarity)
    edges = cut(store.offsets, 0, len(store), config.block, config.block * _CONFORMERS)
    names = [f"{i:05d}.parquet" for i in range(len(edges) - 1)]
    parts, attention = ([config.work / kind / name for name in names] for kind in ("parts", "attention"))
    make_folder(parts[0].parent)
    make_folder(attention[0].parent)
    with progress("predict", len(store), int(edges[sum(part.is_file() for part in parts)])) as advance:
        for i, (start, stop) in enumerate(pairwise(edges.tolist())):
            if not parts[i].is_file():
                molecules, conformers = predictor.tables(start, stop, attention=config.attn_out is not None)
                if config.attn_out is not None:
                    write_table(attention[i], conformers)
                write_table(parts[i], molecules)
                fresh += stop - start
            advance(stop, "")
    seconds = time.monotonic() - started
    about = _collect(config, predictor, parts, attention, dropped)
    write_json(config.about, {"asked": asked, **about})
    done = "predicted" if config.source.is_dir() else "described and predicted"
    return f"{fresh:,} molecules {done} in {seconds:.1f} s: {fresh / seconds:,.0f} molecules/s" if fresh else ""


def _collect(
    config: PredictConfig, predictor: Predictor, parts: list[Path], attention: list[Path], dropped: pd.DataFrame
) -> dict[str, Any]:
    """Finished blocks → the tables that were asked for; gives what there is to say about them."""
    counts: Counter[str] = Counter({"rows": len(predictor.store) + len(dropped)})
    left = [dropped]

    def predicted(part: pd.DataFrame) -> pd.DataFrame:
        wrong = part["reason"] != ""
        left.append(part.loc[wrong, ["ID", "reason", "detail"]])
        part = part.loc[~wrong].drop(columns=["reason", "detail"])
        counts.update({"predicted": len(part), "from_2d_alone": np.count_nonzero(part["from_2d_alone"])})
        if "clipped_features" in part:
            counts["clipped"] += int(np.count_nonzero(part["clipped_features"]))
        if "in_domain" in part:
            counts["outside"] += int(np.count_nonzero(~part["in_domain"].to_numpy(bool)))
        return part

    if config.attn_out is not None:
        _join(attention, config.attn_out, lambda part: part)
    _join(parts, config.out, predicted)
    reasons = pd.concat([one for one in left if len(one)] or [dropped], ignore_index=True)
    config.left_out.unlink(missing_ok=True)
    if len(reasons):
        write_table(config.left_out, reasons.reindex(columns=dropped.columns).astype({"row": "Int64"}))
    model = predictor.model
    return {
        "made_from": {"models": [str(path) for path in (config.model, *config.also)], "input": str(config.source)},
        "endpoints": list(model.tasks.names),
        "members": len(model.members),
        "counts": dict(counts),
        "left_out": Counter(reasons["reason"]),
        "in_domain_from": predictor.thresholds if predictor.knows_domain else None,
    }


def _join(parts: list[Path], out: Path, change: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    """One table of all parts, each changed by `change`: one after the other, a row group each."""
    with atomic_path(out) as partial:
        writer = None
        for number, path in enumerate(parts):
            part = change(pd.read_parquet(path))
            if out.suffix == ".csv":
                part.to_csv(partial, index=False, mode="a", header=number == 0)
                continue
            table = pa.Table.from_pandas(part, preserve_index=False)
            writer = writer or pq.ParquetWriter(partial, table.schema.remove_metadata())
            writer.write_table(table.cast(writer.schema))
        if writer is not None:
            writer.close()


def _lines(config: PredictConfig, about: dict[str, Any], speed: str) -> list[str]:
    """What was predicted, for people."""
    n, members = about["counts"], about["members"]
    mean = f", the mean of {members} models" if members > 1 else ""
    lines = [f"{config.out}: {n['predicted']:,} of {n['rows']:,} molecules predicted{mean}"]
    if n["from_2d_alone"]:
        lines.append(f"{n['from_2d_alone']:,} without conformers: from 2D alone (column from_2d_alone)")
    if n.get("clipped"):
        lines.append(
            f"{n['clipped']:,} with a feature beyond what the model is given, which was limited (column clipped_features)"
        )
    if about["in_domain_from"] is not None:
        least = ", ".join(f"{value:.3f}" for value in about["in_domain_from"])
        lines.append(f"{n.get('outside', 0):,} outside the domain (nearest training molecule less similar than {least})")
    if about["left_out"]:
        reasons = ", ".join(f"{reason.replace('_', ' ')} {count}" for reason, count in about["left_out"].items())
        lines.append(f"{sum(about['left_out'].values()):,} not predicted ({reasons}): {config.left_out}")
    if config.attn_out is not None:
        lines.append(f"attention of every conformer: {config.attn_out}")
    if config.store is not None:
        lines.append(f"described molecules: {config.store}")
    return [*lines, speed] if speed else lines
