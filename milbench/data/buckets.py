"""A few common sizes for batches of many: shapes that repeat can be recorded once, and stacked."""

from bisect import bisect_left
from functools import cache

_MULTIPLE, _STEP, _LARGEST = 64, 1.08, 1 << 40


@cache
def _sizes() -> tuple[int, ...]:
    sizes = [_MULTIPLE]
    while sizes[-1] < _LARGEST:
        sizes.append(max(sizes[-1] + _MULTIPLE, int(sizes[-1] * _STEP) // _MULTIPLE * _MULTIPLE))
    return tuple(sizes)


def bucket(rows: int) -> int:
    """The smallest common size that holds `rows`: multiples of 64, each 64 or at most 8 % above the one before."""
    return _sizes()[bisect_left(_sizes(), rows)]
