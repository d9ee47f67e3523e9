"""A film written is the film read back; the phantom's files rest on it."""

from __future__ import annotations

import dataclasses

import numpy as np
import pydicom
import pytest

from pneumoseg.reading import read
from pneumoseg.writing.dicom_xray import XrayHeader, write_xray

HEADER = XrayHeader("2.25.1", "2.25.2", "2.25.3", "P1", (0.2, 0.1), "PA")
RAMP = (np.arange(64 * 80).reshape(64, 80) * 4095 // 5119).astype(np.uint16)


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize(("bits", "dtype"), [(8, np.uint8), (12, np.uint16), (16, np.uint16)])
def test_film_comes_back_to_its_brightness(tmp_path, photometric, bits, dtype):
    pixels = (RAMP >> 4 if bits == 8 else RAMP * (16 if bits == 16 else 1)).astype(dtype)
    header = dataclasses.replace(HEADER, bits_stored=bits, photometric=photometric)
    write_xray(tmp_path / "x.dcm", pixels, header)
    image = read(tmp_path / "x.dcm")
    assert np.abs(image.pixels - pixels / (2**bits - 1)).max() < 1e-6
    assert image.spacing_mm == (0.2, 0.1)
    assert image.source.image_id == "2.25.1" and image.source.patient_orientation == ("L", "F")
    assert image.source.notes == ()


def test_same_film_same_bytes_and_nothing_left_behind(tmp_path):
    for name in ("a.dcm", "b.dcm"):
        write_xray(tmp_path / name, RAMP, HEADER)
    assert (tmp_path / "a.dcm").read_bytes() == (tmp_path / "b.dcm").read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.dcm", "b.dcm"]


def test_odd_number_of_bytes_is_padded(tmp_path):
    pixels = np.arange(65 * 65, dtype=np.uint32).astype(np.uint8).reshape(65, 65)
    write_xray(tmp_path / "x.dcm", pixels, dataclasses.replace(HEADER, bits_stored=8))
    assert len(pydicom.dcmread(tmp_path / "x.dcm").PixelData) == 65 * 65 + 1


@pytest.mark.parametrize(
    ("changes", "pixels"),
    [
        ({"view_position": "LL"}, RAMP),
        ({"photometric": "RGB"}, RAMP),
        ({"spacing_mm": (0.0, 0.1)}, RAMP),
        ({"sop_instance_uid": "x"}, RAMP),
        ({"bits_stored": 10}, RAMP),
        ({"bits_stored": 17}, RAMP),
        ({}, RAMP.astype(np.float32)),
        ({}, RAMP[None]),
    ],
)
def test_what_is_no_film_is_refused(tmp_path, changes, pixels):
    with pytest.raises(ValueError):
        write_xray(tmp_path / "x.dcm", pixels, dataclasses.replace(HEADER, **changes))
    assert not list(tmp_path.iterdir())
