"""Run lengths as the SIIM-ACR challenge writes them, vectorised, both directions.

Format (the challenge's ``mask_functions.py``): pairs ``start length``; the image is read column by
column (transposed); starts are 0-based and *relative*, each counted from the end of the run before;
``-1`` (with or without a leading space) is the empty mask. Several rows of one image are several
annotations and unite to one mask.
"""

from __future__ import annotations

from collections.abc import Iterable

import cv2
import numpy as np
from numpy.typing import NDArray

from pneumoseg.errors import RunLengthError

EMPTY = "-1"
"""What the challenge writes for an image without pneumothorax."""


def encode(mask: NDArray[np.bool_]) -> str:
    """Write a mask as relative run lengths.

    Args:
        mask: bool (rows, cols), any size.

    Returns:
        ``"start length start length ..."`` or ``"-1"`` when the mask is empty. The string holds no
        grid size: it is decoded on the same (rows, cols).
    """
    if mask.ndim != 2:
        raise ValueError(f"a mask must be (rows, cols), not {mask.shape}")
    used = np.flatnonzero(mask.any(axis=0))
    if not used.size:
        return EMPTY
    # Only the columns from the first to the last touched one: transposing them is what costs time.
    first, last = int(used[0]), int(used[-1]) + 1
    touched = np.asarray(mask[:, first:last], dtype=np.bool_).view(np.uint8)
    columns = np.asarray(cv2.transpose(touched)).reshape(-1)
    edges = np.flatnonzero(columns[1:] != columns[:-1]) + 1
    if columns[0]:
        edges = np.concatenate(([0], edges))
    if edges.size % 2:
        edges = np.concatenate((edges, [columns.size]))
    # Edges alternate run start, run end: their differences alternate start or gap, length, ...
    numbers = np.diff(edges, prepend=0)
    numbers[0] += first * mask.shape[0]
    return " ".join(map(str, numbers.tolist()))


def is_empty(text: str) -> bool:
    """Whether a cell says «no pneumothorax» (``-1``, with any white space around it)."""
    return text.strip() == EMPTY


def decode(text: str, shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Read relative run lengths.

    Args:
        text: one cell of an ``EncodedPixels`` column.
        shape: (rows, cols) of the grid the runs were written on.

    Returns:
        bool (rows, cols), C-contiguous.

    Raises:
        RunLengthError: not whole numbers, an odd count, a negative start, a length below 1, or runs
            past the grid.
    """
    rows, cols = shape
    mask = np.zeros((rows, cols), dtype=np.bool_)
    if is_empty(text):
        return mask
    starts, ends = _runs(text, mask.size)
    # Only the columns from the first to the last touched one are filled and transposed.
    first, last = int(starts[0]) // rows, -(-int(ends[-1]) // rows)
    edges = np.empty(2 * starts.size + 2, dtype=np.int64)
    edges[0], edges[-1] = first * rows, last * rows
    edges[1:-1:2], edges[2:-1:2] = starts, ends
    inside = np.zeros(edges.size - 1, dtype=np.bool_)
    inside[1::2] = True  # gap, run, gap, run, ..., gap; touching runs leave a gap of no pixels
    columns = np.repeat(inside, np.diff(edges)).reshape(last - first, rows)  # (cols, rows)
    mask[:, first:last] = columns.T
    return mask


def decode_union(texts: Iterable[str], shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Unite the rows of one image to its mask; see :func:`decode` for shapes and errors."""
    united = np.zeros(shape, dtype=np.bool_)
    for text in texts:
        if not is_empty(text):
            united |= decode(text, shape)
    return united


def _runs(text: str, size: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Absolute starts and ends (exclusive), checked against a grid of ``size`` pixels."""
    words = text.split()
    try:
        numbers = np.array(words, dtype=np.int64)
    except (ValueError, OverflowError) as error:
        raise RunLengthError(
            f"run lengths must be whole numbers in pairs 'start length', got {text.strip()[:40]!r}"
        ) from error
    if numbers.size == 0 or numbers.size % 2:
        raise RunLengthError(
            "run lengths come in pairs 'start length' (or -1 for no mask), "
            f"got {numbers.size} numbers"
        )
    if (numbers[0::2] < 0).any() or (numbers[1::2] < 1).any():
        raise RunLengthError("run lengths need starts of 0 or more and lengths of 1 or more")
    if (numbers > size).any():
        raise RunLengthError(
            f"a run of {int(numbers.max())} pixels does not fit a grid of {size} pixels"
        )
    edges = np.cumsum(numbers)
    if edges[-1] > size:
        raise RunLengthError(
            f"the runs end at pixel {int(edges[-1])} but the grid has {size}; "
            "were they written on another size?"
        )
    return edges[0::2], edges[1::2]
