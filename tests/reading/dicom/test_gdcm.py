"""GDCM in processes of their own: what it decodes, and that its end is not ours."""

from __future__ import annotations

import numpy as np
import pytest
from jpeg_by_hand import lossless, sequential
from pydicom import uid

from pneumoseg.errors import InputError
from pneumoseg.reading.dicom import gdcm
from pneumoseg.reading.dicom.gdcm import decode_with_gdcm

VALUES = np.random.default_rng(0).integers(0, 4096, (64, 72)).astype(np.uint16)
CODESTREAM = lossless(VALUES, 12, 1)


def decoded(codestream: bytes, bits: int = 12, syntax: str = uid.JPEGLosslessSV1) -> np.ndarray:
    return decode_with_gdcm(codestream, (64, 72, 1), bits, syntax)


def test_twelve_bits_come_back_to_the_bit() -> None:
    assert np.array_equal(decoded(CODESTREAM), VALUES)
    assert decoded(CODESTREAM).dtype == np.uint16


def test_eight_bits_are_bytes() -> None:
    small = (VALUES >> 4).astype(np.uint8)
    found = decoded(lossless(small, 8, 1), bits=8)
    assert found.dtype == np.uint8 and np.array_equal(found, small)


def test_twelve_bits_of_the_lossy_process() -> None:
    """Each 8×8 block has one value, so that the decoded value is exact."""
    blocks = np.array([[100, 4000], [2048, 1]], dtype=np.uint16)
    found = decode_with_gdcm(sequential(blocks, 12), (16, 16, 1), 12, uid.JPEGExtended12Bit)
    assert np.array_equal(found, blocks.repeat(8, 0).repeat(8, 1))


def test_damage_is_an_error_and_the_next_film_is_decoded() -> None:
    """Breaks if a damaged film ends the run, or leaves half an answer in the pipe."""
    damaged = [CODESTREAM[:40], CODESTREAM[:200] + b"\xff" * 40 + CODESTREAM[240:], b"no jpeg"]
    for codestream in damaged:
        with pytest.raises(InputError) as caught:
            decoded(codestream)
        assert caught.value.code == "damaged"
        assert np.array_equal(decoded(CODESTREAM), VALUES)


def test_another_size_than_told_is_damage() -> None:
    with pytest.raises(InputError):
        decode_with_gdcm(CODESTREAM, (128, 72, 1), 12, uid.JPEGLosslessSV1)


def test_a_process_is_kept_for_the_next_film() -> None:
    gdcm._workers.end()  # those of other tests
    decoded(CODESTREAM)
    (worker,) = gdcm._workers._idle
    decoded(CODESTREAM)
    assert gdcm._workers._idle == [worker]


def test_a_decoder_that_takes_too_long_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    gdcm._workers.end()
    monkeypatch.setattr(gdcm, "LIMIT_SECONDS", 0.0)
    with pytest.raises(InputError) as caught:
        decoded(CODESTREAM)
    assert caught.value.code == "damaged"
