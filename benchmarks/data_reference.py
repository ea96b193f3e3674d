"""Loading, sampling and exporting as one would write them first: pandas, one molecule at a time, one batch at a time.

The yardsticks of `data.py`, and no part of the library.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from torch import Tensor

from milbench.configs import SamplerConfig
from milbench.data.composition import sample_weights, scaled_quota
from milbench.tasks import EUOS25


@dataclass
class Molecule:
    """One molecule: its 2D vector, its conformers' vectors and names, its targets."""

    id: str
    x2d: np.ndarray
    conformers: np.ndarray
    conf_ids: list[str]
    targets: dict[str, float]


def load_molecules(labels: Path, feat2d: Path, instances: Sequence[Path]) -> list[Molecule]:
    """Read the tables, join the instance tables on (ID, conf_id), and make an object of each molecule."""
    label_table: Any = pd.read_parquet(labels)
    table2d: Any = pd.read_parquet(feat2d).set_index("ID")
    joined: Any = pd.read_parquet(instances[0])
    for path in instances[1:]:
        joined = joined.merge(usable(pd.read_parquet(path)), on=["ID", "conf_id"])
    features = [name for name in joined.columns if name not in ("ID", "conf_id")]
    bags = dict(iter(joined.groupby("ID")))
    wanted = [name for name in EUOS25.target_columns if name in label_table.columns]
    out = []
    for _, row in label_table.iterrows():
        if row["ID"] not in bags or row["ID"] not in table2d.index:
            continue
        bag = bags[row["ID"]]
        out.append(
            Molecule(
                id=str(row["ID"]),
                x2d=table2d.loc[row["ID"]].to_numpy(dtype=np.float32),
                conformers=bag[features].to_numpy(dtype=np.float32),
                conf_ids=bag["conf_id"].astype(str).tolist(),
                targets={name: float(row[name]) for name in wanted},
            )
        )
    return out


def usable(table: Any) -> Any:
    """Rows of a QM table whose calculation ended well."""
    for name in ("status", "error"):
        if name in table.columns:
            table = table[table[name] == ("ok" if name == "status" else "")].drop(columns=name)
    return table


def balanced_batches(y: np.ndarray, config: SamplerConfig, batch_size: int, seed: int) -> Iterator[list[int]]:
    """Seed 4.3, steps 4 to 7, batch by batch: reserved places, other positives by weight, negatives, shuffled. y [n, T]."""
    rng, weights = np.random.default_rng(seed), sample_weights(y, config)
    positive = [i for i in range(len(y)) if (y[i] == 1).any()]
    negative = [i for i in range(len(y)) if not (y[i] == 1).any()]
    members = {t: [i for i in positive if y[i, t] == 1] for t in range(y.shape[1])}
    several = [i for i in positive if (y[i] == 1).sum() >= 2]
    order = sorted(members, key=lambda t: len(members[t]))
    quotas = config.quota_per_256 or (0.0,) * y.shape[1]
    wanted = [(members[t], quotas[t]) for t in order] + [(several, config.quota_multi_per_256)]

    def draw(pool: list[int], count: int) -> list[int]:
        share = weights[pool] / weights[pool].sum()
        return rng.choice(pool, size=count, p=share).tolist()

    n_pos = min(max(config.min_pos_per_batch, round(batch_size * config.batch_pos_fraction), 1), batch_size - 1)
    for _ in range(-(-len(y) // batch_size)):
        batch: list[int] = []
        for pool, per_256 in wanted:
            places = min(scaled_quota(per_256, batch_size), n_pos - len(batch))
            if pool and places:
                batch += draw(pool, places)
        batch += draw(positive, n_pos - len(batch))
        batch += rng.choice(negative, size=batch_size - n_pos).tolist()
        rng.shuffle(batch)
        yield batch


def attention_rows(
    ids: Sequence[str], conf_ids: Sequence[np.ndarray], probability: Tensor, attention: Tensor, tasks: Sequence[str]
) -> pd.DataFrame:
    """A row a conformer, appended molecule by molecule. probability [M, T], attention [M, T, N], padded."""
    rows = []
    for m, molecule in enumerate(ids):
        for i, conf_id in enumerate(conf_ids[m]):
            row: dict[str, Any] = {"ID": molecule, "conf_id": conf_id}
            for t, name in enumerate(tasks):
                row[f"pred_{name}"] = probability[m, t].item()
                row[f"attn_{name}"] = attention[m, t, i].item()
            rows.append(row)
    return pd.DataFrame(rows)
