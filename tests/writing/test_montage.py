"""Pictures of a CT finding: proportions, places of outlines, how many tiles."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from pneumoseg.writing.montage import MOST_TILES, Plane, draw_plane, spread, write_montage
from pneumoseg.writing.montage import write_planes as write_three
from pneumoseg.writing.overlay import FOUND_COLOUR, TRUTH_COLOUR


def plane(rows: int, cols: int, pixel_mm: tuple[float, float] = (1.0, 1.0)) -> Plane:
    hu = np.full((rows, cols), -1000, np.float32)
    mask = np.zeros((rows, cols), np.bool_)
    mask[rows // 4 : rows // 2, cols // 2 :] = True
    return Plane(hu, mask, pixel_mm)


def test_pixels_that_are_not_square_are_shown_in_proportion() -> None:
    """30 slices of 5 mm over 100 columns of 1.5 mm are a square."""
    assert draw_plane(plane(30, 100, (5.0, 1.5)), 200).shape == (200, 200, 3)
    assert draw_plane(plane(30, 100), 200).shape == (60, 200, 3)


def test_the_outline_is_where_the_mask_is_and_the_truth_is_blue() -> None:
    one = plane(64, 64)
    truth = np.zeros((64, 64), np.bool_)
    truth[40:60, 4:20] = True
    picture = draw_plane(Plane(one.hu, one.mask, (1.0, 1.0), truth=truth), 256)
    orange = np.argwhere((np.abs(picture - np.array(FOUND_COLOUR)) < 30).all(axis=2))
    blue = np.argwhere((np.abs(picture - np.array(TRUTH_COLOUR)) < 30).all(axis=2))
    assert orange.min(axis=0) == pytest.approx([64, 128], abs=6)
    assert orange.max(axis=0) == pytest.approx([127, 255], abs=6)
    assert blue.min(axis=0) == pytest.approx([160, 16], abs=6)
    assert picture[96, 192].tolist() == picture[10, 10].tolist()  # outlined, not filled


@pytest.mark.parametrize("count", [1, 5, MOST_TILES])
def test_a_montage_of_any_number_of_slices(count: int, tmp_path: Path) -> None:
    write_montage(tmp_path / "m.png", [plane(64, 80) for _ in range(count)], ["id", "Probability"])
    with Pillow.open(tmp_path / "m.png") as picture:
        assert picture.mode == "RGB"
        colours = np.asarray(picture).reshape(-1, 3)
    assert (np.abs(colours.astype(int) - FOUND_COLOUR) < 30).all(axis=1).any()


def test_three_planes_share_a_scale(tmp_path: Path) -> None:
    """Axial 100 × 100 mm, coronal and sagittal 50 × 100 mm: half as high."""
    side = Plane(np.zeros((10, 100), np.float32), None, (5.0, 1.0))
    write_three(tmp_path / "p.png", plane(100, 100), side, side, ["id"])
    with Pillow.open(tmp_path / "p.png") as picture:
        width, height = picture.size
    assert width == 3 * (512 + 4)
    assert height > 512


def test_tiles_are_spread_evenly() -> None:
    assert spread(5) == [0, 1, 2, 3, 4]
    many = spread(1000, 24)
    assert len(many) == 24 and many[0] == 0 and many[-1] == 999
    assert max(np.diff(many)) - min(np.diff(many)) <= 1
    assert spread(0) == []
