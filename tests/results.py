"""Results as runs leave them, small."""

import numpy as np
import pandas as pd

from milbench.data.results import OUT_OF_FOLD, Result


def make_result(seed: int = 0, n: int = 120, run: str = "a", skill: float = 1.0, missing: float = 0.1) -> Result:
    """Two endpoints, the first with a weighted AP; higher `skill`, better predictions. Labels depend on nothing."""
    labels, rng = np.random.default_rng(0), np.random.default_rng([seed, 1])
    y = (labels.random((n, 2)) < 0.3).astype(float)
    y[labels.random(y.shape) < missing] = np.nan
    p = 1 / (1 + np.exp(-(rng.normal(size=y.shape) + skill * np.nan_to_num(y))))
    weights = np.stack([labels.uniform(0.2, 2, n), np.full(n, np.nan)], axis=1)
    return Result(run, OUT_OF_FOLD, ("one", "two"), np.array([f"M{i}" for i in range(n)], object), y, p, weights)


def table_of(result: Result) -> pd.DataFrame:
    """As `milbench run` writes it."""
    columns = {"ID": result.ids}
    for t, name in enumerate(result.names):
        columns |= {f"pred_{name}": result.p[:, t], f"label_{name}": result.y[:, t]}
    return pd.DataFrame(columns | {"weight_one": result.weights[:, 0]})
