"""From the finding of a volume to its record, one line of a CT run's ``predictions.jsonl``.

Run lengths are on the slice's own grid as the file stores it (:func:`stored_plane`), since that is
the image which a SOPInstanceUID names.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pneumoseg import rle
from pneumoseg.ct.finding import VolumeFinding
from pneumoseg.ct.lesions import VolumeLesion, lesion_plane
from pneumoseg.settings import PipelineConfig
from pneumoseg.storage.record import (
    LesionInSlice,
    SliceRecord,
    VolumeLesionRecord,
    VolumeRecord,
)
from pneumoseg.study import Geometry
from pneumoseg.writing.tables import printable


def volume_record(finding: VolumeFinding, config: PipelineConfig, *, path: str) -> VolumeRecord:
    """Turn a finding into what is kept of it.

    Args:
        finding: of a volume.
        config: the operating point of the run.
        path: the input's, as the manifest has it.
    """
    source, detection, provenance = finding.source, finding.detection, finding.provenance
    return VolumeRecord(
        image_id=printable(source.image_id),
        path=printable(path),
        study_instance_uid=source.study_instance_uid,
        series_instance_uid=source.series_instance_uid,
        shape=finding.shape,
        slice_shape=_stored_shape(finding),
        spacing_mm=finding.spacing_mm,
        logit=detection.logit,
        probability=detection.probability,
        positive=detection.positive,
        classifier_threshold=detection.threshold,
        segmenter_threshold=config.segmenter_threshold,
        segmented=bool(finding.segmented.any()),
        voxels=finding.voxels,
        volume_ml=finding.volume_ml,
        share_of_hemithorax=finding.share_of_hemithorax,
        hemithorax_shares={s.value: share for s, share in finding.hemithorax_shares.items()},
        side=finding.side,
        greatest_thickness_mm=finding.greatest_thickness_mm,
        first_slice=_numbered(finding.first_slice),
        last_slice=_numbered(finding.last_slice),
        lesions=tuple(_lesion_record(lesion, finding) for lesion in finding.lesions),
        slices=tuple(
            SliceRecord(
                image_id=image_id,
                probability=round(float(finding.slice_probabilities[index]), 6),
                segmented=bool(finding.segmented[index]),
                rle=_united(finding, index),
            )
            for index, image_id in enumerate(slice_ids(finding))
        ),
        seconds=round(finding.seconds, 4),
        bundle=provenance.bundle,
        bundle_version=provenance.bundle_version,
        software_version=provenance.software_version,
        runtime=provenance.runtime,
        device=provenance.device,
        precision=provenance.precision,
        notes=source.notes,
    )


def slice_ids(finding: VolumeFinding) -> tuple[str, ...]:
    """What each slice is called in the tables.

    Its SOPInstanceUID; where slices have none of their own, the volume's id, ``_`` and the slice's
    number from 1 at the head. A picture, which is one slice, is called by its name alone.
    """
    if finding.sop_instance_uids is not None:
        return tuple(printable(uid) for uid in finding.sop_instance_uids)
    name = printable(finding.source.image_id)
    if finding.geometry is None and finding.shape[0] == 1:
        return (name,)
    return tuple(f"{name}_{number}" for number in range(1, finding.shape[0] + 1))


def stored_plane(plane: NDArray[np.bool_], geometry: Geometry | None) -> NDArray[np.bool_]:
    """A canonical slice as the file stores it: the image as its rows and columns come.

    Args:
        plane: bool (rows, cols), canonical axes.
        geometry: of the volume; None for a picture, which is stored as it is.

    Returns:
        bool; of the two stored axes in the slice's plane, columns run along the earlier and rows
        along the later. For DICOM these are the image's own rows and columns.
    """
    if geometry is None:
        return plane
    _, row_flip, col_flip = geometry.stored_flips
    turned = plane[:: -1 if row_flip else 1, :: -1 if col_flip else 1]
    _, row_axis, col_axis = geometry.stored_axes
    return turned.T if row_axis < col_axis else turned


def canonical_plane(plane: NDArray[np.bool_], geometry: Geometry | None) -> NDArray[np.bool_]:
    """Undo :func:`stored_plane`."""
    if geometry is None:
        return plane
    _, row_axis, col_axis = geometry.stored_axes
    _, row_flip, col_flip = geometry.stored_flips
    turned = plane.T if row_axis < col_axis else plane
    return turned[:: -1 if row_flip else 1, :: -1 if col_flip else 1]


def _stored_shape(finding: VolumeFinding) -> tuple[int, int]:
    """Rows and columns of a slice as stored."""
    _, rows, cols = finding.shape
    if finding.geometry is None:
        return rows, cols
    _, row_axis, col_axis = finding.geometry.stored_axes
    return (cols, rows) if row_axis < col_axis else (rows, cols)


def _united(finding: VolumeFinding, index: int) -> str:
    if not any(x.first_slice <= index <= x.last_slice for x in finding.lesions):
        return rle.EMPTY
    plane = lesion_plane(finding.lesions, index, finding.shape)
    return rle.encode(stored_plane(plane, finding.geometry))


def _lesion_record(lesion: VolumeLesion, finding: VolumeFinding) -> VolumeLesionRecord:
    return VolumeLesionRecord(
        voxels=lesion.voxels,
        volume_ml=lesion.volume_ml,
        score=lesion.score,
        side=None if lesion.side is None else lesion.side.value,
        greatest_thickness_mm=lesion.greatest_thickness_mm,
        first_slice=lesion.first_slice + 1,
        last_slice=lesion.last_slice + 1,
        slices=tuple(
            _in_slice(lesion, index, finding)
            for index in range(lesion.first_slice, lesion.last_slice + 1)
        ),
    )


def _in_slice(lesion: VolumeLesion, index: int, finding: VolumeFinding) -> LesionInSlice:
    steps = finding.spacing_mm
    area = int(np.count_nonzero(lesion.inside[index - lesion.first_slice]))
    plane = lesion_plane((lesion,), index, finding.shape)
    return LesionInSlice(
        slice=index + 1,
        area_px=area,
        area_mm2=None if steps is None else area * (steps[1] * steps[2]),
        rle=rle.encode(stored_plane(plane, finding.geometry)),
    )


def _numbered(index: int | None) -> int | None:
    return None if index is None else index + 1
