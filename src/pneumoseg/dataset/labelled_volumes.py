"""The whole volumes behind a cache of slices, with their truth, one at a time.

Slices of a cache may be a choice; neighbours, lesions and mL need the volume. It is read again from
where ``prepare`` found it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pneumoseg.ct.measure import voxel_volumes_ml
from pneumoseg.dataset.cache import Cache
from pneumoseg.dataset.prepare.volumes import (
    VolumeSourceSettings,
    mask_areas,
    neighbours_most,
    open_pair,
)
from pneumoseg.errors import DataError
from pneumoseg.preprocess import Placement
from pneumoseg.study import Geometry, Source, Volume


@dataclass(frozen=True, eq=False)
class SlicePicture:
    """A volume of one slice, taken as a picture is: its thickness and its place are not known."""

    volume: Volume

    @property
    def source(self) -> Source:
        """Of the volume."""
        return self.volume.source

    @property
    def shape(self) -> tuple[int, int, int]:
        """(1, rows, cols)."""
        return self.volume.shape

    @property
    def spacing_mm(self) -> None:
        """Not known."""

    @property
    def geometry(self) -> Geometry | None:
        """Not known."""

    @property
    def sop_instance_uids(self) -> tuple[str, ...] | None:
        """None."""

    def slices(self, start: int = 0, stop: int | None = None) -> Iterator[NDArray[np.float32]]:
        """Of the volume."""
        return self.volume.slices(start, stop)


@dataclass(frozen=True, eq=False)
class LabelledVolume:
    """One volume with its truth.

    Attributes:
        source: name of the data set.
        anatomy: what the parts were split by.
        volume: its slices are read when they are needed; a single slice is a SlicePicture.
        truth: bool (slices, rows, cols), pleural air.
        smallest_mask_px: pixels of the 512×512 grid from which a slice is positive.
    """

    source: str
    anatomy: str
    volume: Volume
    truth: NDArray[np.bool_]
    smallest_mask_px: int

    @property
    def voxel_ml(self) -> NDArray[np.float64] | None:
        """Of each slice's voxels, float64 (slices,); None of a picture."""
        volume = self.volume
        return voxel_volumes_ml(volume.shape[0], volume.spacing_mm, volume.geometry)

    @property
    def pixels_per_grid_pixel(self) -> float:
        """Source pixels in one pixel of the 512×512 grid."""
        return Placement.letterbox(*self.volume.shape[1:]).source_pixels_per_grid_pixel

    def slice_labels(self) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Whether a slice is positive and whether unambiguous, as in the cache: (slices,)."""
        own = mask_areas(self.truth, self.pixels_per_grid_pixel)
        positive = own >= self.smallest_mask_px
        return positive, positive | ((own == 0) & (neighbours_most(own) == 0))


@dataclass(frozen=True)
class VolumePlace:
    """A volume of the cache that is not yet opened."""

    settings: VolumeSourceSettings
    file: str
    anatomy: str

    def open(self) -> LabelledVolume:
        """Read the mask and open the volume.

        Raises:
            InputError: it cannot be read any more.
        """
        volume, truth = open_pair(self.settings, self.settings.images / self.file)
        if volume.shape[0] == 1:
            volume = SlicePicture(volume)
        return LabelledVolume(
            self.settings.name, self.anatomy, volume, truth, self.settings.smallest_mask_px
        )


def volumes_of(cache: Cache, part: str) -> tuple[VolumePlace, ...]:
    """Volumes of the anatomies of a part, in the cache's order.

    Raises:
        DataError: a volume is no longer where it was.
    """
    sources = {one.name: one for one in map(_settings, cache.about["settings"]["volumes"])}
    anatomies = {cache.rows[row].patient_id for row in cache.part(part)}
    places = dict.fromkeys(
        VolumePlace(sources[row.source], row.file, row.patient_id)
        for row in cache.rows
        if row.patient_id in anatomies
    )
    for place in places:
        path = place.settings.images / place.file
        if not path.is_file():
            raise DataError(
                f"{path} does not exist any more: the volumes that {cache.folder} was prepared "
                "from are needed; run this in the folder where prepare was run, or prepare it again"
            )
    return tuple(places)


def _settings(values: dict[str, Any]) -> VolumeSourceSettings:
    """What ``cache.json`` says of a source, as settings again."""
    kept = {field.name for field in dataclasses.fields(VolumeSourceSettings)}
    known = {name: value for name, value in values.items() if name in kept}
    for name in ("images", "masks"):
        known[name] = Path(known[name])
    known["table"] = None if known["table"] is None else Path(known["table"])
    return VolumeSourceSettings(**known)
