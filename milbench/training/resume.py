"""Exact resume of one training: all that it is after a step of the optimizer in one file, plain types and tensors.

Resumed, a training gives the weights, metrics and logits of the uninterrupted one, bit for bit (on one CPU thread count).
"""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import lightning
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor, nn

from milbench.configs import HPOConfig
from milbench.data.cv import FoldData
from milbench.errors import DataError, StudyError
from milbench.files import content_hash, make_folder, read_tensors, write_tensors
from milbench.stopping import StopRequest, stop_signals
from milbench.tasks import TaskSet
from milbench.training.memory import peak_memory_mb

log = logging.getLogger(__name__)

FORMAT = 1
EVERY_S = 30.0
"""Seconds between two checkpoints of a training."""
_LARGEST_SHARE = 0.02
"""Checkpoints that take long are made less often, so that they never cost more than this share of the time."""
_ANEW = "delete it to train anew"


class _Stateful(Protocol):
    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state_dict: dict[str, Any]) -> None: ...


def identity(fold: FoldData, config: HPOConfig, tasks: TaskSet) -> dict[str, Any]:
    """What must be the same for a training to go on: data, molecules, scaling, tasks, seed, numerics, hyperparameters."""
    bags, runtime, scaler = fold.bags, config.runtime, fold.stats.scale2d
    scaling = "none" if scaler is None else scaler.scaling.words + ("" if scaler.fill is None else ", imputed")
    arrays = (bags.x2d.numpy(), bags.xinst.numpy(), bags.offsets.numpy(), *vars(bags.raw).values())
    return {
        "data": bags.content or content_hash(*arrays),
        "molecules": content_hash(fold.train, fold.val)[:16],
        "fold": fold.number,
        "scaling": scaling,
        "tasks": content_hash(text=repr(tasks.to_dict()))[:16],
        "seed": runtime.seed,
        "precision": runtime.precision,
        "devices": runtime.devices,
        **config.to_params(tasks),
    }


def difference_to(path: Path, about: dict[str, Any]) -> str:
    """How the training in the file `path` differs from the one that `about` identifies; "" if it does not, or there is none."""
    if not path.is_file():
        return ""
    saved = read_tensors(path, do=_ANEW)
    if saved.get("format") != FORMAT:
        raise DataError(path, "is not a training of this version", do=_ANEW)
    there = saved["identity"]
    differ = [name for name in {**there, **about} if there.get(name) != about.get(name)]
    return "; ".join(f"{name}: {there.get(name)!r} there, {about.get(name)!r} here" for name in differ)


class _Trained(Protocol):
    """What is kept of a module: its model, the losses of the epoch so far, whether its batches are halved."""

    losses: list[Tensor]
    halved: bool

    @property
    def model(self) -> nn.Module: ...

    @property
    def label(self) -> str: ...

    @property
    def trainer(self) -> lightning.Trainer: ...

    def steps_at(self, batch_idx: int) -> bool: ...


class TrainingCheckpoint(Callback):
    """Keeps a training in the file `path`: every `every_s` seconds (0: at every step of its optimizer), when a stop is asked
    for (then it leaves), and at its end.

    Without a path it keeps nothing but time and memory. `about` is the training's `identity`, `keeps` are the callbacks whose
    state belongs to it. It begins at batch `batch` of epoch `epoch`: at the start, or after `restore` where it was; it may be
    `done` already.
    """

    def __init__(self, path: Path | None, about: dict[str, Any], module: _Trained, every_s: float, **keeps: _Stateful) -> None:
        self.path, self.about, self.module, self.every_s, self.keeps = path, about, module, every_s, keeps
        self.stop = StopRequest(defer=True)
        self.epoch = self.batch = 0
        self.done = False
        self._state: dict[str, Any] = {}
        self._before, self._peak = 0.0, 0.0
        self._started = self._saved = time.perf_counter()
        self._pause = every_s
        if path is not None:
            make_folder(path.parent)

    @property
    def seconds(self) -> float:
        """Time spent on this training, earlier parts included."""
        return self._before if self.done else self._before + time.perf_counter() - self._started

    @property
    def peak_memory_mb(self) -> float:
        """The highest peak of all its parts."""
        return self._peak if self.done else max(self._peak, peak_memory_mb())

    def restore(self) -> None:
        """Take over what the file holds, if there is one; a StudyError says how it differs from this training."""
        if self.path is None or not self.path.is_file():
            return
        difference = difference_to(self.path, self.about)
        if difference:
            raise StudyError(self.path, f"is another training ({difference})", do=_ANEW)
        saved = read_tensors(self.path, do=_ANEW)
        if saved["torch"] != str(torch.__version__):
            log.warning("%s: from torch %s, goes on with %s, not bit for bit", self.path, saved["torch"], torch.__version__)
        self.epoch, self.batch, self.done = saved["epoch"], saved["batch"], saved["done"]
        self._before, self._peak, self._state = saved["seconds"], saved["peak_memory_mb"], saved["state"]
        self.module.halved, self.module.losses = saved["halved"], list(saved["losses"])
        if self._state:
            self.module.model.load_state_dict(self._state["model"])
        for name, part in self.keeps.items():
            part.load_state_dict(saved[name])
        where = "was trained before" if self.done else f"goes on at epoch {self.epoch + 1}, batch {self.batch + 1}"
        log.info("%s: %s", self.module.label, where)

    @contextmanager
    def stoppable(self) -> Iterator[StopRequest]:
        """As long as the context lasts, a stop that is asked for waits until the training is saved, where it keeps a file."""
        if self.path is None:
            yield self.stop
            return
        with stop_signals(defer=True) as self.stop:
            yield self.stop

    def on_train_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Take over the optimizer's state, and the signals that Lightning has taken for itself."""
        if self.path is not None:
            self.stop.listen()
        if self._state:
            trainer.optimizers[0].load_state_dict(self._state["optimizer"])
            trainer.precision_plugin.load_state_dict(self._state["precision"])
            self._state = {}

    def on_train_epoch_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Between two epochs: the last one's validation is over, early stopping has had its say."""
        if trainer.current_epoch > self.epoch:
            self._pass(trainer, trainer.current_epoch, 0)

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Within an epoch, where the optimizer has stepped; after its last batch validation comes first."""
        if self.module.steps_at(batch_idx) and batch_idx + 1 < trainer.num_training_batches:
            self._pass(trainer, trainer.current_epoch, batch_idx + 1)

    def _pass(self, trainer: lightning.Trainer, epoch: int, batch: int) -> None:
        """Here a training can be saved and left: save it when it is time to, and leave it when that was asked for."""
        if self.path is None:
            return
        now = time.perf_counter()
        leave = trainer.strategy.reduce_boolean_decision(self.stop.asked is not None, all=False)
        if not leave and now - self._saved < self._pause:
            return
        self.epoch, self.batch = epoch, batch
        optimizer, precision = trainer.optimizers[0].state_dict(), trainer.precision_plugin.state_dict()
        self._write(self.path, {"model": self.module.model.state_dict(), "optimizer": optimizer, "precision": precision})
        self._saved = time.perf_counter()
        self._pause = max(self.every_s, (self._saved - now) / _LARGEST_SHARE) if self.every_s else 0.0
        if leave:
            log.info("%s: saved at epoch %d, batch %d", self.module.label, epoch + 1, batch + 1)
            self.stop.leave()

    def finish(self) -> None:
        """The training is done: what it found stays in the file."""
        self._before, self._peak, self.done = self.seconds, self.peak_memory_mb, True
        if self.path is not None:
            self._write(self.path, {})

    def _write(self, path: Path, state: dict[str, Any]) -> None:
        if not self.module.trainer.is_global_zero:
            return
        losses = self.module.losses
        content = {
            "format": FORMAT,
            "torch": str(torch.__version__),
            "identity": self.about,
            "epoch": self.epoch,
            "batch": self.batch,
            "done": self.done,
            "seconds": self.seconds,
            "peak_memory_mb": self.peak_memory_mb,
            "halved": self.module.halved,
            "losses": torch.stack([loss.cpu() for loss in losses]) if losses else torch.empty(0),
            "state": state,
            **{name: part.state_dict() for name, part in self.keeps.items()},
        }
        write_tensors(path, content)
