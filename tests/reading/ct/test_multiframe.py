"""Frames of one object, each read from where it lies."""

from __future__ import annotations

from pathlib import Path

import ct_files
import numpy as np
import pytest
from ct_files import body, enhanced
from pydicom import uid

from pneumoseg.errors import InputError
from pneumoseg.reading.ct.multiframe import open_multiframe
from pneumoseg.reading.dicom.pixels import decode

HU = body()


def stored(frame: int) -> np.ndarray:
    """What :func:`ct_files.enhanced` stores: feet first, slope 0.5, another intercept each."""
    k = len(HU) - 1 - frame
    return (HU[k].astype(np.int32) + 1024 + k) * 2


@pytest.mark.parametrize(
    "syntax",
    [
        uid.ImplicitVRLittleEndian,
        uid.ExplicitVRLittleEndian,
        uid.ExplicitVRBigEndian,
        uid.DeflatedExplicitVRLittleEndian,
        uid.RLELossless,
        uid.JPEGLosslessSV1,
    ],
)
def test_each_frame_is_its_own_in_any_order(syntax: uid.UID, tmp_path: Path) -> None:
    path = ct_files.write(tmp_path / "a.dcm", enhanced(HU), syntax)
    file = open_multiframe(path)
    assert file.frames == len(HU) and file.syntax == syntax
    for frame in (3, 0, len(HU) - 1):
        assert np.array_equal(decode(file.frame(frame), []).values, stored(frame)), frame


def test_a_file_cut_within_its_last_frame_still_gives_the_others(tmp_path: Path) -> None:
    path = ct_files.write(tmp_path / "a.dcm", enhanced(HU))
    path.write_bytes(path.read_bytes()[:-100])
    file = open_multiframe(path)
    assert np.array_equal(decode(file.frame(0), []).values, stored(0))
    with pytest.raises(InputError, match="frame 6 has 10140 of 10240 bytes") as caught:
        file.frame(5)
    assert caught.value.code == "truncated"


def test_a_file_without_pixel_data_is_truncated(tmp_path: Path) -> None:
    dataset = enhanced(HU)
    del dataset.PixelData
    with pytest.raises(InputError) as caught:
        open_multiframe(ct_files.write(tmp_path / "a.dcm", dataset))
    assert caught.value.code == "truncated"


def test_a_file_that_has_gone_is_unreadable(tmp_path: Path) -> None:
    path = ct_files.write(tmp_path / "a.dcm", enhanced(HU))
    file = open_multiframe(path)
    path.unlink()
    with pytest.raises(InputError) as caught:
        file.frame(0)
    assert caught.value.code == "unreadable"
