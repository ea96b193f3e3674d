"""The learning rate over a training, `lr_schedule`: it follows from how far that is, so a resumed one goes on at its rate."""

import math
from typing import Any

from milbench.configs import OptimizationConfig

_WARM_UP = 0.15
_FIRST = 1 / 25
_MOMENTUM = (0.85, 0.95)


def set_learning_rate(group: dict[str, Any], config: OptimizationConfig, done: float, epochs: int | None) -> None:
    """Give a parameter group of AdamW the rate, and with onecycle the β1, of a step after `done` of `epochs` epochs."""
    share, beta1 = _SCHEDULES[config.lr_schedule](done / epochs if epochs else 0.0)
    group["lr"] = config.lr * share
    if beta1 is not None:
        group["betas"] = (beta1, group["betas"][1])


def _constant(_: float) -> tuple[float, float | None]:
    return 1.0, None


def _cosine(done: float) -> tuple[float, float | None]:
    """(1 + cos(π·done)) / 2 of lr (Loshchilov and Hutter 2017)."""
    return _falling(done), None


def _onecycle(done: float) -> tuple[float, float | None]:
    """From lr/25 up to lr over the first 15 %, then down to 0, β1 the other way, 0.95 to 0.85 (Smith and Topin 2019)."""
    up = 1 - _falling(done / _WARM_UP) if done < _WARM_UP else _falling((done - _WARM_UP) / (1 - _WARM_UP))
    low, high = _MOMENTUM
    return (_FIRST + (1 - _FIRST) * up if done < _WARM_UP else up), high - (high - low) * up


def _falling(x: float) -> float:
    return (1 + math.cos(math.pi * x)) / 2


_SCHEDULES = {"constant": _constant, "cosine": _cosine, "onecycle": _onecycle}
