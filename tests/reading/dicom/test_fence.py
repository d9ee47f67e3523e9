"""pydicom's own exceptions are damage of a file, and its messages are heard."""

from __future__ import annotations

import logging

import pytest
from pydicom.errors import BytesLengthException, InvalidDicomError

from pneumoseg.errors import InputError
from pneumoseg.reading.decoding import fenced, quiet
from pneumoseg.reading.dicom.fence import fenced_dicom


@pytest.mark.parametrize("error", [BytesLengthException, InvalidDicomError, EOFError])
def test_what_pydicom_raises_becomes_an_input_error(error: type[Exception]) -> None:
    with (
        pytest.raises(InputError, match="the header cannot be read: why") as caught,
        fenced_dicom("the header cannot be read", "truncated"),
    ):
        raise error("why")
    assert caught.value.code == "truncated"


def test_the_general_fence_does_not_know_them() -> None:
    """The test above would say nothing otherwise."""
    with pytest.raises(InvalidDicomError), fenced("cannot"):
        raise InvalidDicomError("why")


def test_pydicom_s_warnings_are_collected() -> None:
    with quiet() as heard:
        logging.getLogger("pydicom").warning("odd  length")
    assert heard == ["odd length"]
