"""Lung is found where there is some, on its side, and not in an abdomen or a head."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from pneumoseg.ct.lungs import LungField, LungFinder
from pneumoseg.phantom import Collapse, CtVolume, make_body, make_ct
from pneumoseg.preprocess import Window
from pneumoseg.reading.volumes import find_volumes, open_volume
from pneumoseg.study import Side

SPACING = (5.0, 2.0, 2.0)
SHARED = Path(__file__).parents[3] / "shared" / "data" / "ct"


def look(
    slices: Iterable[NDArray[np.float32]],
    shape: tuple[int, int, int],
    spacing_mm: tuple[float, float, float] | None,
) -> LungField:
    finder = LungFinder(shape, spacing_mm)
    for index, hu in enumerate(slices):
        finder.add(index, hu)
    return finder.found()


def look_at(scan: CtVolume) -> LungField:
    return look(scan.hu, scan.hu.shape, scan.spacing_mm)


@pytest.fixture(scope="module")
def healthy() -> CtVolume:
    return make_ct(make_body(7), spacing_mm=SPACING)


def true_ml(mask: NDArray[np.bool_]) -> float:
    return float(mask.sum() * np.prod(SPACING) / 1000)


def test_a_healthy_phantom_has_both_lungs(healthy: CtVolume) -> None:
    field = look_at(healthy)
    assert field.is_found
    # with the airways, about 40 mL
    assert field.lung_ml(Side.RIGHT) == pytest.approx(true_ml(healthy.right_lung), rel=0.08)
    assert field.lung_ml(Side.LEFT) == pytest.approx(true_ml(healthy.left_lung), rel=0.08)
    middle = (healthy.hu.shape[2] - 1) / 2
    assert field.midlines == pytest.approx(np.full(healthy.hu.shape[0], middle), abs=8)


@pytest.mark.parametrize(("side", "degree"), [(Side.LEFT, 0.3), (Side.RIGHT, 0.9)])
def test_a_pneumothorax_hides_no_lung_and_moves_no_midline(side: Side, degree: float) -> None:
    scan = make_ct(make_body(9, collapse=Collapse(side, degree)), spacing_mm=SPACING)
    field = look_at(scan)
    assert field.is_found
    healthy = Side.RIGHT if side is Side.LEFT else Side.LEFT
    lung = scan.right_lung if healthy is Side.RIGHT else scan.left_lung
    assert field.lung_ml(healthy) == pytest.approx(true_ml(lung), rel=0.08)
    assert np.ptp(field.midlines) < 20


def test_what_is_outlined_is_not_counted_as_lung() -> None:
    scan = make_ct(make_body(8, collapse=Collapse(Side.LEFT, 0.3)), spacing_mm=SPACING)
    field = look_at(scan)
    outside = np.stack([field.coarse(scan.pleural_air[k]) for k in field.indices])
    assert field.lung_ml(Side.LEFT, outside) == pytest.approx(true_ml(scan.left_lung), rel=0.12)


def test_both_lungs_fallen_away_are_still_a_chest(healthy: CtVolume) -> None:
    hu = healthy.hu.copy()
    hu[healthy.right_lung | healthy.left_lung] = -1000
    assert look(hu, hu.shape, SPACING).is_found


def test_below_the_diaphragm_no_lung_is_found() -> None:
    scan = make_ct(make_body(7), spacing_mm=SPACING)
    lungs = (scan.right_lung | scan.left_lung).any(axis=(1, 2))
    below = scan.hu[np.flatnonzero(lungs)[-1] + 1 :]
    abdomen = np.concatenate([below] * 8)
    assert len(below) >= 2
    assert not look(abdomen, abdomen.shape, SPACING).is_found


def test_bowel_with_gas_and_stool_is_no_lung() -> None:
    rng = np.random.default_rng(0)
    _, y, x = np.mgrid[0:60, -110:110:2, -150:150:2]
    hu = np.where((y / 100) ** 2 + (x / 140) ** 2 < 1, 40.0, -1000.0)
    for middle, radius in (((-100, 0), 22), ((100, 10), 20), ((0, -60), 25)):
        hu[(x - middle[0]) ** 2 + (y - middle[1]) ** 2 < radius**2] = -1000
    stool = (x + 100) ** 2 + y**2 < 22**2
    hu[stool] = rng.choice([-950, -600, -100, 30], size=int(stool.sum()))
    hu += rng.normal(0, 15, hu.shape)
    assert not look(hu.astype(np.float32), hu.shape, SPACING).is_found


def head() -> NDArray[np.float32]:
    """Skull, brain, sinuses of gas and mastoids of cells."""
    z, y, x = np.mgrid[-90:90:2.5, -110:110:1, -90:90:1]
    radius = np.sqrt((z / 95) ** 2 + (y / 95) ** 2 + (x / 75) ** 2)
    hu = np.where(radius < 1, 40.0, -1000.0)
    hu[(radius < 0.95) & (radius > 0.87)] = 1000
    hu[(z > 20) & (z < 45) & (y < -50) & (y > -75) & (abs(x) < 30) & (abs(x) > 8)] = -1000
    hu[(z > 10) & (z < 50) & (y > 10) & (y < 40) & (abs(x) > 52) & (abs(x) < 64)] = -700
    return (hu + np.random.default_rng(1).normal(0, 15, hu.shape)).astype(np.float32)


def test_a_head_is_no_chest() -> None:
    hu = head()
    assert not look(hu, hu.shape, (2.5, 1.0, 1.0)).is_found
    assert not look(hu[50:51], (1, *hu.shape[1:]), None).is_found


@pytest.mark.parametrize("spacing", [SPACING, None])
def test_one_slice_tells_by_its_share(
    spacing: tuple[float, float, float] | None, healthy: CtVolume
) -> None:
    slices = healthy.hu.shape[0]
    shown = healthy.hu[slices // 2 : slices // 2 + 1]
    field = look(shown, shown.shape, spacing)
    assert field.is_found
    assert (field.lung_ml(Side.LEFT) is None) == (spacing is None)


def test_a_windowed_8_bit_picture_tells_too(healthy: CtVolume) -> None:
    window = Window()
    grey = np.rint(window.apply(healthy.hu[healthy.hu.shape[0] // 2]) * 255)
    hu = (grey / 255 * window.width + window.center - window.width / 2).astype(np.float32)
    assert look([hu], (1, *hu.shape), None).is_found


def test_a_thin_series_is_looked_at_every_2_mm(healthy: CtVolume) -> None:
    """Breaks if a long series fills memory, or if what a plane stands for is counted wrongly."""
    thin = np.repeat(healthy.hu, 5, axis=0)[:-3]  # spacing 1 mm, an uneven last step
    field = look(thin, thin.shape, (1.0, 2.0, 2.0))
    assert len(field.indices) == -(-thin.shape[0] // 2)
    assert field.lung_ml(Side.LEFT) == pytest.approx(true_ml(healthy.left_lung), rel=0.08)


@pytest.mark.skipif(not SHARED.is_dir(), reason="the real scans are not beside the repository")
def test_a_real_chest_has_the_lungs_its_label_map_says() -> None:
    """LIDC: 1,741 mL left and 1,954 mL right by the label map."""
    (found,) = find_volumes([SHARED / "lidc" / "ct.nii.gz"])
    volume = open_volume(found)  # type: ignore[arg-type]
    field = LungFinder(volume.shape, volume.spacing_mm, volume.geometry)
    for index, hu in enumerate(volume.slices()):
        field.add(index, hu)
    lungs = field.found()
    assert lungs.lung_ml(Side.LEFT) == pytest.approx(1741, rel=0.03)
    assert lungs.lung_ml(Side.RIGHT) == pytest.approx(1954, rel=0.03)


@pytest.mark.skipif(not SHARED.is_dir(), reason="the real slices are not beside the repository")
def test_every_real_chest_slice_shows_lung() -> None:
    paths = sorted(p for p in (SHARED / "slices").glob("*.png") if "_lung" not in p.name)
    for found in find_volumes(paths[::6]):
        volume = open_volume(found)  # type: ignore[arg-type]
        assert look(volume.slices(), volume.shape, None).is_found, found
