"""Error codes go into failures.csv and exit codes: both are promises."""

from __future__ import annotations

import math

import pytest

from pneumoseg.errors import (
    BundleError,
    DataError,
    InputError,
    PneumosegError,
    RunLengthError,
    RuntimeUnavailableError,
    UsageError,
    at_least,
    fraction,
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


@pytest.mark.parametrize("value", [None, 1, 1.5])
def test_what_is_large_enough_passes(value: float | None) -> None:
    at_least("workers", value, 1)


@pytest.mark.parametrize(
    ("value", "least", "unit", "message"),
    [
        (0, 1, "", "workers must be 1 or more, got 0"),
        (-1, 0, "rows", "workers must be 0 or more rows, got -1"),
        (math.nan, 0, "", "workers must be 0 or more, got nan"),
    ],
)
def test_what_is_too_small_is_refused(value: float, least: int, unit: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        at_least("workers", value, least, unit)
    assert str(caught.value) == message


def test_a_fraction_has_its_ends_or_not() -> None:
    """A recall of 1 is nothing that can be certified; a threshold of 1 is one."""
    for value in (None, 0.0, 0.5, 1.0):
        fraction("threshold", value)
    fraction("recall", 0.5, ends=False)
    for value, ends, message in (
        (1.01, True, "recall must lie between 0 and 1, got 1.01"),
        (1.0, False, "recall must lie above 0 and below 1, got 1.0"),
        (math.nan, True, "recall must lie between 0 and 1, got nan"),
    ):
        with pytest.raises(UsageError) as caught:
            fraction("recall", value, ends=ends)
        assert str(caught.value) == message
