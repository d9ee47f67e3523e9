"""The cascade's operating point: the defaults of the seed, and what cannot be."""

from __future__ import annotations

import math

import pytest

from pneumoseg.errors import UsageError
from pneumoseg.settings import PipelineConfig, at_least, fraction


def test_the_seeds_operating_point() -> None:
    assert PipelineConfig() == PipelineConfig(0.35, 0.5, 200)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"classifier_threshold": 1.5}, "classifier_threshold must lie between 0 and 1, got 1.5"),
        ({"segmenter_threshold": -0.1}, "segmenter_threshold must lie between 0 and 1"),
        ({"classifier_threshold": float("nan")}, "classifier_threshold"),
        ({"min_pixels": -1}, "min_pixels must be 0 or more, got -1"),
    ],
)
def test_an_operating_point_that_cannot_be(values: dict[str, float], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        PipelineConfig(**values)  # type: ignore[arg-type]


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
