"""A collapsed lung: as much as stated, where air goes, and nothing on the other side."""

from __future__ import annotations

import numpy as np
import pytest
from bodies import scan

from pneumoseg.phantom import Collapse, Posture, make_body
from pneumoseg.study import Side

SPACING = (4.0, 4.0, 4.0)


def test_pleural_air_is_air_and_outside_both_lungs() -> None:
    ct = scan(1, 0.3)
    inside = ct.hu[ct.pleural_air]
    assert np.median(inside) == -1000
    # Ribs seen at a slant may reach a voxel into the cavity.
    assert (inside < -900).mean() > 0.95
    assert not (ct.pleural_air & (ct.right_lung | ct.left_lung)).any()


@pytest.mark.parametrize("posture", list(Posture))
@pytest.mark.parametrize("degree", [0.03, 0.2, 0.6, 0.9])
def test_the_stated_degree_is_reached(posture: Posture, degree: float) -> None:
    ct = scan(2, degree, posture)
    air, lung = np.count_nonzero(ct.pleural_air), np.count_nonzero(ct.right_lung)
    assert air / (air + lung) == pytest.approx(degree, abs=0.025)


def test_the_other_lung_stays_healthy() -> None:
    ct = scan(2, 0.6)
    columns = np.nonzero(ct.pleural_air)[2]
    x = ct.origin_mm[2] + SPACING[2] * columns
    assert np.mean(x < 0) > 0.99  # the patient's right has negative x
    assert np.count_nonzero(ct.left_lung) == np.count_nonzero(scan(2).left_lung)


def test_upright_air_rises_to_the_apex_and_supine_air_to_the_front() -> None:
    upright, supine = scan(5, 0.1), scan(5, 0.1, Posture.SUPINE)
    for ct, axis in ((upright, 0), (supine, 1)):
        air = np.nonzero(ct.pleural_air)[axis].mean()
        lung = np.nonzero(ct.right_lung)[axis].mean()
        assert air < lung - 3  # slices run from the head, rows from the front
    z_upright = np.nonzero(upright.pleural_air)[0].mean() * SPACING[0]
    z_supine = np.nonzero(supine.pleural_air)[0].mean() * SPACING[0]
    assert z_upright < z_supine


def test_a_shrinking_lung_gets_denser() -> None:
    healthy, half, total = (
        float(np.median(scan(6, d).hu[scan(6, d).right_lung])) for d in (0.0, 0.5, 0.9)
    )
    assert -900 < healthy < half - 50 < total - 100 < 0


def test_tension_pushes_the_heart_to_the_other_side() -> None:
    still = make_body(7, collapse=Collapse(Side.RIGHT, 0.6))
    pushed = make_body(7, collapse=Collapse(Side.RIGHT, 0.6, tension_mm=20))
    moved = pushed.anatomy.heart[0].centre_zyx[2] - still.anatomy.heart[0].centre_zyx[2]
    assert moved == pytest.approx(20)  # right-sided air pushes towards the left, positive x


@pytest.mark.parametrize("degree", [0.0, 0.95, -0.1])
def test_an_impossible_degree_is_refused(degree: float) -> None:
    with pytest.raises(ValueError, match="degree must lie"):
        Collapse(Side.LEFT, degree)


def test_one_lung_collapses_once() -> None:
    twice = (Collapse(Side.LEFT, 0.1), Collapse(Side.LEFT, 0.2))
    with pytest.raises(ValueError, match="one collapse per side"):
        make_body(1, collapse=twice)
