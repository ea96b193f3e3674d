"""Tables that leave a run: attention a conformer, predictions a molecule."""

import numpy as np
import pandas as pd
import torch

from milbench.data.bags import BagData
from milbench.tasks import TaskSet


def attention_table(
    bags: BagData, rows: np.ndarray, probability: np.ndarray, attention: np.ndarray, tasks: TaskSet
) -> pd.DataFrame:
    """One row a conformer of the molecules `rows` [n]: ID, conf_id, pred_<task> and attn_<task> for every task.

    probability [n, T], attention [R, T] (summing to 1 over each molecule), instances molecule after molecule.
    """
    sizes = bags.bag_sizes[rows]
    conformers = bags.rows(torch.from_numpy(rows))[0].numpy()
    table = {"ID": np.repeat(bags.ids[rows], sizes), "conf_id": bags.conf_ids[conformers]}
    repeated = np.repeat(probability, sizes, axis=0)
    table |= {f"pred_{name}": repeated[:, t] for t, name in enumerate(tasks.names)}
    table |= {f"attn_{name}": attention[:, t] for t, name in enumerate(tasks.names)}
    return pd.DataFrame(table)


def prediction_table(bags: BagData, rows: np.ndarray, probability: np.ndarray, tasks: TaskSet) -> pd.DataFrame:
    """One row a molecule: ID, conformers (0: predicted from 2D alone), and its `scored_columns`."""
    table = {"ID": bags.ids[rows], "conformers": bags.bag_sizes[rows]}
    return pd.DataFrame(table | scored_columns(bags, rows, probability, tasks))


def scored_columns(bags: BagData, rows: np.ndarray, probability: np.ndarray, tasks: TaskSet) -> dict[str, np.ndarray]:
    """All that a score needs: pred_<task>, label_<task> (NaN where unknown), weight_<task> where the AP is weighted."""
    columns = {}
    for t, endpoint in enumerate(tasks.endpoints):
        columns[f"pred_{endpoint.name}"], columns[f"label_{endpoint.name}"] = probability[:, t], bags.raw.y[rows, t]
        if endpoint.ap_weighted:
            columns[f"weight_{endpoint.name}"] = bags.raw.w[rows, t]
    return columns
