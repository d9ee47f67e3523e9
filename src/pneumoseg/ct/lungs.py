"""Is there lung in a volume, how much on which side, and where is the middle of the body?

A CT of an abdomen or a head looks, to networks that saw only chests, like some chest. Before a
finding is believed, lung has to be there. The road is classical (thresholds and enclosure, as in
Hu, Hoffman and Reinhardt, IEEE TMI 20(6), 2001), on a coarse copy of the slices (at most 128×128,
one every 2 mm), so that a long series costs little time and memory:

- the *body* is the largest soft region of a slice with what it encloses;
- *enclosed air* is what is darker than ``AIR_HU`` within it;
- *lung tissue* is enclosed air of the density of aerated lung whose neighbours are air too, which
  tells it from gas (bowel, sinuses, pleura: darker) and from the grey rim that all gas has;
- *lungs* are the connected regions of enclosed air that hold enough lung tissue. A pneumothorax is
  part of them, but for a lung that has fallen away as a whole.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Final

import cc3d
import cv2
import numpy as np
from numpy.typing import NDArray

from pneumoseg.ct.measure import voxel_volumes_ml
from pneumoseg.study import Geometry, Side

AIR_HU = -400.0
"""Half-way between lung and soft tissue."""
LUNG_HU = (-960.0, -500.0)
"""Aerated lung, from emphysema to dependent density; gas is darker (-1000)."""
LEAST_LUNG_ML = 100.0
"""A tenth of one lung; the air of a head's sinuses and cells has a rim, but not so much lung."""
LEAST_LUNG_SHARE = 0.05
"""Of the body shown: what counts where there are few slices."""
LEAST_AIR_SHARE = 0.08
"""Of the body on a picture: slices across a chest have 0.13 and more, sinuses in a head 0.05."""
MUCH_AIR_ML = 2000.0
"""So much enclosed gas is no bowel: both lungs have fallen away."""
_LARGEST_SIDE, _PITCH_MM = 128, 2.0
_SEED_ML = 20.0
"""Lung tissue that a region of air must hold to be lung: stool holds less."""
_CONNECTIVITY: Final = 6
_BODY, _GAS, _LUNG = 1, 2, 3

_Codes = NDArray[np.uint8]


@dataclass
class LungFinder:
    """Collects coarse slices of one volume as they pass; :meth:`found` sums up.

    Attributes:
        shape: (slices, rows, cols) of the volume.
        spacing_mm: between slices, rows, columns; None where it is not known.
        geometry: of the volume, or None.
    """

    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float] | None
    geometry: Geometry | None = None
    _planes: dict[int, _Codes] = field(default_factory=dict)

    @cached_property
    def step(self) -> int:
        """Every how many slices one is looked at."""
        if self.spacing_mm is None:
            return 1
        return max(1, round(_PITCH_MM / self.spacing_mm[0]))

    def add(self, index: int, hu: NDArray[np.float32]) -> None:
        """Look at a slice, float32 (rows, cols) in HU; most slices of a thin series are skipped."""
        if index % self.step == 0:
            self._planes[index] = _coded(_coarse(hu))

    def found(self) -> LungField:
        """What the slices showed."""
        indices = np.array(sorted(self._planes), dtype=np.int64)
        codes = np.stack([self._planes[int(index)] for index in indices])
        voxel_ml = voxel_volumes_ml(self.shape[0], self.spacing_mm, self.geometry)
        cell_ml = None
        if voxel_ml is not None:
            pixels = self.shape[1] * self.shape[2] / (codes.shape[1] * codes.shape[2])
            cell_ml = np.add.reduceat(voxel_ml, indices) * pixels  # each stands for its step
        return LungField(self.shape, indices, _only_lungs(codes, cell_ml), codes, cell_ml)


@dataclass(frozen=True, eq=False)
class LungField:
    """The lungs of a volume on a coarse grid; made by :meth:`LungFinder.found`.

    Attributes:
        shape: of the volume.
        indices: int64 (planes,), the slices looked at.
        lungs: bool (planes, height, width).
        codes: uint8 likewise: 0 outside, 1 body, 2 enclosed gas, 3 lung tissue.
        cell_ml: float64 (planes,), volume of a cell; None without spacing.
    """

    shape: tuple[int, int, int]
    indices: NDArray[np.int64]
    lungs: NDArray[np.bool_]
    codes: _Codes
    cell_ml: NDArray[np.float64] | None

    @cached_property
    def is_found(self) -> bool:
        """Whether the volume shows lung, see the constants of this module."""
        body = int(np.count_nonzero(self.codes))
        tissue = np.count_nonzero(self.codes == _LUNG, axis=(1, 2))
        air = np.count_nonzero(self.codes >= _GAS, axis=(1, 2))
        if self.cell_ml is None:  # a picture: its window may be a guess, so any enclosed air counts
            return int(air.sum()) >= LEAST_AIR_SHARE * body > 0
        enough = float(tissue @ self.cell_ml) >= LEAST_LUNG_ML
        much = float(air @ self.cell_ml) >= MUCH_AIR_ML
        return enough or much or int(tissue.sum()) >= LEAST_LUNG_SHARE * body > 0

    @cached_property
    def midlines(self) -> NDArray[np.float64]:
        """Column of the middle of the body in each slice, float64 (slices,).

        The centroid of the body's outline, between slices looked at by interpolation; the middle of
        the picture where no body is seen. An outline stays symmetric where lung and mediastinum do
        not.
        """
        width = self.codes.shape[2]
        columns = (np.arange(width) + 0.5) * (self.shape[2] / width) - 0.5
        by_column = np.count_nonzero(self.codes, axis=1)  # (planes, width)
        cells = by_column.sum(axis=1)
        seen = cells > 0
        if not seen.any():
            return np.full(self.shape[0], (self.shape[2] - 1) / 2)
        middles = (by_column[seen] @ columns) / cells[seen]
        return np.asarray(np.interp(np.arange(self.shape[0]), self.indices[seen], middles))

    def lung_ml(self, side: Side, outside: NDArray[np.bool_] | None = None) -> float | None:
        """Volume of the lung of one side, with its airways; None without spacing.

        Args:
            side: the patient's.
            outside: bool (planes, height, width), cells that are not counted (a pneumothorax).
        """
        if self.cell_ml is None:
            return None
        width = self.codes.shape[2]
        columns = (np.arange(width) + 0.5) * (self.shape[2] / width) - 0.5
        is_left = columns[None, :] > self.midlines[self.indices][:, None]  # (planes, width)
        of_side = is_left if side is Side.LEFT else ~is_left
        counted = self.lungs if outside is None else self.lungs & ~outside
        return float(np.count_nonzero(counted & of_side[:, None, :], axis=(1, 2)) @ self.cell_ml)

    def coarse(self, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """A mask (rows, cols) on the coarse grid: cells that are covered by half or more."""
        height, width = self.codes.shape[1:]
        shares = cv2.resize(mask.astype(np.float32), (width, height), interpolation=cv2.INTER_AREA)
        return np.asarray(shares >= 0.5)


def _coarse(hu: NDArray[np.float32]) -> NDArray[np.float32]:
    """Means over cells, at most 128×128 of them."""
    rows, cols = hu.shape
    scale = min(1.0, _LARGEST_SIDE / max(rows, cols))
    size = (max(1, round(cols * scale)), max(1, round(rows * scale)))
    return np.asarray(cv2.resize(hu, size, interpolation=cv2.INTER_AREA), dtype=np.float32)


def _coded(hu: NDArray[np.float32]) -> _Codes:
    """What each cell of a coarse slice is."""
    body = _body((hu > AIR_HU).astype(np.uint8))
    air = (hu <= AIR_HU) & body
    inner = cv2.erode(air.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    codes = body.astype(np.uint8) * np.uint8(_BODY)
    codes[air] = _GAS
    codes[inner & (hu >= LUNG_HU[0]) & (hu <= LUNG_HU[1])] = _LUNG
    return codes


def _body(soft: _Codes) -> NDArray[np.bool_]:
    """The largest 8-connected soft region, filled."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(soft, connectivity=8)
    filled = np.zeros_like(soft)
    if count > 1:
        largest = 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA]))
        region = (labels == largest).astype(np.uint8)
        contours, _ = cv2.findContours(region, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(filled, contours, -1, 1, cv2.FILLED)
    return np.asarray(filled > 0)


def _only_lungs(codes: _Codes, cell_ml: NDArray[np.float64] | None) -> NDArray[np.bool_]:
    """Regions of enclosed air with enough lung tissue; without spacing, all enclosed air."""
    air = codes >= _GAS
    if cell_ml is None:
        return air
    labels = cc3d.connected_components(air, connectivity=_CONNECTIVITY)
    tissue = np.zeros(int(labels.max()) + 1)
    for plane, is_tissue, volume in zip(labels, codes == _LUNG, cell_ml, strict=True):
        tissue += np.bincount(plane[is_tissue], minlength=tissue.size) * volume
    tissue[0] = 0.0
    return np.asarray((tissue >= _SEED_ML)[labels])
