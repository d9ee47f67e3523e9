"""Pictures: outlines lie where the mask lies, names are safe, files are what they say."""

from __future__ import annotations

import numpy as np
import PIL.Image
import pytest

from pneumoseg.study import Detection, Finding, Image, Mask, Provenance, Source, Units
from pneumoseg.writing.overlay import (
    FOUND_COLOUR,
    TRUTH_COLOUR,
    captioned_overlay,
    draw_overlay,
    safe_file_name,
    write_mask,
    write_overlay,
)

PROVENANCE = Provenance("cxr", "1.0", "0.1.0", "openvino", "f32")


def film(rows: int, cols: int, value: float = 0.5) -> Image:
    return Image(
        np.full((rows, cols), value, dtype=np.float32), Units.UNIT_INTERVAL, None, Source("film")
    )


def is_near(pixel, colour) -> bool:
    """Lines are smoothed, so a pixel on one has not quite its colour."""
    return bool(np.abs(np.array(pixel, int) - colour).max() <= 40)


def box_mask(rows: int, cols: int, box: tuple[slice, slice]) -> Mask:
    pixels = np.zeros((rows, cols), dtype=np.bool_)
    pixels[box] = True
    return Mask(pixels)


def make_finding(shape: tuple[int, int], mask: Mask | None, probability: float = 0.9) -> Finding:
    return Finding(Source("film"), shape, Detection(2.0, probability, 0.35), mask, (), PROVENANCE)


def test_outline_follows_the_border_and_leaves_the_inside():
    """Breaks if the area is filled (the pleural line would be hidden) or the outline is shifted."""
    mask = box_mask(100, 200, (slice(20, 60), slice(50, 150)))
    picture = draw_overlay(film(100, 200), mask)
    assert picture.shape == (100, 200, 3)
    assert is_near(picture[20, 100], FOUND_COLOUR)
    assert is_near(picture[59, 100], FOUND_COLOUR)
    assert is_near(picture[40, 50], FOUND_COLOUR)
    assert is_near(picture[40, 149], FOUND_COLOUR)
    assert tuple(picture[40, 100]) == (128, 128, 128)
    assert tuple(picture[10, 100]) == (128, 128, 128)


def test_a_thin_lesion_survives_a_smaller_picture():
    """Breaks if the mask is scaled down instead of its outline."""
    mask = box_mask(3000, 2400, (slice(700, 701), slice(300, 2100)))
    picture = draw_overlay(film(3000, 2400), mask, max_side=500)
    assert picture.shape == (500, 400, 3)
    rows, cols = np.nonzero((picture != 128).any(axis=2))
    assert abs(rows.mean() - 700.5 / 6) < 1.0
    assert abs(cols.min() - 50) <= 3
    assert abs(cols.max() - 350) <= 3


def test_truth_lies_beneath_the_prediction():
    mask = box_mask(80, 80, (slice(20, 40), slice(20, 40)))
    same = draw_overlay(film(80, 80), mask, truth=mask)
    assert is_near(same[20, 30], FOUND_COLOUR)
    alone = draw_overlay(film(80, 80), None, truth=mask)
    assert is_near(alone[20, 30], TRUTH_COLOUR)


def test_drawing_changes_neither_film_nor_mask():
    image, mask = film(64, 64), box_mask(64, 64, (slice(3, 9), slice(3, 9)))
    before = image.pixels.copy(), mask.pixels.copy()
    draw_overlay(image, mask)
    assert np.array_equal(image.pixels, before[0])
    assert np.array_equal(mask.pixels, before[1])


def test_a_mask_of_another_film_is_refused():
    with pytest.raises(ValueError, match="not on the film"):
        draw_overlay(film(64, 64), box_mask(65, 64, (slice(0, 1), slice(0, 1))))


def test_caption_makes_room_beside_and_under():
    finding = make_finding((400, 400), box_mask(400, 400, (slice(0, 9), slice(0, 9))))
    single = captioned_overlay(film(400, 400), finding)
    double = captioned_overlay(film(400, 400), finding, side_by_side=True)
    assert single.shape[1] == 400
    assert double.shape[1] == 800
    assert single.shape[0] > 400
    assert tuple(double[0, 0]) == (128, 128, 128)  # the bare film is on the left


@pytest.mark.parametrize("shape", [(1, 1), (1, 5000), (64, 7)])
def test_odd_shapes_are_drawn(shape):
    """Breaks if a degenerate film stops a run that writes overlays."""
    finding = make_finding(shape, box_mask(*shape, (slice(0, 1), slice(0, 1))))
    assert captioned_overlay(film(*shape), finding).dtype == np.uint8


def test_files_are_what_they_say(tmp_path):
    shape = (70, 90)
    mask = box_mask(*shape, (slice(5, 10), slice(20, 40)))
    write_overlay(tmp_path / "overlay.png", film(*shape), make_finding(shape, mask))
    write_mask(tmp_path / "mask.png", make_finding(shape, mask))
    write_mask(tmp_path / "none.png", make_finding(shape, None, 0.1))
    with PIL.Image.open(tmp_path / "mask.png") as picture:
        assert (picture.mode, picture.format) == ("L", "PNG")
        assert np.array_equal(np.asarray(picture), mask.pixels.astype(np.uint8) * 255)
    with PIL.Image.open(tmp_path / "none.png") as picture:
        assert picture.size == (90, 70)
        assert not np.asarray(picture).any()
    with PIL.Image.open(tmp_path / "overlay.png") as picture:
        assert picture.mode == "RGB"
        offset = (picture.width - 90) // 2  # a tiny film is centred over its caption
        assert is_near(picture.getpixel((offset + 30, 5)), FOUND_COLOUR)  # red and blue not swapped
    assert len(list(tmp_path.iterdir())) == 3


@pytest.mark.parametrize(
    "image_id",
    [
        "../../etc/passwd",
        "/abs",
        "..",
        "",
        "a/b",
        "a b",
        "con",
        "x" * 300,
        "a\x00b",
        "\udcff",
        ".x",
    ],
)
def test_hostile_ids_stay_inside_their_folder(image_id):
    """Breaks if an image id from a file can choose where a picture is written."""
    name = safe_file_name(image_id)
    assert "~" in name
    assert len(name) <= 80
    assert not set(name) & set("/\\\x00 \n")
    assert not name.startswith(".")
    name.encode("ascii")


def test_names_are_kept_or_told_apart():
    """Breaks if two ids share one picture."""
    uid = "1.2.276.0.7230010.3.1.4.8323329.1000.1517875163.537053"
    assert safe_file_name(uid) == uid
    assert len({safe_file_name(name) for name in ("a/b", "a_b", "a b", "a:b")}) == 4
