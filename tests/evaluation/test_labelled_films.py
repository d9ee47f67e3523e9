"""Films with their truth: which are chosen, what their masks are, what is refused."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from pneumoseg.errors import DataError, UsageError
from pneumoseg.evaluation.labelled_films import FilmSet, bring_mask, read_labelled_films


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three films of 64×64; a and b have masks drawn on 128×128; c has no row in the CSV."""
    images = tmp_path / "images"
    images.mkdir()
    rng = np.random.default_rng(0)
    for name in "abc":
        cv2.imwrite(str(images / f"{name}.png"), rng.integers(0, 255, (64, 64), dtype=np.uint8))
    # the last two columns of the 128-grid, whole: the last column of the film
    (tmp_path / "masks.csv").write_text("ImageId, EncodedPixels\na.dcm,16128 256\nb, -1\n")
    (tmp_path / "table.csv").write_text("image_id,patient_id,part\na,p1,test\nb,,train\n")
    return tmp_path


def film_set(folder: Path, **changes: object) -> FilmSet:
    values = {"images": folder / "images", "masks": folder / "masks.csv", "mask_grid": 128}
    return FilmSet(**{**values, "table": folder / "table.csv", **changes})  # type: ignore[arg-type]


def test_masks_come_to_the_films_grid_and_patients_from_the_table(folder: Path) -> None:
    a, b = read_labelled_films(film_set(folder))
    assert (a.image_id, a.label, a.patient_id) == ("a", True, "p1")
    assert a.truth.sum() == 64
    assert a.truth[:, 63].all()
    assert (b.image_id, b.label, b.truth.any(), b.patient_id) == ("b", False, False, "b")
    assert b.facts == {"patient_id": "", "part": "train"}


def test_conditions_choose_by_column(folder: Path) -> None:
    assert [f.image_id for f in read_labelled_films(film_set(folder, where=("part=test",)))] == [
        "a"
    ]
    either = film_set(folder, where=("part=test|train",))
    assert [f.image_id for f in read_labelled_films(either)] == ["a", "b"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"where": ("split=x",)}, "no column 'split'"),
        ({"where": ("part=none",)}, "no film"),
        ({"mask_grid": None}, "does not fit 64×64"),
    ],
)
def test_wrong_choices_are_refused(folder: Path, changes: dict[str, object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        list(read_labelled_films(film_set(folder, **changes)))


def test_a_film_that_is_missing_is_named(folder: Path) -> None:
    (folder / "images" / "b.png").unlink()
    with pytest.raises(DataError, match="the first is b"):
        list(read_labelled_films(film_set(folder)))


def test_a_condition_needs_a_table(folder: Path) -> None:
    with pytest.raises(UsageError, match="--table"):
        film_set(folder, table=None, where=("part=test",))


def test_half_covered_pixels_count() -> None:
    mask = np.zeros((4, 4), dtype=np.bool_)
    mask[0, 0:2] = True  # half of the first pixel of a 2×2 grid
    mask[2, 2] = True  # a quarter of the last
    assert bring_mask(mask, (2, 2)).tolist() == [[True, False], [False, False]]
