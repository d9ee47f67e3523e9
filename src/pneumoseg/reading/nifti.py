"""A CT volume in NIfTI-1 or NIfTI-2 (.nii, .nii.gz), its slices read when they are asked for.

The header is read by nibabel, which also chooses between sform, qform and neither; voxels are
mapped from the file with their stored type. A compressed file is unpacked to a temporary file that
no name leads to, so that memory stays bounded here too.
"""

from __future__ import annotations

import gzip
import io
import tempfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

import nibabel as nib
import numpy as np
from nibabel.spatialimages import HeaderDataError, HeaderTypeError
from nibabel.wrapstruct import WrapStructError
from numpy.typing import NDArray

from pneumoseg.errors import InputError
from pneumoseg.reading.decoding import FOREIGN_ERRORS, check_size, fenced
from pneumoseg.reading.file import GZIP, NIFTI_HEADER_BYTES
from pneumoseg.reading.hounsfield import as_hu, check_hu
from pneumoseg.reading.orientation import (
    FARTHEST_MM,
    VOXEL_MM,
    AxisMap,
    canonical_geometry,
    spacing_of,
)
from pneumoseg.study import Geometry, Modality, Source

MAX_VOXELS = 1 << 31
"""Two thousand slices of 1024×1024: more is a damaged header, or a bomb."""
BLOCK_SLICES = 16
"""Slices taken from the mapped file at once: across its axes, one would cost as much as many."""
SAMPLED_SLICES = 9
"""Slices looked at to see whether the values can be HU."""
_COPY_BYTES = 1 << 20
_WHOLE_WITHIN = 1e-3
"""A label that was scaled when it was stored is this near to a whole number."""
_RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
_MM_PER_UNIT = {"mm": 1.0, "meter": 1000.0, "micron": 0.001}
_NIFTI_ERRORS = (*FOREIGN_ERRORS, HeaderDataError, HeaderTypeError, WrapStructError)
_Header = Any
"""nibabel's Nifti1Header or Nifti2Header, whose methods have no types."""


@dataclass(frozen=True, eq=False)
class NiftiVolume:
    """A mapped NIfTI file; a :class:`~pneumoseg.study.Volume`.

    Attributes:
        source: where it came from.
        stored: three axes as stored, the file's own type, mapped.
        scale: slope and intercept from stored values to HU.
        geometry: where the voxels lie.
    """

    source: Source
    stored: NDArray[np.generic]
    scale: tuple[float, float]
    geometry: Geometry

    @property
    def shape(self) -> tuple[int, int, int]:
        """(slices, rows, cols), canonical axes."""
        slices, rows, cols = self._canonical().shape
        return slices, rows, cols

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Between slices, rows and columns."""
        return spacing_of(self.geometry)

    @property
    def sop_instance_uids(self) -> None:
        """NIfTI has no UIDs."""
        return None

    def slices(self, start: int = 0, stop: int | None = None) -> Iterator[NDArray[np.float32]]:
        """Read slices in order, one at a time: float32 (rows, cols) in HU, NaN as air."""
        voxels = self._canonical()
        first, last, _ = slice(start, stop).indices(voxels.shape[0])
        slope, intercept = self.scale
        for begin in range(first, last, BLOCK_SLICES):
            # Copied as stored, then each slice alone becomes float64, so that nothing is rounded.
            for one in np.ascontiguousarray(voxels[begin : min(begin + BLOCK_SLICES, last)]):
                with np.errstate(invalid="ignore", over="ignore"):
                    yield as_hu(one.astype(np.float64) * slope + intercept)

    def _canonical(self) -> NDArray[np.generic]:
        return AxisMap(self.geometry.stored_axes, self.geometry.stored_flips).view(self.stored)


def open_nifti(path: Path, name: str) -> NiftiVolume:
    """Open a volume.

    Args:
        path: a .nii or .nii.gz file.
        name: of the volume, its ``image_id``.

    Raises:
        InputError: ``damaged``, ``truncated``, ``too-large``, ``too-small``, ``multi-frame``,
            ``unsupported-pixels``, ``unknown-format`` (a header whose voxels are in a file of their
            own), ``constant-image``, ``not-hu`` or ``unreadable``.
    """
    notes: list[str] = []
    stored, scale, geometry = _open(path, notes)
    source = Source(image_id=name, path=path, modality=Modality.CT, notes=tuple(notes))
    volume = NiftiVolume(source, stored, scale, geometry)
    check_size(*volume.shape[1:])
    _check_values(volume)
    return volume


@dataclass(frozen=True, eq=False)
class LabelMap:
    """Labels of a volume's voxels, such as a mask or organs.

    Attributes:
        labels: int32 (slices, rows, cols), canonical axes.
        geometry: where the voxels lie.
    """

    labels: NDArray[np.int32]
    geometry: Geometry


def read_label_map(path: Path) -> LabelMap:
    """Read a label map as a whole; it lies on canonical axes as the CT of the same grid does.

    Raises:
        InputError: as for :func:`open_nifti`; ``unsupported-pixels`` where values are not whole
            numbers.
    """
    stored, (slope, intercept), geometry = _open(path, [])
    voxels = AxisMap(geometry.stored_axes, geometry.stored_flips).view(stored)
    labels = np.empty(voxels.shape, dtype=np.int32)
    for index, one in enumerate(voxels):
        values = one.astype(np.float64) * slope + intercept
        whole = np.rint(values)
        is_label = (np.abs(values) < 1 << 31) & (np.abs(values - whole) <= _WHOLE_WITHIN)
        if not is_label.all():
            raise InputError(
                "the values are no whole numbers; a label map is expected",
                code="unsupported-pixels",
            )
        labels[index] = whole
    return LabelMap(labels, geometry)


def _open(
    path: Path, notes: list[str]
) -> tuple[NDArray[np.generic], tuple[float, float], Geometry]:
    """The mapped voxels as stored, slope and intercept, and where the voxels lie."""
    try:
        with path.open("rb") as file:
            is_packed = file.read(len(GZIP)) == GZIP
            file.seek(0)
            content = cast(BinaryIO, gzip.GzipFile(fileobj=file)) if is_packed else file
            header = _header(content)
            shape = _shape(header)
            dtype = _dtype(header)
            affine = _RAS_TO_LPS @ _affine(header, notes)
            stored = _map(file, content if is_packed else None, header, shape, dtype)
    except OSError as error:
        raise InputError(
            f"the file cannot be read: {error.strerror or error}", code="unreadable"
        ) from error
    with fenced("the NIfTI header cannot be read", errors=_NIFTI_ERRORS):
        slope, intercept = header.get_slope_inter()
    scale = (1.0 if slope is None else slope, 0.0 if intercept is None else intercept)
    return stored, scale, canonical_geometry(affine, shape)


def _header(content: BinaryIO) -> _Header:
    with fenced("the NIfTI header cannot be read", errors=_NIFTI_ERRORS):
        head = content.read(NIFTI_HEADER_BYTES)
        is_second = 540 in (int.from_bytes(head[:4], "little"), int.from_bytes(head[:4], "big"))
        kind: Any = nib.Nifti2Header if is_second else nib.Nifti1Header
        header = kind.from_fileobj(io.BytesIO(head), check=False)
        magic = bytes(header["magic"])[:3]
    if magic not in (b"n+1", b"n+2", b"ni1", b"ni2"):
        raise InputError("this is no NIfTI file; give .nii or .nii.gz", code="unknown-format")
    if magic not in (b"n+1", b"n+2"):
        raise InputError(
            "this is the header of a pair of files (.hdr and .img), which are not read; save it as "
            "one .nii file",
            code="unknown-format",
        )
    return header


def _shape(header: _Header) -> tuple[int, int, int]:
    """Three axes; a slice gets a third, further axes must have length 1."""
    dims = [int(d) for d in header["dim"]]
    axes = dims[1 : dims[0] + 1]
    if not 2 <= dims[0] <= 7 or min(axes) < 1:
        raise InputError(f"the header gives the size {dims[1:]}, which is damaged", code="damaged")
    if int(np.prod(axes[3:], dtype=np.int64)) != 1:
        raise InputError(
            f"the file holds {int(np.prod(axes[3:], dtype=np.int64))} volumes; give one volume a "
            "file",
            code="multi-frame",
        )
    x, y, z = (*axes, 1)[:3]
    if x * y * z > MAX_VOXELS:
        raise InputError(
            f"the volume has {x}×{y}×{z} voxels; at most {MAX_VOXELS >> 20} million are read",
            code="too-large",
        )
    return x, y, z


def _dtype(header: _Header) -> np.dtype[np.generic]:
    with fenced("the NIfTI header cannot be read", errors=_NIFTI_ERRORS):
        dtype: np.dtype[np.generic] = np.dtype(header.get_data_dtype())
    if dtype.kind not in "iuf":
        raise InputError(
            f"voxels of type {dtype} are not read; a CT has whole or floating-point numbers",
            code="unsupported-pixels",
        )
    return dtype


def _affine(header: _Header, notes: list[str]) -> NDArray[np.float64]:
    """Stored index to RAS mm, (4, 4): sform, else qform, else nibabel's choice without either."""
    with fenced("the NIfTI header's place in the patient cannot be read", errors=_NIFTI_ERRORS):
        affine = np.array(header.get_best_affine(), dtype=np.float64)
        is_placed = int(header["sform_code"]) != 0 or int(header["qform_code"]) != 0
        unit = header.get_xyzt_units()[0] if int(header["xyzt_units"]) & 7 in (1, 2, 3) else "mm"
    affine[:3] *= _MM_PER_UNIT[unit]
    if unit != "mm":
        notes.append(f"the file measures in {unit}: brought to mm")
    if affine.shape != (4, 4) or not (np.abs(affine) < FARTHEST_MM).all():  # NaN neither
        raise InputError("the NIfTI header's affine is not one of a patient", code="damaged")
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    if lengths.min() < VOXEL_MM[0] or lengths.max() > VOXEL_MM[1]:
        raise InputError(
            f"the NIfTI header gives voxels of {lengths.min():g} to {lengths.max():g} mm; a CT has "
            "some tenths of a millimetre to some millimetres, so give it with its true affine",
            code="damaged",
        )
    if abs(np.linalg.det(affine[:3, :3] / lengths)) < 1e-3:
        raise InputError(
            "the NIfTI header's affine is singular, so that no place in the patient is known; "
            "convert the volume again",
            code="damaged",
        )
    if not is_placed:
        notes.append(
            "the file does not say how it lies in the patient (qform and sform codes are 0): axes "
            "are taken to run to the patient's left, to anterior and to the head"
        )
    return affine


def _map(
    file: BinaryIO,
    packed: BinaryIO | None,
    header: _Header,
    shape: tuple[int, int, int],
    dtype: np.dtype[np.generic],
) -> NDArray[np.generic]:
    """Map the voxels of a file; of a packed one, those of its unpacked copy."""
    with fenced("the NIfTI header cannot be read", errors=_NIFTI_ERRORS):
        offset = max(int(header.get_data_offset()), header.single_vox_offset)
    expected = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    if packed is None:
        found = max(file.seek(0, io.SEEK_END) - offset, 0)
        _check_length(found, expected)
        return np.memmap(file, dtype, "r", offset, shape, order="F")
    with tempfile.TemporaryFile() as unpacked:
        _check_length(_unpack(packed, unpacked, offset, expected), expected)
        unpacked.flush()
        return np.memmap(unpacked, dtype, "r", 0, shape, order="F")


def _check_length(found: int, expected: int) -> None:
    if found < expected:
        raise InputError(
            f"the voxels have {found} of {expected} bytes; copy the file again from its origin",
            code="truncated",
        )


def _unpack(packed: BinaryIO, unpacked: BinaryIO, offset: int, expected: int) -> int:
    """Write the voxels, no byte more than the header announces; how many bytes there were."""
    written = 0
    try:
        packed.seek(offset)
        while written < expected:
            block = packed.read(min(_COPY_BYTES, expected - written))
            if not block:
                break
            unpacked.write(block)
            written += len(block)
        packed.read(_COPY_BYTES)  # to its end, where the checksum is compared; no bomb's whole
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise InputError(
            f"the compressed file is cut short or damaged: {error}; copy it again from its origin",
            code="truncated",
        ) from error
    return written


def _check_values(volume: NiftiVolume) -> None:
    """NIfTI does not say what values mean: look at some slices."""
    count = volume.shape[0]
    sampled = np.unique(np.linspace(0, count - 1, min(count, SAMPLED_SLICES)).astype(int))
    looked_at = [next(volume.slices(int(k), int(k) + 1)) for k in sampled]
    check_hu(min(float(one.min()) for one in looked_at), max(float(one.max()) for one in looked_at))
