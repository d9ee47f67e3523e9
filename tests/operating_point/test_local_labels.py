"""A few local films with their labels: every labelled film is used, or the call is refused."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from pneumoseg.errors import DataError, UsageError
from pneumoseg.operating_point.local_labels import LocalFilms, read_labels, read_local_films


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    for name in "abc":
        pixels = np.random.default_rng(ord(name)).integers(0, 256, (64, 64)).astype(np.uint8)
        cv2.imwrite(str(folder / f"{name}.png"), pixels)
    return folder


def csv(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n")
    return path


def labels(folder: Path, *rows: str) -> Path:
    return csv(folder / "labels.csv", "image_id,label", *rows)


def test_labelled_films_come_in_the_folder_s_order_with_their_patients(
    images: Path, tmp_path: Path
) -> None:
    """Film b has no label and is passed over; c has no patient and stands for itself."""
    table = csv(tmp_path / "t.csv", "image_id,patient_id", "a,p")
    found = list(read_local_films(LocalFilms(images, None, labels(tmp_path, "c,0", "a,1"), table)))
    assert [(one.image.source.image_id, one.label, one.patient_id) for one in found] == [
        ("a", True, "p"),
        ("c", False, "c"),
    ]


def test_words_of_a_label_and_image_endings(images: Path, tmp_path: Path) -> None:
    films = LocalFilms(images, None, labels(tmp_path, "a.png, Yes ", "b,0.0", "c,TRUE"))
    assert read_labels(films) == {"a": True, "b": False, "c": True}
    with pytest.raises(DataError, match="line 2: label must be 0 or 1, got 'maybe'"):
        read_labels(LocalFilms(images, None, labels(tmp_path, "a,maybe")))
    with pytest.raises(DataError, match="line 3: image a is listed twice"):
        read_labels(LocalFilms(images, None, labels(tmp_path, "a,1", "a.png,1")))


def test_a_mask_is_a_positive_label(images: Path, tmp_path: Path) -> None:
    masks = csv(tmp_path / "m.csv", "ImageId, EncodedPixels", "a, 5 2", "a, 9 1", "b, -1")
    assert read_labels(LocalFilms(images, masks)) == {"a": True, "b": False}


def test_conditions_choose_and_may_leave_none(images: Path, tmp_path: Path) -> None:
    table = csv(tmp_path / "t.csv", "image_id,view", "a,AP", "b,PA", "c,AP")
    given = labels(tmp_path, "a,1", "b,1", "c,0")
    found = read_local_films(LocalFilms(images, None, given, table, ("view=AP",)))
    assert [one.image.source.image_id for one in found] == ["a", "c"]
    with pytest.raises(DataError):
        list(read_local_films(LocalFilms(images, None, given, table, ("view=LL",))))


def test_a_labelled_film_that_is_missing_damaged_or_twice_is_refused(
    images: Path, tmp_path: Path
) -> None:
    """Breaks if a threshold is fitted to fewer films than were labelled."""
    with pytest.raises(DataError, match=r"1 of the 2 labelled films are not in .*first is z"):
        list(read_local_films(LocalFilms(images, None, labels(tmp_path, "a,1", "z,0"))))
    (images / "d.png").touch()
    with pytest.raises(DataError, match=r"d\.png cannot be read"):
        list(read_local_films(LocalFilms(images, None, labels(tmp_path, "a,1", "d,0"))))
    (images / "more").mkdir()
    (images / "a.png").rename(images / "more" / "a.png")
    cv2.imwrite(str(images / "a.tiff"), np.eye(64, dtype=np.uint8) * 255)
    with pytest.raises(DataError, match="image a is there twice"):
        list(read_local_films(LocalFilms(images, None, labels(tmp_path, "a,1", "b,0"))))


def test_masks_or_labels_not_both_not_neither(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    for masks, given in ((None, None), (path, path)):
        with pytest.raises(UsageError, match="give either masks"):
            LocalFilms(tmp_path, masks, given)
