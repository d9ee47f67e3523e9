"""Error codes go into failures.csv and exit codes: both are promises."""

from __future__ import annotations

import pytest

from pneumoseg.errors import (
    BundleError,
    DataError,
    InputError,
    PneumosegError,
    RunLengthError,
    RuntimeUnavailableError,
    UsageError,
)


@pytest.mark.parametrize(
    ("kind", "parent", "code"),
    [
        (InputError, PneumosegError, "unusable-input"),
        (RunLengthError, InputError, "bad-run-length"),
        (UsageError, PneumosegError, "usage"),
        (BundleError, UsageError, "bad-bundle"),
        (DataError, UsageError, "bad-data"),
        (RuntimeUnavailableError, UsageError, "unavailable"),
    ],
)
def test_the_tree_and_its_codes(
    kind: type[PneumosegError], parent: type[PneumosegError], code: str
) -> None:
    error = kind("one sentence")
    assert isinstance(error, parent)
    assert error.code == code
    assert str(error) == "one sentence"


def test_a_code_of_its_own_stays_with_that_error() -> None:
    assert InputError("cut off", code="truncated").code == "truncated"
    assert InputError("another").code == "unusable-input"
