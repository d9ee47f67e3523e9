"""A CT volume that is already in memory, such as a phantom's."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pneumoseg.phantom import CtVolume
from pneumoseg.study import Geometry, Modality, Source


@dataclass(frozen=True, eq=False)
class ArrayVolume:
    """A :class:`~pneumoseg.study.Volume` over an array.

    Attributes:
        hu: float32 (slices, rows, cols) in HU, canonical axes.
        source: where it came from; ``modality`` is CT.
        spacing_mm: between slices, rows, columns; None where it is not known.
        geometry: where the voxels lie; None where it is not known.
        sop_instance_uids: of the slices, or None.
    """

    hu: NDArray[np.float32]
    source: Source
    spacing_mm: tuple[float, float, float] | None = None
    geometry: Geometry | None = None
    sop_instance_uids: tuple[str, ...] | None = None

    @classmethod
    def of_phantom(cls, scan: CtVolume, image_id: str) -> ArrayVolume:
        """A phantom's CT with its place in the body's own coordinates."""
        source = Source(image_id=image_id, modality=Modality.CT)
        return cls(scan.hu, source, scan.spacing_mm, Geometry(phantom_affine(scan)))

    @property
    def shape(self) -> tuple[int, int, int]:
        """(slices, rows, cols)."""
        slices, rows, cols = self.hu.shape
        return slices, rows, cols

    def slices(self, start: int = 0, stop: int | None = None) -> Iterator[NDArray[np.float32]]:
        """Give slices in order: float32 (rows, cols) in HU."""
        yield from self.hu[start:stop]


def phantom_affine(scan: CtVolume) -> NDArray[np.float64]:
    """Canonical index of a phantom's CT to LPS mm, float64 (4, 4); its own z grows to the feet."""
    between, down, across = scan.spacing_mm
    z, y, x = scan.origin_mm
    return np.array(
        [[0, 0, across, x], [0, down, 0, y], [-between, 0, 0, -z], [0, 0, 0, 1]], dtype=np.float64
    )
