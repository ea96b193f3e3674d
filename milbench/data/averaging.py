"""Several models' predictions of the same molecules as one: their mean, their mean logit, or a stack."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from milbench.errors import DataError

log = logging.getLogger(__name__)

WORDS = {"mean": "mean", "logit": "mean logit", "stack": "stack"}
"""What each average is called."""
_LEAST = 1e-7
_C = 0.1  # inverse strength of the penalty on a standardised logit's weight
_EVENTS = 10
"""Molecules of the rarer class that a weight needs (Peduzzi et al. 1996)."""


def averaged(parts: Sequence[np.ndarray], how: str) -> np.ndarray:
    """The average of several models' probabilities [n, T], of one shape: their "mean", or the sigmoid of their mean "logit".

    A logit ranks a rare endpoint by every model: in a mean the one with the largest probabilities decides. Probabilities
    count as between 1e-7 and 1 - 1e-7.
    """
    if how == "mean":
        return np.asarray(np.mean(parts, axis=0))
    return _sigmoid(np.mean([_logit(part) for part in parts], axis=0))


@dataclass(frozen=True)
class Stack:
    """A logistic regression for each of T endpoints that sees the logits of all T endpoints by all M models.

    Stacked generalization (Wolpert 1992): what a model says of one endpoint tells of another, and models differ in what they
    are good at. weights [M T, T], bias [T], for logits as they are; `plain`: endpoints that get the mean of their own logits.
    """

    weights: np.ndarray
    bias: np.ndarray
    plain: tuple[int, ...] = ()

    def __call__(self, parts: Sequence[np.ndarray]) -> np.ndarray:
        """Probabilities [n, T] from those of M models, each [n, T], in the order of the fit."""
        return _sigmoid(_logits(parts) @ self.weights + self.bias)


def fit_stack(parts: Sequence[np.ndarray], y: np.ndarray) -> Stack:
    """A stack of M models' out-of-fold probabilities [n, T] with their labels y [n, T], 0/1/NaN (unknown: left out).

    An endpoint whose rarer class has less than ten molecules a weight gets the mean of its own logits.
    """
    from sklearn.linear_model import LogisticRegression

    x = _logits(parts)
    mean, scale = x.mean(axis=0), np.maximum(x.std(axis=0), 1e-6)
    n_tasks = y.shape[1]
    weights, bias, plain = np.zeros((x.shape[1], n_tasks)), np.zeros(n_tasks), []
    for t in range(n_tasks):
        known = np.isfinite(y[:, t])
        positives = int(y[known, t].sum())
        if min(positives, known.sum() - positives) < _EVENTS * len(weights):
            weights[t::n_tasks, t] = 1 / len(parts)
            plain.append(t)
            continue
        model = LogisticRegression(C=_C, max_iter=1000).fit((x[known] - mean) / scale, y[known, t])
        weights[:, t] = model.coef_[0] / scale
        bias[t] = model.intercept_[0] - mean @ weights[:, t]
    return Stack(weights, bias, tuple(plain))


def told(plain: Sequence[int], names: Sequence[str]) -> None:
    """Say which endpoints a stack had too few molecules for."""
    if plain:
        few = ", ".join(names[t] for t in plain)
        log.info("stack: %s: its mean logit, for the rarer class has less than %d molecules a weight", few, _EVENTS)


def cross_fitted(parts: Sequence[np.ndarray], y: np.ndarray, fold: np.ndarray) -> tuple[np.ndarray, tuple[int, ...]]:
    """Probabilities [n, T] of M models' out-of-fold ones [n, T], each fold's by a stack of the other folds' molecules.

    y [n, T] 0/1/NaN, fold [n]: no label of a fold is seen by the stack that it is scored with. And the endpoints that got
    their mean logit in any fold.
    """
    out, plain = np.empty_like(y, dtype=np.float64), set[int]()
    for k in np.unique(fold):
        own = fold == k
        stack = fit_stack([part[~own] for part in parts], y[~own])
        out[own] = stack([part[own] for part in parts])
        plain.update(stack.plain)
    return out, tuple(sorted(plain))


def _logits(parts: Sequence[np.ndarray]) -> np.ndarray:
    """[n, M T]: the T logits of the first model, then those of the second."""
    p = np.concatenate(parts, axis=1)
    if not np.isfinite(p).all():
        raise DataError("predictions", "NaN or inf", do="a stack needs a prediction of every endpoint by every model")
    return _logit(p)


def _logit(p: np.ndarray) -> np.ndarray:
    from scipy.special import logit

    return np.asarray(logit(np.clip(p, _LEAST, 1 - _LEAST)))


def _sigmoid(x: np.ndarray) -> np.ndarray:
    from scipy.special import expit

    return np.asarray(expit(x))
