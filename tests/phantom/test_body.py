"""The body: anatomy, collapse and CT."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pytest

from pneumoseg.phantom import Body, Collapse, CtVolume, Posture, make_body, make_ct
from pneumoseg.phantom.intervals import Ellipsoid, intersect, length, overlap
from pneumoseg.phantom.vessels import splat
from pneumoseg.study import Side, Units

SPACING = (4.0, 4.0, 4.0)


@lru_cache(maxsize=16)
def body(seed: int, degree: float = 0.0, posture: Posture = Posture.UPRIGHT) -> Body:
    collapse = Collapse(Side.RIGHT, degree) if degree else None
    return make_body(seed, collapse=collapse, posture=posture)


@lru_cache(maxsize=16)
def scan(seed: int, degree: float = 0.0, posture: Posture = Posture.UPRIGHT) -> CtVolume:
    return make_ct(body(seed, degree, posture), spacing_mm=SPACING, noise_hu=0)


def test_an_ellipsoid_is_as_deep_as_its_axis_and_empty_beside_it() -> None:
    line = np.array([0.0, 30.0], dtype=np.float32)
    interval = Ellipsoid((0, 5, 0), (10, 7, 20)).interval(line, line)
    depth = length(interval)
    assert depth[0, 0] == pytest.approx(14)
    assert interval[0][0, 0] == pytest.approx(-2)
    assert (depth[1] == 0).all() and depth[0, 1] == 0


def test_intervals_overlap_by_hand() -> None:
    first = (np.float32([0, 0, 0]), np.float32([10, 10, 10]))
    second = (np.float32([4, 10, 1e4]), np.float32([20, 12, -1e4]))
    assert overlap(first, second).tolist() == [6, 0, 0]
    assert length(intersect(first, second)).tolist() == [6, 0, 0]


def test_splat_keeps_the_weight_and_shares_it_bilinearly() -> None:
    total = splat(np.float32([1.25]), np.float32([2.5]), np.float32([8.0]), (4, 5))
    assert total[1].tolist() == [0, 0, 3, 3, 0]
    assert total[2].tolist() == [0, 0, 1, 1, 0]
    assert splat(np.float32([9]), np.float32([9]), np.float32([1]), (4, 5)).sum() == 0


def test_the_same_seed_gives_the_same_body_and_another_seed_another() -> None:
    assert np.array_equal(
        make_ct(make_body(3), spacing_mm=SPACING).hu, make_ct(make_body(3), spacing_mm=SPACING).hu
    )
    assert make_body(3).anatomy != make_body(4).anatomy


def test_a_healthy_chest_has_no_pleural_air() -> None:
    assert not scan(1).pleural_air.any()
    assert scan(1).right_lung.any() and scan(1).left_lung.any()


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


def test_film_and_ct_hold_the_same_tissue() -> None:
    """Water-equivalent paths summed through the CT equal those integrated for the film."""
    patient = make_body(8, collapse=Collapse(Side.LEFT, 0.2))
    ct = make_ct(patient, spacing_mm=(2.0, 2.0, 2.0), noise_hu=0)
    z, x = (ct.origin_mm[a] + 2.0 * np.arange(ct.hu.shape[a], dtype=np.float32) for a in (0, 2))
    maps = patient.maps(z.astype(np.float32), x.astype(np.float32))
    trunk = np.abs(x) < 95  # without the arms, which a CT leaves out
    summed = ((ct.hu / 1000 + 1).sum(axis=1) * 2.0)[:, trunk]
    assert np.median(np.abs(summed - maps.water[:, trunk])) < 1.5
    assert summed.mean() == pytest.approx(maps.water[:, trunk].mean(), rel=0.02)
    air = (ct.pleural_air.sum(axis=1) * 2.0)[:, trunk]
    assert np.abs(air - maps.pleural_air[:, trunk]).max() < 8.1  # four surfaces, a voxel each


def test_maps_refuse_an_uneven_grid() -> None:
    line = np.arange(0, 50, 2, dtype=np.float32)
    with pytest.raises(ValueError, match="even spacing"):
        body(1).maps(line, 1.5 * line)


def test_bullae_are_air_in_the_lung_and_no_pneumothorax() -> None:
    bullous = make_ct(make_body(9, bullae=True), spacing_mm=SPACING, noise_hu=0)
    lungs = bullous.right_lung | bullous.left_lung
    plain = make_ct(make_body(9), spacing_mm=SPACING, noise_hu=0)
    assert np.count_nonzero(bullous.hu[lungs] == -1000) > np.count_nonzero(plain.hu[lungs] == -1000)
    assert not bullous.pleural_air.any()


def test_a_ct_becomes_an_image_in_hu() -> None:
    image = scan(1, 0.3).image("ct-1")
    assert image.units is Units.HU and image.spacing_mm == SPACING
    assert scan(1, 0.3).mask().volume_ml == pytest.approx(
        np.count_nonzero(scan(1, 0.3).pleural_air) * 64 / 1000
    )


@pytest.mark.parametrize("degree", [0.0, 0.95, -0.1])
def test_an_impossible_degree_is_refused(degree: float) -> None:
    with pytest.raises(ValueError, match="degree must lie"):
        Collapse(Side.LEFT, degree)


def test_one_lung_collapses_once() -> None:
    twice = (Collapse(Side.LEFT, 0.1), Collapse(Side.LEFT, 0.2))
    with pytest.raises(ValueError, match="one collapse per side"):
        make_body(1, collapse=twice)


def test_a_spacing_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="positive"):
        make_ct(body(1), spacing_mm=(0.0, 1.0, 1.0))
