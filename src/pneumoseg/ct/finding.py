"""The result for one CT volume; what :class:`pneumoseg.study.Finding` is for a film.

Lesions are kept cropped, so that a finding of a long series is small;
:meth:`VolumeFinding.as_finding` gives the same with whole masks, for code that takes a Finding.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pneumoseg.ct.lesions import VolumeLesion
from pneumoseg.study import (
    Detection,
    Finding,
    Geometry,
    Lesion,
    Mask,
    Provenance,
    Side,
    Source,
)

BOTH_SIDES = "both"


@dataclass(frozen=True, eq=False)
class VolumeFinding:
    """What was found in one volume.

    Attributes:
        source: where it came from, with what was noticed on the way.
        shape: (slices, rows, cols), canonical axes.
        spacing_mm: between slices, rows, columns; None where it is not known.
        geometry: where the voxels lie; None for a picture.
        sop_instance_uids: of the slices, where they have their own.
        detection: the volume's, the highest of its slices' after smoothing over neighbours.
        slice_probabilities: float64 (slices,), in [0, 1].
        segmented: bool (slices,), which slices went through stage two.
        lesions: largest first; disjoint, their union is the mask.
        hemithorax_shares: pneumothorax / (pneumothorax + aerated lung), by side, in [0, 1].
        provenance: what made it.
        seconds: reading included.
    """

    source: Source
    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float] | None
    geometry: Geometry | None
    sop_instance_uids: tuple[str, ...] | None
    detection: Detection
    slice_probabilities: NDArray[np.float64]
    segmented: NDArray[np.bool_]
    lesions: tuple[VolumeLesion, ...]
    hemithorax_shares: Mapping[Side, float]
    provenance: Provenance
    seconds: float

    @property
    def volume_ml(self) -> float | None:
        """Of all lesions, 0 for none; None where the spacing is not known."""
        if self.spacing_mm is None:
            return None
        return sum(lesion.volume_ml or 0.0 for lesion in self.lesions)

    @property
    def voxels(self) -> int:
        """Of all lesions."""
        return sum(lesion.voxels for lesion in self.lesions)

    @property
    def side(self) -> str | None:
        """``right``, ``left`` or ``both`` of the patient; None for no lesion, or where unknown."""
        sides = {lesion.side.value for lesion in self.lesions if lesion.side is not None}
        return BOTH_SIDES if len(sides) == 2 else next(iter(sides), None)

    @property
    def share_of_hemithorax(self) -> float | None:
        """The larger of the sides' shares; None where there is none."""
        return max(self.hemithorax_shares.values(), default=None)

    @property
    def greatest_thickness_mm(self) -> float | None:
        """Of all lesions; None for none, and where the spacing is not known."""
        known = [x.greatest_thickness_mm for x in self.lesions]
        return max((value for value in known if value is not None), default=None)

    @property
    def first_slice(self) -> int | None:
        """Index of the first slice with a lesion, from 0; None for none."""
        return min((lesion.first_slice for lesion in self.lesions), default=None)

    @property
    def last_slice(self) -> int | None:
        """Index of the last slice with a lesion."""
        return max((lesion.last_slice for lesion in self.lesions), default=None)

    def as_finding(self) -> Finding:
        """The same with whole masks (slices, rows, cols): a byte a voxel for each lesion."""
        united = np.zeros(self.shape, dtype=np.bool_)
        lesions = []
        for lesion in self.lesions:
            pixels = np.zeros(self.shape, dtype=np.bool_)  # untouched pages stay unmapped
            pixels[lesion.box] = lesion.inside
            united[lesion.box] |= lesion.inside
            lesions.append(Lesion(Mask(pixels, self.spacing_mm), lesion.score, lesion.side))
        was_run = bool(self.segmented.any())
        return Finding(
            source=self.source,
            shape=self.shape,
            detection=self.detection,
            mask=Mask(united, self.spacing_mm) if was_run else None,
            lesions=tuple(lesions),
            provenance=self.provenance,
            seconds=self.seconds,
        )
