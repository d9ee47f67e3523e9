"""Values to HU: what lies outside the scale, and what cannot be HU at all."""

from __future__ import annotations

import numpy as np
import pytest

from pneumoseg.errors import InputError
from pneumoseg.reading.hounsfield import as_hu, check_hu


def test_padding_and_what_is_no_number_become_air() -> None:
    values = np.array([-3024.0, np.nan, np.inf, -np.inf, -1000, 40, 1e9])
    found = as_hu(values)
    assert found.dtype == np.float32
    assert found.tolist() == [-1024, -1024, -1024, -1024, -1000, 40, 65535]
    assert np.isnan(values[1])  # the caller's array is left as it was


def test_whole_numbers_stay_what_they_are() -> None:
    assert as_hu(np.array([-2000, -1, 3071], dtype=np.int16)).tolist() == [-1024, -1, 3071]


@pytest.mark.parametrize(
    ("lowest", "highest", "code"),
    [(5, 5, "constant-image"), (0, 255, "not-hu"), (-299, 900, "not-hu")],
)
def test_values_without_air_are_not_a_chest(lowest: float, highest: float, code: str) -> None:
    """Breaks if an 8-bit picture, or a map of labels, is taken for HU."""
    with pytest.raises(InputError) as caught:
        check_hu(lowest, highest)
    assert caught.value.code == code


def test_a_chest_passes() -> None:
    check_hu(-1024, 3000)
    check_hu(-300, 0)
