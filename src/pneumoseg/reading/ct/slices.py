"""A CT volume of DICOM slices, read and brought to HU one slice at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from pneumoseg.errors import InputError
from pneumoseg.reading.ct.header import SliceHeader
from pneumoseg.reading.ct.multiframe import MultiFrameFile, open_multiframe
from pneumoseg.reading.ct.stack import Stack
from pneumoseg.reading.decoding import quiet
from pneumoseg.reading.dicom.display import padding_range
from pneumoseg.reading.dicom.file import parse
from pneumoseg.reading.dicom.pixels import decode
from pneumoseg.reading.file import load
from pneumoseg.reading.hounsfield import AIR_HU, as_hu
from pneumoseg.study import Geometry, Source


@dataclass(frozen=True, eq=False)
class SeriesVolume:
    """Slices of DICOM files; a :class:`~pneumoseg.study.Volume`."""

    source: Source
    stack: Stack
    frames: Mapping[Path, MultiFrameFile] = field(default_factory=dict, repr=False)
    """Of the multi-frame files among them, where their frames lie."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """(slices, rows, cols), canonical axes."""
        return self.stack.shape

    @property
    def spacing_mm(self) -> tuple[float, float, float] | None:
        """Between slices along their normal, rows and columns."""
        return self.stack.spacing_mm

    @property
    def geometry(self) -> Geometry | None:
        """Where the voxels lie."""
        return self.stack.geometry

    @property
    def sop_instance_uids(self) -> tuple[str, ...] | None:
        """Each slice's SOPInstanceUID; None for frames, and where one is missing or comes twice."""
        uids = tuple(one.sop_instance_uid for one in self.stack.slices)
        is_usable = all(uids) and len(set(uids)) == len(uids)
        return uids if is_usable and not self.frames else None

    def slices(self, start: int = 0, stop: int | None = None) -> Iterator[NDArray[np.float32]]:
        """Read slices in order, one at a time: float32 (rows, cols) in HU.

        Raises:
            InputError: a slice cannot be read or decoded; the message names its file.
        """
        for header in self.stack.slices[slice(start, stop)]:
            hu = read_slice(header, self.frames, [])
            yield np.ascontiguousarray(self.stack.axes.view(hu.T[:, :, None])[0])


def open_frames(slices: tuple[SliceHeader, ...]) -> dict[Path, MultiFrameFile]:
    """Open the multi-frame files among the slices' files.

    Raises:
        InputError: the message names the file.
    """
    paths = dict.fromkeys(one.path for one in slices if one.frame is not None)
    opened = {}
    for path in paths:
        with naming(path), quiet():
            opened[path] = open_multiframe(path)
    return opened


def read_slice(
    header: SliceHeader, frames: Mapping[Path, MultiFrameFile], notes: list[str]
) -> NDArray[np.float32]:
    """Read one slice as stored, in HU.

    Args:
        header: of the slice.
        frames: its file where it is a frame.
        notes: receives what had to be decided.

    Returns:
        float32 (rows, cols), stored axes; padding (PS3.3 C.7.5.1.1.2) is air.

    Raises:
        InputError: it cannot be read or decoded; the message names the file.
    """
    with naming(header.path), quiet():
        if header.frame is None:
            dataset = parse(load(header.path))
        else:
            dataset = frames[header.path].frame(header.frame)
        return _hu(dataset, header, notes)


def _hu(dataset: Dataset, header: SliceHeader, notes: list[str]) -> NDArray[np.float32]:
    stored = decode(dataset, notes)
    if stored.values.shape != header.shape:
        raise InputError(
            "the slice has another size than its header had; it was changed while it was read",
            code="damaged",
        )
    slope, intercept = header.rescale or (1.0, 0.0)
    with np.errstate(over="ignore"):
        hu = as_hu(stored.values * slope + intercept)
    padding = padding_range(dataset, stored, notes)
    if padding is not None:
        hu[(stored.values >= padding[0]) & (stored.values <= padding[1])] = AIR_HU
    return hu


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Put the file's name before the message of an InputError: a series has many."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{path.name}: {error}", code=error.code) from error
