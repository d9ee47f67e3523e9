"""The four types that flow through everything: Image, Detection, Mask, Finding.

They are frozen and checked once, when made; code that receives one does not check again. Arrays
inside are never written to after construction. Axis order is always (rows, cols), or (slices, rows,
cols) for CT.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class Units(enum.Enum):
    """What a pixel value means."""

    UNIT_INTERVAL = "unit interval"
    """Display brightness in [0, 1]: 0 black (air), 1 white (bone), as a reader sees the film."""
    HU = "HU"
    """Hounsfield units, CT."""


class Modality(enum.Enum):
    """The kind of examination a bundle is made for."""

    XRAY = "xray"
    CT = "ct"


class Side(enum.Enum):
    """The patient's side, not the viewer's."""

    RIGHT = "right"
    LEFT = "left"


@dataclass(frozen=True)
class Source:
    """Where an image came from; everything but ``image_id`` may be unknown.

    ``patient_orientation`` is DICOM (0020,0020): the patient direction of increasing column and of
    increasing row, e.g. ``("L", "F")``, the usual radiographic display with the patient's left on
    the viewer's right.
    """

    image_id: str
    path: Path | None = None
    modality: Modality = Modality.XRAY
    sop_instance_uid: str | None = None
    series_instance_uid: str | None = None
    study_instance_uid: str | None = None
    patient_id: str | None = None
    view_position: str | None = None
    patient_orientation: tuple[str, str] | None = None
    notes: tuple[str, ...] = ()
    """What the reader had to decide, one sentence each (a missing window, an odd tag)."""


@dataclass(frozen=True, eq=False)
class Geometry:
    """Where the voxels of a CT volume lie in the patient, and how the file stored them.

    The axes of every CT volume here are *canonical*: slice 0 is nearest the head, rows run from
    anterior to posterior, columns from the patient's right to left, each to the nearest axis of the
    patient; voxels are never resampled. ``stored`` is the array as a NIfTI file of the same
    geometry holds it: the input's own for NIfTI, (cols, rows, slices) for a DICOM series.

    Attributes:
        affine: float64 (4, 4), canonical index (slice, row, col, 1) to the patient's mm in DICOM's
            LPS (x to the left, y to posterior, z to the head), voxel centres. Sheared where the
            gantry was tilted. The first and the last slice's positions are exact; see
            ``slice_offsets_mm``.
        stored_axes: canonical axis k is axis ``stored_axes[k]`` of the stored array.
        stored_flips: whether canonical axis k runs against that stored axis.
        slice_offsets_mm: distance of each slice from the first along the normal of the slices,
            increasing, where they are unevenly spaced (a missing slice); None where they are even.
    """

    affine: NDArray[np.float64]
    stored_axes: tuple[int, int, int] = (2, 1, 0)
    stored_flips: tuple[bool, bool, bool] = (False, False, False)
    slice_offsets_mm: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        if self.affine.shape != (4, 4) or not np.isfinite(self.affine).all():
            raise ValueError("the affine of a volume must be (4, 4) and finite")
        if sorted(self.stored_axes) != [0, 1, 2]:
            raise ValueError(f"stored_axes must name axes 0, 1, 2 once each: {self.stored_axes}")
        if self.slice_offsets_mm is not None and not all(np.diff(self.slice_offsets_mm) > 0):
            raise ValueError("slice_offsets_mm must increase")

    def slice_extents_mm(self, slices: int) -> NDArray[np.float64]:
        """The thickness each of a number of slices stands for, float64 (slices,).

        The voxel's extent along the normal of the slices; where slices are uneven, half the way to
        either neighbour, and beyond the first and the last half the usual (median) way. Times the
        two spacings within the slice it is the volume of a voxel, whatever the gantry's tilt.
        """
        if self.slice_offsets_mm is None:
            rows_and_cols = np.prod(np.linalg.norm(self.affine[:3, 1:3], axis=0))
            return np.full(slices, abs(np.linalg.det(self.affine[:3, :3])) / rows_and_cols)
        ways = np.diff(self.slice_offsets_mm)
        usual = np.median(ways)
        return np.asarray((np.append(usual, ways) + np.append(ways, usual)) / 2)


@dataclass(frozen=True, eq=False)
class Image:
    """One film or one volume.

    Attributes:
        pixels: float32, (rows, cols) for an X-ray or (slices, rows, cols) for CT; finite.
        units: unit interval for X-rays, HU for CT.
        spacing_mm: spacing in mm along each axis of ``pixels``, or None when the file does not say.
        source: where it came from.
        geometry: of a CT volume; None for films, and for slices whose place is not known.
    """

    pixels: NDArray[np.float32]
    units: Units
    spacing_mm: tuple[float, ...] | None
    source: Source
    geometry: Geometry | None = None

    def __post_init__(self) -> None:
        if self.pixels.dtype != np.float32:
            raise TypeError(f"pixels must be float32, not {self.pixels.dtype}")
        if self.pixels.ndim not in (2, 3) or min(self.pixels.shape) < 1:
            raise ValueError(
                f"pixels must be (rows, cols) or (slices, rows, cols), not {self.pixels.shape}"
            )
        lowest, highest = self.pixels.min(), self.pixels.max()  # NaN where one pixel is
        if not (np.isfinite(lowest) and np.isfinite(highest)):
            raise ValueError("pixels must be finite")
        if self.units is Units.UNIT_INTERVAL and (lowest < 0 or highest > 1):
            raise ValueError("unit-interval pixels must lie in [0, 1]")
        if self.spacing_mm is not None:
            if len(self.spacing_mm) != self.pixels.ndim:
                raise ValueError(
                    f"one spacing per axis: {self.pixels.ndim} axes, "
                    f"{len(self.spacing_mm)} spacings"
                )
            if not all(np.isfinite(s) and s > 0 for s in self.spacing_mm):
                raise ValueError(f"spacings must be positive millimetres, not {self.spacing_mm}")

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of ``pixels``."""
        return self.pixels.shape


class Volume(Protocol):
    """A CT volume whose slices are read when they are needed, so that memory stays bounded."""

    @property
    def source(self) -> Source:
        """Where it came from; ``modality`` is CT."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """(slices, rows, cols), canonical axes (see :class:`Geometry`)."""

    @property
    def spacing_mm(self) -> tuple[float, float, float] | None:
        """Between slices, rows and columns; None where the file does not say."""

    @property
    def geometry(self) -> Geometry | None:
        """Where the voxels lie; None where it is not known, as for a picture."""

    @property
    def sop_instance_uids(self) -> tuple[str, ...] | None:
        """Each slice's SOPInstanceUID; None where slices have none of their own."""

    def slices(self, start: int = 0, stop: int | None = None) -> Iterator[NDArray[np.float32]]:
        """Read slices in order, one at a time: float32 (rows, cols) in HU, finite.

        Raises:
            InputError: a slice cannot be read or decoded; ``code`` says why.
        """


@dataclass(frozen=True)
class Detection:
    """What stage one predicted: raw logit, calibrated probability in [0, 1], and its threshold."""

    logit: float
    probability: float
    threshold: float

    def __post_init__(self) -> None:
        for name in ("probability", "threshold"):
            value = getattr(self, name)
            if not 0.0 <= value <= 1.0:
                raise ValueError(f"{name} must lie in [0, 1], not {value}")

    @property
    def positive(self) -> bool:
        """Whether the image is suspected and goes on to stage two."""
        return self.probability >= self.threshold


@dataclass(frozen=True, eq=False)
class Mask:
    """A binary mask on the source grid.

    Attributes:
        pixels: bool (rows, cols) or (slices, rows, cols).
        spacing_mm: the image's spacing along each axis, or None.
    """

    pixels: NDArray[np.bool_]
    spacing_mm: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        if self.pixels.dtype != np.bool_:
            raise TypeError(f"a mask must be bool, not {self.pixels.dtype}")
        if self.spacing_mm is not None and len(self.spacing_mm) != self.pixels.ndim:
            raise ValueError(
                f"one spacing per axis: {self.pixels.ndim} axes, {len(self.spacing_mm)} spacings"
            )

    @cached_property
    def area_px(self) -> int:
        """Number of mask pixels (voxels for CT)."""
        return int(np.count_nonzero(self.pixels))

    @property
    def area_mm2(self) -> float | None:
        """Area in mm² at the detector; None where the spacing is unknown, and for CT."""
        if self.spacing_mm is None or self.pixels.ndim != 2:
            return None
        return self.area_px * self.spacing_mm[0] * self.spacing_mm[1]

    @property
    def volume_ml(self) -> float | None:
        """Volume in mL, or None where the spacing is unknown; CT only."""
        if self.spacing_mm is None or self.pixels.ndim != 3:
            return None
        return self.area_px * float(np.prod(self.spacing_mm)) / 1000.0


@dataclass(frozen=True, eq=False)
class Lesion:
    """One connected component: its mask, the mean probability inside it, the patient's side."""

    mask: Mask
    score: float
    side: Side | None


@dataclass(frozen=True)
class Provenance:
    """What made a finding: names and versions, so that a number can be traced a year later."""

    bundle: str
    bundle_version: str
    software_version: str
    runtime: str
    precision: str
    device: str = "cpu"


@dataclass(frozen=True, eq=False)
class Finding:
    """The result for one image.

    ``mask`` is None when stage two was not run; an empty mask means it ran and found nothing.
    ``lesions`` are disjoint and their union is ``mask``. ``probability_map`` (float32 in [0, 1],
    source grid) is kept only when asked for.
    """

    source: Source
    shape: tuple[int, ...]
    detection: Detection
    mask: Mask | None
    lesions: tuple[Lesion, ...]
    provenance: Provenance
    seconds: float = 0.0
    probability_map: NDArray[np.float32] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.mask is None and self.lesions:
            raise ValueError("a finding without a mask cannot have lesions")
        if self.mask is not None and self.mask.pixels.shape != self.shape:
            raise ValueError(
                f"mask {self.mask.pixels.shape} is not on the image's grid {self.shape}"
            )
