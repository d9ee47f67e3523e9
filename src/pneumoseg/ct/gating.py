"""Which slices of a volume are suspected: stage one's answers, and what their neighbours say.

One slice alone is easily mistaken: a partial volume of the diaphragm, a bulla, a streak. A
pneumothorax is in several slices, however thin they are. So a slice's logit is

1. averaged with those of its direct neighbours, where these lie within ``NEIGHBOUR_MM``;
2. opened along the volume (Matheron's opening, ``o_i`` the largest over all windows around ``i`` of
   the smallest within a window) with a window of ``SHORTEST_MM``: what stands out in fewer slices
   than that is levelled down to what its neighbours bear out;
3. calibrated to a probability and compared with the threshold.

An opening commutes with a threshold, so step 2 drops exactly those runs of suspected slices that
are shorter than ``SHORTEST_MM``. Slices next to a suspected one are segmented too, so that an
outline is not cut off where stage one begins to doubt. Without positions (a picture) every slice
stands for itself.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pneumoseg.study import Geometry

NEIGHBOUR_MM = 5.0
"""Slices farther apart than a common thick slice show other anatomy: they do not vote together."""
SHORTEST_MM = 5.0
"""Shortest run of suspected slices that is believed."""
MARGIN_SLICES = 1
"""Slices to either side of a suspected one that are segmented with it."""


@dataclass(frozen=True, eq=False)
class SliceGate:
    """The agreement of one volume's slices; made by :meth:`of`.

    Attributes:
        near_next: bool (slices - 1,), whether slice i and i + 1 are neighbours.
        window: how many slices in a row must agree.
    """

    near_next: NDArray[np.bool_]
    window: int

    @classmethod
    def of(
        cls,
        slices: int,
        spacing_mm: tuple[float, float, float] | None,
        geometry: Geometry | None = None,
    ) -> SliceGate:
        """Prepare for a volume.

        Args:
            slices: how many it has.
            spacing_mm: between slices, rows, columns; None where it is not known.
            geometry: of the volume, for the distances of uneven slices.
        """
        if spacing_mm is None or slices < 2:
            return cls(np.zeros(max(slices - 1, 0), dtype=np.bool_), 1)
        steps = np.full(slices - 1, spacing_mm[0])
        if geometry is not None and geometry.slice_offsets_mm is not None:
            steps = np.diff(geometry.slice_offsets_mm)
        needed = math.ceil(SHORTEST_MM / float(np.median(steps)) - 1e-6)
        return cls(steps <= NEIGHBOUR_MM + 1e-6, min(max(1, needed), slices))

    @property
    def reach(self) -> int:
        """How many slices on an answer may still change a slice's own."""
        return 1 + (self.window - 1) + MARGIN_SLICES

    def smoothed(self, logits: NDArray[np.float64]) -> NDArray[np.float64]:
        """Steps 1 and 2.

        Args:
            logits: float64 (m,) of the first m slices; m may be fewer than the volume has, then the
                last :attr:`reach` answers are not yet final.

        Returns:
            float64 (m,).
        """
        near = self.near_next[: logits.size - 1]
        total, count = logits.copy(), np.ones(logits.size)
        total[1:] += np.where(near, logits[:-1], 0.0)
        total[:-1] += np.where(near, logits[1:], 0.0)
        count[1:] += near
        count[:-1] += near
        return _opened(total / count, min(self.window, logits.size))


def with_margin(suspected: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Suspected slices and those next to them, bool (slices,)."""
    widened = suspected.copy()
    for step in range(1, MARGIN_SLICES + 1):
        widened[step:] |= suspected[:-step]
        widened[:-step] |= suspected[step:]
    return widened


def _opened(values: NDArray[np.float64], window: int) -> NDArray[np.float64]:
    """Opening of a sequence with a flat window; only whole windows count."""
    if window == 1:
        return values
    lowest = np.lib.stride_tricks.sliding_window_view(values, window).min(axis=-1)
    padded = np.pad(lowest, window - 1, constant_values=-np.inf)
    return np.asarray(np.lib.stride_tricks.sliding_window_view(padded, window).max(axis=-1))
