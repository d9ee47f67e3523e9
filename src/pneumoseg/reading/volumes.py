"""Finds and opens CT volumes: DICOM series, NIfTI files, pictures of slices.

:func:`find_volumes` looks at headers only; :func:`open_volume` gives a
:class:`~pneumoseg.study.Volume` whose slices are read when they are asked for. Whatever the format,
axes are canonical (:class:`~pneumoseg.study.Geometry`) and values are HU.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Literal

import numpy as np

from pneumoseg.errors import InputError
from pneumoseg.preprocess import Window
from pneumoseg.reading.ct.header import SPLITTING, CtFile, SliceHeader, read_header
from pneumoseg.reading.ct.picture import open_picture
from pneumoseg.reading.ct.series import Part, parts_of
from pneumoseg.reading.ct.slices import SeriesVolume, naming, open_frames, read_slice
from pneumoseg.reading.ct.stack import order
from pneumoseg.reading.decoding import quiet
from pneumoseg.reading.dicom.file import MAX_NOTES, USABLE_ID
from pneumoseg.reading.file import Format, load, look
from pneumoseg.reading.hounsfield import check_hu
from pneumoseg.reading.nifti import open_nifti
from pneumoseg.reading.walk import walk
from pneumoseg.study import Image, Modality, Source, Units, Volume

HEADER_READERS = 4
"""Threads that read headers: waiting for a disk or a network, not computing."""
HEADERS_AHEAD = 256
_NIFTI_ENDINGS = (".nii.gz", ".nii")


@dataclass(frozen=True)
class VolumeInput:
    """One CT volume that was found and not yet opened.

    Attributes:
        path: the file, or the folder in which all its files lie.
        kind: what it is made of.
        series_instance_uid: None where there is none.
        files: its files; in no order for a series.
        name: printable: the SeriesInstanceUID (``_part2`` behind it for the second volume of a
            series that holds several), or the file's stem.
        part: the attribute and value that tell its slices from the rest of the series, if any.
        notes: what was found while grouping, one sentence each.
    """

    path: Path
    kind: Literal["series", "nifti", "picture"]
    series_instance_uid: str | None
    files: tuple[Path, ...]
    name: str
    part: tuple[str, str] | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class VolumeFailure:
    """A file, or the files of a series, that cannot be used, and why: a row of ``failures.csv``."""

    path: Path
    code: str
    message: str


def find_volumes(paths: Sequence[str | Path]) -> Iterator[VolumeInput | VolumeFailure]:
    """Find the CT volumes among files and below folders.

    Every NIfTI file and every picture is a volume of its own and comes as it is met; DICOM files
    are grouped by series wherever they lie, and come when all were seen, in the order of the first
    file of each study and series. Pixels are not read, but for slices that lie at the same place.

    Memory grows with the number of DICOM files, by about one kilobyte each.

    Args:
        paths: files and folders, checked at once.

    Raises:
        UsageError: a path does not exist, or none is given.
    """
    return volumes_among(walk(paths))


def open_volume(found: VolumeInput, *, window: Window | None = None) -> Volume:
    """Open a volume; its slices are read when they are asked for.

    The first slice of a series is decoded here already, so that a compression that is not read
    shows at once.

    Args:
        found: from :func:`find_volumes`.
        window: the window a picture was made with; not used for the other kinds.

    Raises:
        InputError: with one of the codes of :mod:`pneumoseg.reading`.
    """
    if found.kind == "nifti":
        volume: Volume = open_nifti(found.path, found.name)
    elif found.kind == "picture":
        volume = open_picture(load(found.path), found.path, found.name, window)
    else:
        volume = _open_series(found)
    return volume


def read_volume(found: VolumeInput | str | Path, *, window: Window | None = None) -> Image:
    """Read a whole volume into memory.

    Args:
        found: from :func:`find_volumes`, or a file or folder that holds one volume.
        window: the window a picture was made with.

    Returns:
        HU (slices, rows, cols), float32, canonical axes.

    Raises:
        InputError: with one of the codes of :mod:`pneumoseg.reading`; ``several-volumes`` where the
            path holds more than one.
        UsageError: the path does not exist.
    """
    volume = open_volume(found if isinstance(found, VolumeInput) else _only(found), window=window)
    pixels = np.empty(volume.shape, dtype=np.float32)
    for index, one in enumerate(volume.slices()):
        pixels[index] = one
    return Image(pixels, Units.HU, volume.spacing_mm, volume.source, volume.geometry)


def _only(path: str | Path) -> VolumeInput:
    found = list(find_volumes([path]))
    volumes = [one for one in found if isinstance(one, VolumeInput)]
    if len(volumes) > 1:
        raise InputError(
            f"{path} holds {len(volumes)} volumes; give one of them (find_volumes lists them)",
            code="several-volumes",
        )
    if volumes:
        return volumes[0]
    for failure in found:
        if isinstance(failure, VolumeFailure):
            raise InputError(failure.message, code=failure.code)
    raise InputError(f"{path} holds no file; give a folder with a CT", code="not-ct")


def volumes_among(files: Iterable[Path]) -> Iterator[VolumeInput | VolumeFailure]:
    """Find the CT volumes among files that are listed already; see :func:`find_volumes`."""
    paths = iter(files)
    dicom: list[CtFile] = []
    with ThreadPoolExecutor(HEADER_READERS) as pool:
        while some := list(islice(paths, HEADERS_AHEAD)):
            for one in pool.map(_look, some):
                if isinstance(one, CtFile):
                    dicom.append(one)
                else:
                    yield one
    for part in parts_of(dicom):
        if isinstance(part, Part):
            yield _found(part)
        else:
            yield VolumeFailure(_common(part.paths), part.code, part.message)


def _look(path: Path) -> CtFile | VolumeInput | VolumeFailure:
    """What one file is, by its first bytes and, of DICOM, its header."""
    try:
        head, kind = look(path)
        if kind is Format.DICOM:
            with quiet():
                return read_header(path, head)
    except InputError as error:
        return VolumeFailure(path, error.code, str(error))
    if kind is Format.NIFTI:
        return VolumeInput(path, "nifti", None, (path,), _stem(path))
    return VolumeInput(path, "picture", None, (path,), path.stem)


def _stem(path: Path) -> str:
    """The name of a NIfTI file without its ending."""
    for ending in _NIFTI_ENDINGS:
        if path.name.lower().endswith(ending) and len(path.name) > len(ending):
            return path.name[: -len(ending)]
    return path.stem


def _found(part: Part) -> VolumeInput:
    files = tuple(dict.fromkeys(one.path for one in part.slices))
    path = _common(files)
    uid = part.series_instance_uid
    name = uid if USABLE_ID.fullmatch(uid) else path.stem if path in files else path.name
    if part.number:
        name = f"{name}_part{part.number}"
    return VolumeInput(path, "series", uid or None, files, name, part.label, part.notes)


def _common(paths: tuple[Path, ...]) -> Path:
    """The file, or the folder in which all the files lie."""
    if len(paths) == 1:
        return paths[0]
    return Path(os.path.commonpath([path.parent for path in paths]))


def _open_series(found: VolumeInput) -> SeriesVolume:
    slices, study_uid = _headers(found)
    stack = order(slices)
    frames = open_frames(stack.slices)
    notes = [*found.notes, *stack.notes]
    first = read_slice(stack.slices[0], frames, notes)
    source = Source(
        image_id=found.name,
        path=found.path,
        modality=Modality.CT,
        sop_instance_uid=slices[0].sop_instance_uid if frames or len(slices) == 1 else None,
        series_instance_uid=found.series_instance_uid,
        study_instance_uid=study_uid or None,
        notes=(),
    )
    volume = SeriesVolume(source, stack, frames)
    if any(one.rescale is None for one in stack.slices):
        notes.append("RescaleSlope or RescaleIntercept is missing: stored values are taken for HU")
        middle = next(volume.slices(len(slices) // 2))
        check_hu(
            min(float(first.min()), float(middle.min())),
            max(float(first.max()), float(middle.max())),
        )
    kept = tuple(dict.fromkeys(notes))[:MAX_NOTES]
    return dataclasses.replace(volume, source=dataclasses.replace(source, notes=kept))


def _headers(found: VolumeInput) -> tuple[list[SliceHeader], str]:
    """Headers of a series' slices, and its StudyInstanceUID."""
    slices: list[SliceHeader] = []
    study_uid = ""
    for path in found.files:
        with naming(path), quiet():
            head, kind = look(path)
            if kind is not Format.DICOM:
                raise InputError("this is no DICOM file; give the series", code="damaged")
            file = read_header(path, head)
        study_uid = study_uid or file.study_instance_uid
        slices += file.slices
    if found.part is not None:
        keyword, value = found.part
        slices = [one for one in slices if one.labels[SPLITTING.index(keyword)] == value]
    if not slices:
        raise InputError("the files hold no CT slices any more; find them again", code="not-ct")
    return slices, study_uid
