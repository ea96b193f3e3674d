"""Randomness is a pure function of names and numbers."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from milbench.seeds import stream, stream_seed

names = st.lists(st.integers(0, 99) | st.text(max_size=4), max_size=4)


@given(st.integers(0, 2**31), names)
def test_the_same_names_draw_the_same_whatever_was_drawn_before(seed: int, path: list) -> None:
    first = stream(seed, *path).random(5)
    stream(seed, "something else").random(100)
    np.random.default_rng(0).random(3)
    assert (stream(seed, *path).random(5) == first).all()


@given(st.tuples(st.integers(0, 5), names), st.tuples(st.integers(0, 5), names))
def test_other_names_draw_otherwise(one: tuple, other: tuple) -> None:
    same = stream_seed(one[0], *one[1]) == stream_seed(other[0], *other[1])
    assert same == (repr(one) == repr(other))


def test_a_number_is_not_its_text_and_nothing_runs_together() -> None:
    seeds = [
        stream_seed(0, 1),
        stream_seed(0, "1"),
        stream_seed(0, 1, 1),
        stream_seed(0, 11),
        stream_seed(0, "1", 1),
        stream_seed(1),
    ]
    assert len(set(seeds)) == len(seeds)


def test_a_seed_fits_into_63_bits_and_does_not_depend_on_the_platform() -> None:
    assert stream_seed(0, "sampler", 2, 7) == 3298316556320078912
    assert all(0 <= stream_seed(s) < 2**63 for s in range(200))
