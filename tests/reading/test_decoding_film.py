"""What holds for a film of any format."""

from __future__ import annotations

import numpy as np
import pytest

from pneumoseg.errors import InputError
from pneumoseg.reading.decoding import check_contrast, check_size, grey_of


@pytest.mark.parametrize(
    ("rows", "cols", "code"),
    [
        (0, 100, "damaged"),
        (100, -1, "damaged"),
        (63, 2000, "too-small"),
        (2000, 63, "too-small"),
        (20_001, 64, "too-large"),
        (64, 20_001, "too-large"),
        (10_001, 10_000, "too-large"),  # within both sides, but a bomb in all
    ],
)
def test_sizes_that_no_film_has(rows: int, cols: int, code: str) -> None:
    with pytest.raises(InputError) as caught:
        check_size(rows, cols)
    assert caught.value.code == code


def test_the_smallest_and_the_largest_film_pass() -> None:
    check_size(64, 64)
    check_size(10_000, 10_000)
    check_size(20_000, 5_000)


@pytest.mark.parametrize(("dtype", "step"), [(np.uint8, 1), (np.uint16, 257)])
def test_grey_stored_as_colours_may_differ_by_three_levels(dtype: type, step: int) -> None:
    colours = np.full((4, 4, 3), 100 * step, dtype=dtype)
    colours[1, 1] = np.array([103, 101, 100]) * step
    assert grey_of(colours)[1, 1] == 101 * step  # the green channel
    colours[1, 1, 0] = 104 * step
    with pytest.raises(InputError) as caught:
        grey_of(colours)
    assert caught.value.code == "colour-image"


def test_one_pixel_that_differs_is_something_to_see() -> None:
    pixels = np.full((64, 64), 0.5, dtype=np.float32)
    with pytest.raises(InputError) as caught:
        check_contrast(pixels)
    assert caught.value.code == "constant-image"
    pixels[0, 0] = 0.6
    check_contrast(pixels)
