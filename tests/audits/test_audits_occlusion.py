"""The occlusion audit: regions of known size, and a shortcut at the border that it must find."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from audit_films import SIDE, dim_film, film_arguments, write_films

from pneumoseg.audits.occlusion import OcclusionAuditSettings, run_occlusion_audit
from pneumoseg.audits.occlusion_regions import (
    Cover,
    border,
    bright_text,
    corners,
    cover,
    lung_fields,
    places_elsewhere,
)
from pneumoseg.errors import UsageError
from pneumoseg.preprocess import Placement
from tiny_bundle import write_tiny_bundle

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


def test_a_shortcut_at_the_border_is_found(tmp_path: Path) -> None:
    """Positive films are brighter at their border alone: covering it must cost everything."""
    rng, films = np.random.default_rng(2), {}
    for k in range(10):
        pixels = dim_film(rng)
        if k % 2:
            pixels[:4] = 30
        films[f"f{k}"] = (pixels, bool(k % 2))
    write_films(tmp_path / "films", films)
    settings = OcclusionAuditSettings(
        **film_arguments(tmp_path / "films"),  # type: ignore[arg-type]
        bundle=str(write_tiny_bundle(tmp_path / "tiny").folder),
        widths=(0.05,),
        places=1,
        repeats=50,
        threads=1,
    )
    audit = run_occlusion_audit(settings)
    panels = {panel.title: {f.name: f for f in panel.figures} for panel in audit.panels}
    auroc = panels["AUROC of pneumothorax"]
    assert auroc["as it is"].value == 1.0
    covered = auroc["border of 5.0% covered"].value
    assert covered is not None
    assert covered < 0.9
    only = panels["AUROC of pneumothorax from what holds no lung"]
    assert only["only a border of 5.0% left"].value == 1.0
    assert any("what lies there tells something" in sentence for sentence in audit.sentences)
    assert SIDE * 0.05 > 4, "the covered border must hold the shortcut"


def test_settings_are_checked() -> None:
    with pytest.raises(UsageError, match="widths"):
        OcclusionAuditSettings(Path("i"), Path("m"), widths=(0.5,))
    with pytest.raises(UsageError, match="places"):
        OcclusionAuditSettings(Path("i"), Path("m"), places=0)
