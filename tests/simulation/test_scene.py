"""The brushes: what they change, where, and by how much."""

from __future__ import annotations

import numpy as np
import pytest
from chest_ct import chest_ct

from pneumoseg.simulation.scan_noise import FLOOR_HU, gaussian_noise
from pneumoseg.simulation.scene import (
    Scene,
    between_lungs,
    blobs,
    depth_px,
    ellipsoid,
    outline,
    patient,
    softened,
    with_air,
)


@pytest.fixture
def scene() -> Scene:
    hu, labels = chest_ct(3)
    return Scene(hu, labels, gaussian_noise(1.0, 0.5, 0.6), (5.0, 2.0, 2.0))


def test_air_is_drawn_where_its_share_is_and_nowhere_else(scene: Scene) -> None:
    share = np.zeros_like(scene.hu)
    share[1, 60:64, 60:64] = 1.0
    share[1, 70:74, 60:64] = 0.5
    before = scene.hu.copy()
    drawn = with_air(scene, share, np.random.default_rng(0), -1000.0)
    assert np.array_equal(scene.hu, before)
    assert np.array_equal(drawn[share == 0], before[share == 0])
    assert drawn[share == 1].mean() == pytest.approx(-1000, abs=2)
    half = (before[share == 0.5].mean() - 1000) / 2
    assert drawn[share == 0.5].mean() == pytest.approx(half, abs=2)


def test_nothing_falls_below_the_scale(scene: Scene) -> None:
    drawn = with_air(scene, np.ones_like(scene.hu), np.random.default_rng(0), -5000.0)
    assert drawn.min() == FLOOR_HU
    none = with_air(scene, np.zeros_like(scene.hu), np.random.default_rng(0), -1000.0)
    assert np.array_equal(none, scene.hu) and none is not scene.hu


def test_an_ellipsoid_is_as_deep_as_its_smaller_radius_in_a_slice(scene: Scene) -> None:
    """Centre (5, 100, 120) mm is voxel (1, 50, 60); radii 6, 20 and 10 mm."""
    depth = ellipsoid(scene, np.array([5.0, 100.0, 120.0]), np.array([6.0, 20.0, 10.0]))
    assert depth[1, 50, 60] == pytest.approx(10)
    assert depth[1, 60, 60] == depth[1, 50, 65] == pytest.approx(0)  # 20 mm down, 10 mm across
    assert depth[1, 55, 60] == pytest.approx(5)
    assert depth[0, 50, 60] == pytest.approx(10 * (1 - 5 / 6))
    assert depth[1, 50, 70] < 0


def test_blobs_have_the_size_asked_for() -> None:
    rng = np.random.default_rng(0)
    fine, coarse = (blobs((2, 200, 160), size, rng) for size in (2.0, 20.0))
    for noise in (fine, coarse):
        assert noise.shape == (2, 200, 160)
        assert abs(noise.mean()) < 0.5 and noise.std() == pytest.approx(1, abs=0.3)

    def alike(noise: np.ndarray, away: int) -> float:
        return float(np.corrcoef(noise[..., away:].ravel(), noise[..., :-away].ravel())[0, 1])

    assert alike(coarse, 6) > 0.8 > 0.3 > abs(alike(fine, 6))


def test_depth_is_counted_from_the_edge_between_pixels() -> None:
    """A bar of columns 4 to 7 of 12: the edge lies between 3 and 4."""
    mask = np.zeros((1, 12, 12), dtype=np.bool_)
    mask[:, :, 4:8] = True
    assert depth_px(mask)[0, 6, 2:10].tolist() == pytest.approx(
        [-1.5, -0.5, 0.5, 1.5, 1.5, 0.5, -0.5, -1.5], abs=0.15
    )


def test_a_softened_mask_keeps_its_area() -> None:
    mask = np.zeros((1, 40, 40), dtype=np.bool_)
    mask[:, 10:30, 10:30] = True
    soft = softened(mask)
    assert soft.sum() == pytest.approx(400, rel=1e-3)
    assert soft[0, 20, 20] == pytest.approx(1) and 0 < soft[0, 20, 9] < 0.5


def test_the_patient_is_the_body_filled_and_not_the_table(scene: Scene) -> None:
    hu = scene.hu.copy()
    hu[:, 122:126, 10:118] = 0.0  # a thin table below
    found = patient(hu)
    assert found[0, 62, 38] and found[0, 64, 64]  # a lung, and what lies between them
    assert not found[:, 122:126].any()


def test_outline_and_middle_of_both_lungs(scene: Scene) -> None:
    lungs = scene.lungs[1] > 0
    whole = outline(lungs)
    assert (whole >= lungs).all() and whole[62, 64] and not whole[20, 64]
    middle = between_lungs(scene)[1]
    assert middle[62, 64] and not middle[62, 10] and not (middle & lungs).any()
    few = np.zeros((5, 5), dtype=np.bool_)
    few[2, 2] = True
    assert np.array_equal(outline(few), few)
