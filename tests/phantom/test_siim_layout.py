"""The SIIM layout of phantom films."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from pneumoseg import rle
from pneumoseg.errors import UsageError
from pneumoseg.phantom import PhantomSettings, make_film, run_phantom
from pneumoseg.phantom.siim_layout import film_uid
from pneumoseg.reading.dicom.file import read_dicom

SIZE = 96


def test_a_folder_holds_films_masks_and_truth_that_agree(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    settings = PhantomSettings(tmp_path, count=4, seed=7, size=SIZE, workers=1)
    run = run_phantom(settings, lambda done, total: seen.append((done, total)))
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]
    lines = run.masks.read_text(encoding="utf-8").splitlines()
    assert lines[0] == "ImageId, EncodedPixels"  # the challenge's header, with its space
    masks = dict(line.split(",", 1) for line in lines[1:])
    with run.truth.open(newline="", encoding="utf-8") as file:
        truth = list(csv.DictReader(file))
    assert [row["seed"] for row in truth] == ["7", "8", "9", "10"]
    for row in truth:
        film = make_film(int(row["seed"]), size=SIZE)
        uid = row["image_id"]
        assert np.array_equal(rle.decode(masks[uid], (SIZE, SIZE)), film.mask.pixels)
        assert (masks[uid] == " -1") == (row["pneumothorax"] == "0")
        path = tmp_path / "dicom" / f"{uid}.dcm"
        image = read_dicom(path.read_bytes(), path)
        assert image.source.sop_instance_uid == uid
        assert np.abs(image.pixels - film.image.pixels).max() <= 1 / 4095
        assert image.spacing_mm == pytest.approx(film.image.spacing_mm, abs=1e-5)
        assert image.source.view_position == row["view"]
    assert run.positives == sum(row["pneumothorax"] == "1" for row in truth)


def test_workers_change_nothing(tmp_path: Path) -> None:
    for name, workers in (("one", 1), ("two", 2)):
        run_phantom(PhantomSettings(tmp_path / name, count=2, size=64, workers=workers))
    files = sorted(p.relative_to(tmp_path / "one") for p in (tmp_path / "one").rglob("*.*"))
    assert len(files) == 4
    for file in files:
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


def test_uids_are_stable_valid_and_differ() -> None:
    uids = {film_uid(s, z, p) for s in (0, 1) for z in (512, 1024) for p in ("image", "study")}
    assert len(uids) == 8
    assert all(uid.startswith("2.25.") and len(uid) <= 64 for uid in uids)
    assert film_uid(0, 1024, "image") == film_uid(0, 1024, "image")


@pytest.mark.parametrize("wrong", [{"count": 0}, {"seed": -1}, {"size": 8}, {"workers": 0}])
def test_wrong_settings_are_refused(tmp_path: Path, wrong: dict[str, int]) -> None:
    with pytest.raises(UsageError, match=next(iter(wrong))):
        PhantomSettings(tmp_path, **wrong)


def test_a_folder_that_cannot_be_written_is_a_usage_error(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("in the way", encoding="utf-8")
    with pytest.raises(UsageError, match="choose another folder"):
        run_phantom(PhantomSettings(blocked, count=1, size=64, workers=1))
