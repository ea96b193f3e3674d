"""Sums, softmax and pooling over the instances of each molecule: ragged, never padded."""

import torch
import torch.nn.functional as F
from torch import Tensor

from milbench.models.stacking import one_after_another, over_models, segments_after_another, stacked


def segment_sum(values: Tensor, segment: Tensor, n: int) -> Tensor:
    """Sum the rows of each molecule: values [R, ...], segment [R] -> [n, ...]; an empty bag gives zeros."""
    if stacked():
        return over_models(_sums, values, segment, n)
    return values.new_zeros((n, *values.shape[1:])).index_add(0, segment, values)


def _sums(values: Tensor, segment: Tensor, n: int) -> Tensor:
    return segment_sum(values.flatten(0, 1), segments_after_another(segment, n), len(segment) * n).unflatten(0, (-1, n))


def segment_softmax(scores: Tensor, offsets: Tensor, segment: Tensor) -> Tensor:
    """Softmax over the instances of each molecule; an empty bag yields nothing.

    scores [R, C], offsets [B+1] (rows offsets[b]:offsets[b+1] belong to b), segment [R] -> [R, C], each column summing to 1 per
    molecule.
    """
    if not len(scores):
        return scores
    if stacked():
        return over_models(_softmaxes, scores, offsets, segment)
    highest = torch.segment_reduce(scores.detach(), "max", offsets=offsets, axis=0)
    weights = torch.exp(scores - highest[segment])
    return weights / segment_sum(weights, segment, len(offsets) - 1)[segment]


def _softmaxes(scores: Tensor, offsets: Tensor, segment: Tensor) -> Tensor:
    k, rows = segment.shape
    in_one = one_after_another(offsets, rows), segments_after_another(segment, offsets.shape[1] - 1)
    return segment_softmax(scores.flatten(0, 1), *in_one).unflatten(0, (k, rows))


def segment_max(values: Tensor, offsets: Tensor) -> Tensor:
    """The largest of each column over each molecule's rows: values [R, D], offsets [B+1] -> [B, D]; -inf for an empty bag."""
    if stacked():
        return over_models(_maxima, values, offsets)
    return torch.segment_reduce(values, "max", offsets=offsets, axis=0)


def _maxima(values: Tensor, offsets: Tensor) -> Tensor:
    flat = segment_max(values.flatten(0, 1), one_after_another(offsets, values.shape[1]))
    return flat.unflatten(0, (len(values), -1))


def segment_pool(alpha: Tensor, values: Tensor, segment: Tensor, n: int) -> Tensor:
    """Σ_i alpha_ti·value_i over each molecule: alpha [R, T], values [R, D], segment [R], sorted -> [n, T, D].

    This sum is torch's embedding bag, which never writes the [R, T, D] products: bag (t, b) holds the rows of molecule b,
    weighted by task t's alpha.
    """
    if stacked():
        return over_models(_pooled, alpha, values, segment, n)
    (rows, width), n_tasks = values.shape, alpha.shape[1]
    start = torch.searchsorted(segment, torch.arange(n, device=segment.device))
    bags = start + rows * torch.arange(n_tasks, device=segment.device).unsqueeze(1)
    row = torch.arange(rows, device=segment.device).repeat(n_tasks)
    pooled = F.embedding_bag(row, values, bags.flatten(), mode="sum", per_sample_weights=alpha.T.reshape(-1))
    return pooled.view(n_tasks, n, width).transpose(0, 1)


def _pooled(alpha: Tensor, values: Tensor, segment: Tensor, n: int) -> Tensor:
    in_one = segments_after_another(segment, n)
    return segment_pool(alpha.flatten(0, 1), values.flatten(0, 1), in_one, len(segment) * n).unflatten(0, (-1, n))


def pack(x_pad: Tensor, kpm: Tensor) -> tuple[Tensor, Tensor]:
    """Padded bags as ragged ones: x_pad [B, N, F], kpm [B, N] (True = padding) -> rows [R, F], offsets [B+1]."""
    valid = ~kpm
    offsets = torch.zeros(len(kpm) + 1, dtype=torch.int64, device=kpm.device)
    torch.cumsum(valid.sum(1), 0, out=offsets[1:])
    return x_pad[valid], offsets


def unpack(rows: Tensor, kpm: Tensor) -> Tensor:
    """Ragged values back in their padded places, exact zeros elsewhere: rows [R, C], kpm [B, N] -> [B, N, C]."""
    out = rows.new_zeros((*kpm.shape, rows.shape[1]))
    out[~kpm] = rows
    return out
