"""Randomness as a pure function of names and numbers: what is drawn never depends on what was drawn before."""

import hashlib
import json

import numpy as np


def stream_seed(seed: int, *names: str | int) -> int:
    """A 63-bit seed for `names` under `seed`; other names, other and independent seeds."""
    digest = hashlib.sha256(json.dumps([seed, *names]).encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1


def stream(seed: int, *names: str | int) -> np.random.Generator:
    """An independent generator for `names` under `seed`, e.g. `stream(0, "sampler", fold, epoch)`."""
    return np.random.default_rng(stream_seed(seed, *names))
