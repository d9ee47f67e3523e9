"""Settings of a bench out of their range are refused."""

from __future__ import annotations

import pytest

from pneumoseg.errors import UsageError
from pneumoseg.installation.bench.settings import BenchSettings


@pytest.mark.parametrize(
    "wrong",
    [
        {"films": 0},
        {"batch_size": 0},
        {"threads": 0},
        {"size": 63},
        {"seconds": 0.0},
        {"seconds": float("inf")},
        {"prevalences": (0.0,)},
        {"prevalences": (0.5, 1.0)},
    ],
)
def test_settings_out_of_their_range_are_refused(wrong: dict) -> None:
    with pytest.raises(UsageError, match="must"):
        BenchSettings(**wrong)
