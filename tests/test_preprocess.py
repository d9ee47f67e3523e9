"""The one road to the network and back."""

from __future__ import annotations

import numpy as np
import pytest

from pneumoseg.preprocess import (
    GRID_SIZE,
    Normalisation,
    Placement,
    mask_to_grid,
    mask_to_input,
    to_grid,
    to_source_grid,
    to_tensor,
)
from pneumoseg.study import Image, Source, Units


def _film(pixels: np.ndarray) -> Image:
    return Image(pixels.astype(np.float32), Units.UNIT_INTERVAL, None, Source("a"))


@pytest.mark.parametrize(
    ("rows", "cols", "box"),
    [
        (1024, 1024, (0, 0, 512, 512)),
        (2048, 1024, (0, 128, 512, 256)),  # portrait: bars left and right
        (1024, 2048, (128, 0, 256, 512)),  # landscape: bars above and below
        (1000, 801, (0, 51, 512, 410)),  # 801 * 0.512 = 410.1
        (3, 5, (102, 0, 307, 512)),  # smaller than the grid: enlarged
        (1, 1, (0, 0, 512, 512)),
        (4000, 2, (0, 255, 512, 1)),  # a strip keeps one pixel
    ],
)
def test_letterbox_by_hand(rows: int, cols: int, box: tuple[int, ...]) -> None:
    place = Placement.letterbox(rows, cols)
    assert (place.top, place.left, place.height, place.width) == box


def test_area_of_a_grid_pixel() -> None:
    """min_pixels is told in grid pixels: on a 1024² film one is four source pixels."""
    assert Placement.letterbox(1024, 1024).source_pixels_per_grid_pixel == 4.0
    assert Placement.letterbox(256, 256).source_pixels_per_grid_pixel == 0.25


def test_a_film_fills_its_box_and_bars_are_black() -> None:
    grid, place = to_grid(_film(np.ones((1024, 512))))
    assert grid.shape == (GRID_SIZE, GRID_SIZE) and grid.dtype == np.uint8
    assert (grid[:, place.left : place.left + place.width] == 255).all()
    assert not grid[:, :128].any() and not grid[:, 384:].any()


def test_shrinking_averages_areas() -> None:
    """A checkerboard of 0 and 1 at twice the grid is grey everywhere: 0.5 * 255 = 127.5 -> 128."""
    checkers = np.indices((1024, 1024)).sum(axis=0) % 2
    grid, _ = to_grid(_film(checkers))
    assert set(np.unique(grid).tolist()) <= {127, 128}


def test_a_film_on_the_grid_comes_through_to_the_bit() -> None:
    levels = np.random.default_rng(0).integers(0, 256, (512, 512))
    grid, _ = to_grid(_film(levels / 255))
    assert np.array_equal(grid, levels)


def test_to_grid_refuses_hounsfield_units_and_volumes() -> None:
    pixels = np.zeros((4, 4), dtype=np.float32)
    with pytest.raises(ValueError, match="unit-interval film"):
        to_grid(Image(pixels, Units.HU, None, Source("a")))
    with pytest.raises(ValueError, match="unit-interval film"):
        to_grid(_film(np.zeros((2, 4, 4))))


def test_a_grid_pixel_is_mask_where_half_is_covered() -> None:
    """Blocks of 2×2 source pixels with 1, 2 and 3 of them set: only the last two count."""
    mask = np.zeros((1024, 1024), dtype=np.bool_)
    mask[0, 0] = True
    mask[0, 2:4] = True
    mask[0:2, 4:6] = [[1, 1], [1, 0]]
    grid = mask_to_grid(mask)
    assert grid.dtype == np.uint8
    assert grid[0, :4].tolist() == [0, 1, 1, 0]
    assert grid.sum() == 2


def test_film_and_mask_land_on_the_same_place() -> None:
    square = np.zeros((700, 1100))
    square[100:300, 800:1000] = 1
    grid, _ = to_grid(_film(square))
    assert np.array_equal(grid >= 128, mask_to_grid(square > 0) == 1)


def test_tensor_values_by_hand() -> None:
    """(x / 255 - mean) / std: 0 -> -1, 255 -> 1, 51 -> (0.2 - 0.5) / 0.5 = -0.6."""
    grid = np.zeros((512, 512), dtype=np.uint8)
    grid[0, :3] = [0, 255, 51]
    tensor = to_tensor(grid, 512, Normalisation())
    assert tensor.shape == (1, 512, 512) and tensor.dtype == np.float32
    assert tensor.flags.c_contiguous
    assert tensor[0, 0, :3] == pytest.approx([-1.0, 1.0, -0.6], abs=1e-6)
    other = to_tensor(grid, 512, Normalisation(mean=0.25, std=0.2))
    assert other[0, 0, :3] == pytest.approx([-1.25, 3.75, -0.25], abs=1e-6)


def test_a_smaller_tensor_averages_the_grid() -> None:
    """Blocks of 2×2: (0 + 100 + 100 + 200) / 4 = 100."""
    grid = np.tile(np.array([[0, 100], [100, 200]], dtype=np.uint8), (256, 256))
    tensor = to_tensor(grid, 256, Normalisation(mean=0.0, std=1.0))
    assert tensor.shape == (1, 256, 256)
    assert np.allclose(tensor, 100 / 255)


def test_to_tensor_leaves_the_grid_alone() -> None:
    grid = np.full((512, 512), 7, dtype=np.uint8)
    grid.setflags(write=False)
    to_tensor(grid, 512, Normalisation())
    to_tensor(grid, 64, Normalisation())
    assert (grid == 7).all()


def _centre(map_: np.ndarray) -> np.ndarray:
    weights = map_ / map_.sum()
    rows, cols = np.indices(map_.shape)
    return np.array([(rows * weights).sum(), (cols * weights).sum()])


@pytest.mark.parametrize("shape", [(1024, 1024), (1400, 900), (777, 1201), (300, 211)])
@pytest.mark.parametrize("size", [512, 256])
def test_a_blob_comes_back_to_where_it_was(shape: tuple[int, int], size: int) -> None:
    """There and back within one pixel: a shift here would move every outline in every table."""
    rows, cols = np.indices(shape)
    centre = np.array([0.3 * shape[0], 0.7 * shape[1]])
    sigma = 0.05 * max(shape)
    blob = np.exp(-((rows - centre[0]) ** 2 + (cols - centre[1]) ** 2) / (2 * sigma**2))
    grid, place = to_grid(_film(blob))
    seen = to_tensor(grid, size, Normalisation(mean=0.0, std=1.0))[0]
    back = to_source_grid(seen, place)
    assert back.shape == shape and back.dtype == np.float32
    assert np.abs(_centre(back) - centre).max() < 1.0
    assert np.abs(back - blob).max() < 0.05


def test_probabilities_are_interpolated_before_the_threshold() -> None:
    """Grid columns 0.2 and 1.0 side by side: bilinear puts the 0.5 line between their centres (at
    3/8 of the way), nearest neighbour of the 0/1 mask could only put it on the pixel border.
    """
    map_ = np.zeros((512, 512), dtype=np.float32)
    map_[:, :256], map_[:, 256:] = 0.2, 1.0
    place = Placement.letterbox(4096, 4096)  # eight film pixels a grid pixel
    mask = to_source_grid(map_, place) >= 0.5
    first = int(np.flatnonzero(mask[2048])[0])
    # The columns' centres lie at 2043.5 and 2051.5; 0.5 is reached at 2043.5 + 8 * 3 / 8 = 2046.5.
    assert first == 2047
    nearest = np.kron(map_ >= 0.5, np.ones((8, 8), dtype=np.bool_))
    assert int(np.flatnonzero(nearest[2048])[0]) == 2048


def test_bars_do_not_come_back() -> None:
    """What a network says about the black bars is outside the film and cut away."""
    place = Placement.letterbox(1024, 512)
    map_ = np.ones((512, 512), dtype=np.float32)
    map_[:, place.left : place.left + place.width] = 0
    assert not to_source_grid(map_, place).any()


def test_a_map_that_fits_is_returned_as_it_is() -> None:
    map_ = np.random.default_rng(1).random((512, 512), dtype=np.float32)
    assert np.array_equal(to_source_grid(map_, Placement.letterbox(512, 512)), map_)


def test_a_mask_pixel_at_the_input_is_half_covered() -> None:
    mask = np.zeros((512, 512), dtype=np.uint8)
    mask[0:4, 0:8] = 1  # half of the first 8×8 block: 1
    mask[0:3, 8:16] = 1  # three eighths of the second: 0
    small = mask_to_input(mask, 64)
    assert small.shape == (1, 64, 64) and small.dtype == np.float32
    assert small[0, 0, :3].tolist() == [1.0, 0.0, 0.0] and small.sum() == 1
