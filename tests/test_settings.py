"""The cascade's operating point: the defaults of the seed, and what cannot be."""

from __future__ import annotations

import pytest

from pneumoseg.errors import UsageError
from pneumoseg.settings import PipelineConfig


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
