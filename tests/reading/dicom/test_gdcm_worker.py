"""The protocol of the decoding process: one answer a request, empty for failure."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
from jpeg_by_hand import lossless
from pydicom import uid

from pneumoseg.reading.dicom.gdcm_worker import ANSWER, REQUEST

VALUES = np.arange(64 * 64, dtype=np.uint16).reshape(64, 64) % 4096


def request(codestream: bytes, bits: int = 12) -> bytes:
    syntax = str(uid.JPEGLosslessSV1).encode()
    return REQUEST.pack(64, 64, 1, bits, syntax, len(codestream)) + codestream


def served(requests: bytes) -> bytes:
    words = [sys.executable, "-m", "pneumoseg.reading.dicom.gdcm_worker"]
    done = subprocess.run(words, input=requests, capture_output=True, timeout=60, check=True)
    return done.stdout


def test_answers_come_in_order_until_the_requests_end() -> None:
    good = request(lossless(VALUES, 12, 1))
    answers = served(good + request(b"no jpeg") + good)
    values = VALUES.astype("<u2").tobytes()
    whole = ANSWER.pack(len(values)) + values
    assert answers == whole + ANSWER.pack(0) + whole


def test_a_torn_request_is_not_answered() -> None:
    """The run was killed within it."""
    assert served(request(b"")[:10]) == b""
