"""The models of K folds as one: weights in one storage with an axis K in front, one pass for all of them."""

from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from milbench.data.bags import BagBatch
from milbench.data.targets import Targets
from milbench.models.mil import MILTaskAttnMixerWithAux

_BATCH = [f.name for f in fields(BagBatch) if f.name != "targets"]
_OWN = {"milbench", "torch"}


def why_not_stacked(models: Sequence[nn.Module]) -> str:
    """Why these models cannot be computed as one; "" where they can."""
    foreign = sorted({type(part).__name__ for part in models[0].modules() if type(part).__module__.split(".")[0] not in _OWN})
    if foreign:
        return f"{foreign[0]} is a part of your own"
    shapes = [{name: value.shape for name, value in model.state_dict().items()} for model in models]
    differ = sorted({name for one in shapes for name in one if one[name] != shapes[0][name]})
    return f"{differ[0]} has another shape in another fold" if differ else ""


def stacked_batch(batches: Sequence[BagBatch]) -> BagBatch:
    """Batches of as many molecules and rows each as one with an axis K in front of every tensor."""
    targets = [batch.targets for batch in batches if batch.targets is not None]
    y = Targets(*(_stack(targets, f.name) for f in fields(Targets))) if targets else None
    return _batch([_stack(batches, name) for name in _BATCH], y)


def _batch(tensors: Sequence[Tensor], targets: Targets | None = None) -> BagBatch:
    return BagBatch(**dict(zip(_BATCH, tensors, strict=True)), targets=targets)  # type: ignore[arg-type]


def _stack(parts: Sequence[Any], name: str) -> Tensor:
    return torch.stack([getattr(part, name) for part in parts])


class _Loss(nn.Module):
    """What functional_call needs: a module whose forward is the loss, or the logits where there are no targets."""

    def __init__(self, model: MILTaskAttnMixerWithAux) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: tuple[Tensor, ...], targets: tuple[Tensor, ...]) -> Tensor:
        if targets:
            return self.model.loss(_batch(batch, Targets(*targets))).total
        return self.model.predict(_batch(batch))[0].float()


class StackedModels:
    """K models of one shape. Their parameters become views of one storage: what is stepped in them is stepped here.

    Each model's losses, gradients and logits are those that it would give alone, whatever the others are.
    """

    def __init__(self, models: Sequence[MILTaskAttnMixerWithAux]) -> None:
        self.models = list(models)
        self.parameters = {name: self._shared(name) for name, _ in models[0].named_parameters()}
        self.buffers = {
            name: _stack_of([dict(m.named_buffers())[name] for m in models]) for name, _ in models[0].named_buffers()
        }
        self._run = _Loss(self.models[0])

    def _shared(self, name: str) -> Tensor:
        own = [model.get_parameter(name) for model in self.models]
        storage = _stack_of(own)
        for parameter, view in zip(own, storage, strict=True):
            parameter.data, parameter.grad = view, None
        return storage.requires_grad_(own[0].requires_grad)

    def losses(self, batch: BagBatch) -> Tensor:
        """The loss of each model on its own part of a stacked batch, [K]."""
        assert batch.targets is not None
        return self._over_models(batch, tuple(getattr(batch.targets, f.name) for f in fields(Targets)))

    def logits(self, batch: BagBatch) -> Tensor:
        """The logits of each, [K, B, T]."""
        return self._over_models(batch, ())

    def _over_models(self, batch: BagBatch, targets: tuple[Tensor, ...]) -> Tensor:
        def one(weights: dict[str, Tensor], *given: tuple[Tensor, ...]) -> Tensor:
            return functional_call(self._run, {f"model.{name}": value for name, value in weights.items()}, given)

        run: Callable[..., Tensor] = vmap(one, randomness="different")
        return run(self.parameters | self.buffers, tuple(getattr(batch, name) for name in _BATCH), targets)

    def hand_out(self, due: Sequence[int]) -> None:
        """Give the models at these places their gradients, the others none, so that an optimizer leaves them as they are."""
        for name, storage in self.parameters.items():
            for k, model in enumerate(self.models):
                own = k in due and storage.grad is not None
                model.get_parameter(name).grad = storage.grad[k] if own else None  # type: ignore[index]

    def clear(self, places: Sequence[int]) -> None:
        """Forget the gradients of the models at these places."""
        for storage in self.parameters.values():
            if storage.grad is None or len(places) == len(self.models):
                storage.grad = None
            else:
                for k in places:
                    storage.grad[k].zero_()


def _stack_of(values: Sequence[Tensor]) -> Tensor:
    return torch.stack([value.detach() for value in values])
