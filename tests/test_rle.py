"""The challenge's run lengths: to the letter, both ways, any size."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray

from pneumoseg import rle
from pneumoseg.errors import InputError, RunLengthError

_REAL = Path(__file__).parents[1].parent / "shared" / "data" / "siim" / "train-rle.csv"

_masks = arrays(np.bool_, array_shapes(min_dims=2, max_dims=2, max_side=17))


def test_the_official_format_by_hand() -> None:
    """Column by column, 0-based, each start counted from the end of the run before."""
    mask = np.array(
        [
            [0, 1, 0, 1],
            [1, 1, 0, 0],
            [1, 0, 0, 1],
        ],
        dtype=np.bool_,
    )
    # columns: 0 1 1 | 1 1 0 | 0 0 0 | 1 0 1: runs 1-4, 9, 11 -> gaps 1, 4, 1 and lengths 4, 1, 1
    assert rle.encode(mask) == "1 4 4 1 1 1"
    assert np.array_equal(rle.decode("1 4 4 1 1 1", (3, 4)), mask)


@given(_masks)
def test_round_trip_of_any_size(mask: NDArray[np.bool_]) -> None:
    text = rle.encode(mask)
    decoded = rle.decode(text, mask.shape)
    assert np.array_equal(decoded, mask)
    assert decoded.dtype == np.bool_ and decoded.flags.c_contiguous
    assert rle.encode(decoded) == text


@given(_masks)
def test_the_string_means_what_a_plain_reading_says(mask: NDArray[np.bool_]) -> None:
    """An independent, pixel by pixel reading of the string gives the same mask."""
    flat = [False] * mask.size
    numbers = [] if rle.is_empty(rle.encode(mask)) else list(map(int, rle.encode(mask).split()))
    position = 0
    for start, length in zip(numbers[::2], numbers[1::2], strict=True):
        position += start
        for pixel in range(position, position + length):
            flat[pixel] = True
        position += length
    assert np.array_equal(np.array(flat).reshape(mask.shape[::-1]).T, mask)


@given(_masks, st.randoms(use_true_random=False))
@settings(max_examples=50, deadline=None)
def test_the_rows_of_an_image_unite(mask: NDArray[np.bool_], random: object) -> None:
    """Annotations that overlap or touch are one mask; an empty row among them changes nothing."""
    keep = np.array([random.random() < 0.5 for _ in range(mask.size)])  # type: ignore[attr-defined]
    one, other = mask & keep.reshape(mask.shape), mask & ~keep.reshape(mask.shape)
    texts = [rle.encode(one), " -1", rle.encode(mask & one), rle.encode(other)]
    assert np.array_equal(rle.decode_union(texts, mask.shape), mask)


@pytest.mark.parametrize(
    ("mask", "text"),
    [
        (np.ones((1, 1)), "0 1"),
        (np.zeros((1, 1)), "-1"),
        (np.ones((3, 5)), "0 15"),
        (np.pad([[1]], ((0, 2), (0, 1))), "0 1"),
        (np.pad([[1]], ((2, 0), (1, 0))), "5 1"),
        (np.array([[0, 1], [1, 0]]), "1 2"),
        (np.array([[1, 0, 0, 1]]), "0 1 2 1"),
        (np.array([[1], [0], [0], [1]]), "0 1 2 1"),
    ],
    ids=["1x1", "1x1-empty", "full", "first", "last", "across-columns", "one-row", "one-column"],
)
def test_edges_of_the_grid(mask: NDArray[np.float64], text: str) -> None:
    assert rle.encode(mask.astype(np.bool_)) == text
    assert np.array_equal(rle.decode(text, mask.shape), mask.astype(np.bool_))


def test_touching_runs_are_one_lesion() -> None:
    """A run that starts where the one before ends (start 0) leaves no hole and no double count."""
    assert np.array_equal(rle.decode("1 2 0 2", (6, 1))[:, 0], [False, *[True] * 4, False])
    assert rle.encode(rle.decode("1 2 0 2", (6, 1))) == "1 4"


@pytest.mark.parametrize("text", ["-1", " -1", "-1 ", "\t-1\n"])
def test_minus_one_is_the_empty_mask(text: str) -> None:
    """The real CSV writes it with a leading space."""
    assert rle.is_empty(text)
    mask = rle.decode(text, (4, 3))
    assert mask.shape == (4, 3) and not mask.any()


def test_white_space_around_runs_is_ignored() -> None:
    assert np.array_equal(rle.decode("  1  2 ", (4, 1)), rle.decode("1 2", (4, 1)))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "in pairs 'start length'.*got 0 numbers"),
        ("3", "got 1 numbers"),
        ("1 2 3", "got 3 numbers"),
        ("1 two", "whole numbers in pairs.*'1 two'"),
        ("1.0 2", "whole numbers"),
        ("nan", "whole numbers"),
        ("99999999999999999999 1", "whole numbers|does not fit"),
        ("-2 3", "starts of 0 or more"),
        ("2 0", "lengths of 1 or more"),
        ("2 -1", "lengths of 1 or more"),
        ("-1 -1", "starts of 0 or more"),
        ("0 13", "13 pixels does not fit a grid of 12"),
        ("9223372036854775807 9223372036854775807", "does not fit a grid of 12"),
        ("11 2", "end at pixel 13 but the grid has 12; were they written on another size"),
        ("12 1", "end at pixel 13"),
    ],
)
def test_malformed_run_lengths_say_what_is_wrong(text: str, words: str) -> None:
    with pytest.raises(RunLengthError, match=words) as caught:
        rle.decode(text, (3, 4))
    assert isinstance(caught.value, InputError)
    assert caught.value.code == "bad-run-length"


def test_the_last_pixel_is_inside_and_the_next_is_not() -> None:
    assert rle.decode("11 1", (3, 4))[2, 3]


@pytest.mark.parametrize(
    "view",
    [
        np.asfortranarray,
        lambda mask: mask[::-1][::-1],
        lambda mask: np.repeat(mask, 2, axis=0)[::2],
        lambda mask: np.repeat(mask, 2, axis=1)[:, ::2],
    ],
)
def test_the_layout_in_memory_does_not_matter(view: Callable[..., NDArray[np.bool_]]) -> None:
    """Breaks if OpenCV, which transposes, reads a view as if it were whole."""
    mask = np.random.default_rng(5).random((70, 90)) > 0.7
    assert rle.encode(view(mask)) == rle.encode(mask)


def test_encode_refuses_a_stack() -> None:
    with pytest.raises(ValueError, match="rows, cols"):
        rle.encode(np.zeros((2, 3, 4), dtype=np.bool_))


def test_arguments_stay_as_they_are() -> None:
    mask = np.eye(5, dtype=np.bool_)
    mask.setflags(write=False)
    rle.encode(mask)
    rle.encode(mask[::2, 1:])  # a view is as good as an array
    assert np.array_equal(mask, np.eye(5, dtype=np.bool_))


@pytest.mark.skipif(not _REAL.is_file(), reason="the SIIM masks are not on this machine")
def test_every_real_row_comes_back_to_the_letter() -> None:
    with _REAL.open(newline="") as file:
        texts = [row[1].strip() for row in list(csv.reader(file))[1:]]
    assert len(texts) > 1700
    for text in texts:
        assert rle.encode(rle.decode(text, (1024, 1024))) == text
