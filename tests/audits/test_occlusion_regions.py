"""Regions of known size, covered as told."""

from __future__ import annotations

import cv2
import numpy as np

from pneumoseg.audits.occlusion_regions import (
    Cover,
    border,
    bright_text,
    corners,
    cover,
    lung_fields,
    places_elsewhere,
)
from pneumoseg.preprocess import Placement

SQUARE = Placement.letterbox(512, 512)


def test_regions_have_the_size_they_say() -> None:
    assert border(SQUARE, 0.25).sum() == 512**2 - 256**2
    assert corners(SQUARE).sum() == 4 * 77**2  # 15 % of 512
    # the border of a letterboxed film follows the film, and its bars count as border
    tall = Placement.letterbox(512, 256)
    assert (~border(tall, 0.125)).sum() == 384 * 128


def test_covers() -> None:
    grid = np.full((512, 512), 100, dtype=np.uint8)
    grid[:100] = 40
    region = np.zeros(grid.shape, dtype=np.bool_)
    region[:10] = True
    assert (cover(grid, region, Cover.BLACK)[:10] == 0).all()
    assert (cover(grid, region, Cover.GREY)[:10] == 100).all()  # the median
    assert (cover(grid, region, Cover.BLURRED)[5] == 40).all()
    assert (cover(grid, region, Cover.BLACK)[10:] == grid[10:]).all()
    grid[5, 200:220] = 255
    line = grid == 255
    assert (cover(grid, line, Cover.PAINTED_OVER)[5, 200:220] == 40).all()


def test_letters_near_the_edge_are_found_and_bones_are_not() -> None:
    grid = np.full((512, 512), 60, dtype=np.uint8)
    cv2.putText(grid, "L", (470, 60), cv2.FONT_HERSHEY_SIMPLEX, 1.0, 255, 3)
    cv2.putText(grid, "L", (250, 256), cv2.FONT_HERSHEY_SIMPLEX, 1.0, 255, 3)  # not at the edge
    grid[300:500, 5:100] = 250  # bright but no letter: an arm
    found = bright_text(grid, SQUARE)
    assert found[40:60, 470:490].any()
    assert not found[:, 120:400].any()
    assert not found[300:].any()


def chest() -> np.ndarray:
    grid = np.full((512, 512), 180, dtype=np.uint8)
    grid[80:380, 90:220] = grid[80:380, 290:420] = 60
    return grid


def test_the_lungs_are_the_two_dark_fields() -> None:
    found = lung_fields(chest())
    truth = chest() < 100
    assert (found & truth).sum() / (found | truth).sum() > 0.95


def test_a_region_moves_to_other_lung_and_keeps_its_size() -> None:
    region = np.zeros((512, 512), dtype=np.bool_)
    region[100:140, 100:130] = True
    lung = chest() < 100
    places = places_elsewhere(region, lung, 4, np.random.default_rng(0))
    assert len(places) == 4
    for place in places:
        assert place.sum() == region.sum()
        assert (place & region).sum() <= 0.1 * region.sum()
        assert lung[place].mean() >= 0.9
    assert places_elsewhere(region, np.zeros_like(lung), 4, np.random.default_rng(0)) == []
    assert places_elsewhere(np.zeros_like(region), lung, 4, np.random.default_rng(0)) == []
