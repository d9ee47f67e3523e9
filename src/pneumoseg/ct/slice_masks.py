"""The predicted mask, slice by slice, packed: one bit a voxel, one byte more inside a mask.

The probabilities themselves would be four bytes a voxel of the whole volume; they are only needed
inside the mask, where a lesion's score is their mean.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

_LEVELS = 255
"""Probabilities are kept to this many steps."""

Box = tuple[slice, slice, slice]


@dataclass(frozen=True)
class _Packed:
    bits: NDArray[np.uint8]
    levels: NDArray[np.uint8]
    rows: slice
    cols: slice


@dataclass(frozen=True)
class SliceMasks:
    """Masks of the slices that have one; filled with :meth:`add`.

    Attributes:
        shape: (slices, rows, cols) of the volume.
    """

    shape: tuple[int, int, int]
    _planes: dict[int, _Packed] = field(default_factory=dict)

    def add(self, index: int, probabilities: NDArray[np.float32], threshold: float) -> None:
        """Keep the voxels of a slice that reach the threshold.

        Args:
            index: of the slice.
            probabilities: float32 (rows, cols) on the slice's own pixels.
            threshold: a voxel belongs to the mask from it on.
        """
        above = probabilities >= threshold
        rows, cols = np.flatnonzero(above.any(axis=1)), np.flatnonzero(above.any(axis=0))
        if not rows.size:
            return
        box = (slice(int(rows[0]), int(rows[-1]) + 1), slice(int(cols[0]), int(cols[-1]) + 1))
        inside = above[box]
        levels = np.rint(probabilities[box][inside] * _LEVELS).astype(np.uint8)
        self._planes[index] = _Packed(np.packbits(inside), levels, *box)

    def runs(self) -> list[tuple[int, int]]:
        """First and last slice (exclusive) of each unbroken run of slices with a mask."""
        found: list[tuple[int, int]] = []
        for index in sorted(self._planes):
            if found and found[-1][1] == index:
                found[-1] = (found[-1][0], index + 1)
            else:
                found.append((index, index + 1))
        return found

    def unpack(self, start: int, stop: int) -> tuple[Box, NDArray[np.bool_]]:
        """A run of slices, cropped to where its mask lies.

        Returns:
            The box, and the mask, bool of the box's shape.
        """
        planes = [self._planes[index] for index in range(start, stop)]
        rows = slice(min(p.rows.start for p in planes), max(p.rows.stop for p in planes))
        cols = slice(min(p.cols.start for p in planes), max(p.cols.stop for p in planes))
        mask = np.zeros((stop - start, rows.stop - rows.start, cols.stop - cols.start), np.bool_)
        for index, plane in enumerate(planes):
            part = (
                index,
                slice(plane.rows.start - rows.start, plane.rows.stop - rows.start),
                slice(plane.cols.start - cols.start, plane.cols.stop - cols.start),
            )
            shape = mask[part].shape
            inside = np.unpackbits(plane.bits, count=shape[0] * shape[1]).reshape(shape) > 0
            mask[part] = inside
        return (slice(start, stop), rows, cols), mask

    def mean_probabilities(
        self, start: int, labels: NDArray[np.unsignedinteger[Any]], count: int
    ) -> NDArray[np.float64]:
        """Mean probability inside each component of a run of slices.

        Args:
            start: the first slice of the run.
            labels: (slices, rows, cols) of the box of :meth:`unpack`, 0 outside the mask.
            count: how many labels there are beside 0.

        Returns:
            float64 (count + 1,) in [0, 1], by label; 0 for label 0.
        """
        total, voxels = np.zeros(count + 1), np.zeros(count + 1)
        for index, plane in enumerate(labels, start=start):
            owners = plane[plane > 0]  # in the order in which the probabilities were kept
            total += np.bincount(owners, self._planes[index].levels, count + 1)
            voxels += np.bincount(owners, minlength=count + 1)
        return np.asarray(total / np.maximum(voxels, 1) / _LEVELS)
