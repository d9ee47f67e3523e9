"""Every film reduced to a few numbers, and what those say is wrong."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from doctor_cases import film

from pneumoseg.doctor.images import (
    Unread,
    image_findings,
    measure_film,
    measure_films,
    sizes_of,
)


def write(path: Path, pixels: np.ndarray) -> Path:
    cv2.imwrite(str(path), pixels)
    return path


def textured(rows: int = 96, cols: int = 128) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (rows, cols)).astype(np.uint8)


def test_a_film_is_measured(tmp_path: Path) -> None:
    pixels = textured() // 64 * 64  # four levels: 0, 64, 128, 192
    found = measure_film(write(tmp_path / "a.png", pixels))
    assert (found.image_id, found.rows, found.cols, found.levels) == ("a", 96, 128, 4)
    assert found.field == (0.0, 1.0, 0.0, 1.0)
    assert found.field_aspect == pytest.approx(96 / 128) and found.field_share == 1.0
    assert found.contrast > 0.1


def test_the_digest_is_of_the_pixels_and_not_of_the_file(tmp_path: Path) -> None:
    pixels = textured()
    one = measure_film(write(tmp_path / "a.png", pixels))
    other = measure_film(write(tmp_path / "b.tiff", pixels))
    assert one.digest == other.digest
    turned = measure_film(write(tmp_path / "c.png", pixels.reshape(128, 96)))
    assert turned.digest != one.digest  # the same values in another shape


def test_files_keep_their_order_and_those_without_a_film_their_reason(tmp_path: Path) -> None:
    good = [write(tmp_path / f"{k}.png", textured()) for k in range(3)]
    (tmp_path / "empty.png").touch()
    reported: list[tuple[int, int]] = []
    films, unread = measure_films(
        [good[2], tmp_path / "empty.png", good[0]], 2, lambda *done: reported.append(done)
    )
    assert [one.image_id for one in films] == ["2", "0"]
    assert [(one.image_id, one.code) for one in unread] == [("empty", "empty-file")]
    assert reported == [(1, 3), (2, 3), (3, 3)]


def codes(*films: object, unread: tuple[Unread, ...] = ()) -> list[str]:
    return [one.code for one in image_findings(films, unread)]  # type: ignore[arg-type]


def test_sound_films_have_no_finding() -> None:
    assert codes(film("a"), film("b")) == []


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"contrast": 0.019}, "empty-field"),
        ({"field": (0.0, 0.59, 0.0, 1.0), "cols": 59}, "cropped-field"),
        ({"rows": 151, "field": (0.0, 1.0, 0.0, 1.0)}, "odd-shape"),
        ({"cols": 151}, "odd-shape"),
        ({"positions": np.array([0.1, 0.1, 0.1, 0.1, 0.9])}, "inverted-polarity"),
        ({"positions": np.array([0.1, 0.1, 0.9, 0.1, -0.1])}, "rotated"),
        ({"levels": 256}, "several-depths"),
    ],
)
def test_one_film_that_is_odd_is_named(changes: dict[str, object], code: str) -> None:
    odd = film("odd", **changes)
    sound = [film(name, rows=odd.rows, cols=odd.cols) for name in ("a", "b")]
    sound = sound if code not in ("odd-shape", "cropped-field") else []
    (found,) = image_findings([*sound, odd], [])
    assert found.code == code
    assert [one.item for one in found.examples] == ["odd"]


def test_the_oddest_is_named_first() -> None:
    films = [film("wide", cols=160), film("tall", rows=300), film("wider", cols=250)]
    found = {one.code: one for one in image_findings(films, [])}
    assert [one.item for one in found["odd-shape"].examples] == ["tall", "wider", "wide"]


def test_an_empty_film_is_not_also_called_turned() -> None:
    upside_down = np.array([0.1, 0.1, 0.9, 0.1, -0.1])
    assert codes(film("a", contrast=0.01, positions=upside_down)) == ["empty-field"]


def test_files_without_a_film_are_told_by_their_reason() -> None:
    unread = tuple(
        Unread(Path(f"{code}.dcm"), code, code, "why")
        for code in ("truncated", "lateral-view", "constant-image", "damaged")
    )
    found = {one.code: one for one in image_findings([], unread)}
    assert set(found) == {"unreadable", "lateral-view", "empty-field"}
    assert found["unreadable"].what == "2 files cannot be read (damaged, truncated)"
    assert [one.detail for one in found["unreadable"].examples] == ["damaged", "truncated"]


def test_sizes_are_counted_most_frequent_first() -> None:
    films = [film("a", rows=50), film("b"), film("c"), film("d", cols=50)]
    assert sizes_of(films) == {"100×100": 2, "100×50": 1, "50×100": 1}
