"""A phantom's scan lies in the patient as its body does."""

from __future__ import annotations

import numpy as np
import pytest

from pneumoseg.simulation.phantom_scan import scan_phantom


def test_a_phantom_scan_lies_in_the_patient_as_the_body_does() -> None:
    """Left and right, up and down of the written volumes hang on this affine."""
    scan = scan_phantom(3, (20.0, 3.0, 3.0))
    assert scan.hu.shape[1] == scan.hu.shape[2]
    assert scan.spacing_mm == (20.0, 3.0, 3.0)
    right, left = (np.argwhere(scan.lungs == label).mean(axis=0) for label in (1, 2))
    to_right, to_left = (scan.affine @ [*place, 1] for place in (right, left))
    assert to_right[0] < -20 < 20 < to_left[0]  # x grows to the patient's left
    head, foot = (scan.affine @ [index, 0, 0, 1] for index in (0, 5))
    assert head[2] - foot[2] == pytest.approx(100.0)
