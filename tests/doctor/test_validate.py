"""A CSV of predictions is checked row by row: every kind of trouble is planted and found."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from checked_rows import check_aggregated, check_split, found, write

from pneumoseg.cli import main
from pneumoseg.doctor.validate import (
    ValidateSettings,
    draw_validation,
    run_validate,
)
from pneumoseg.doctor.validate_rows import PROBLEM_CODES
from pneumoseg.errors import DataError, UsageError

SHARED = Path(__file__).parents[2].parent / "shared" / "data" / "siim"


def test_sound_files_of_both_kinds_pass(tmp_path: Path) -> None:
    a = check_aggregated(tmp_path, "a,5 2 4 1", "b,-1", grid=10)
    assert (a.kind, a.rows, a.images, a.is_valid) == ("aggregated", 2, 2, True)
    s = check_split(
        tmp_path,
        "a,5 2,1,2,0.50,0.9,right",
        "a,11 1,2,1,0.25,0.8,",
        "b,-1,,,,,",
        grid=10,
        pair=tmp_path / "a.csv",
    )
    assert (s.kind, s.rows, s.images, s.problems) == ("split", 3, 2, ())


def test_ids_are_compared_with_those_expected(tmp_path: Path) -> None:
    ids = write(tmp_path / "ids.csv", "image_id,other", "a,1", "b,1", "c,1")
    report = check_aggregated(tmp_path, "a,-1", "x,-1", "c,-1", ids=ids)
    assert [(p.line, p.image_id, p.code) for p in report.problems] == [
        (0, "b", "missing-id"),
        (3, "x", "unknown-id"),
    ]


def test_films_give_ids_and_each_its_own_grid(tmp_path: Path) -> None:
    folder = tmp_path / "films"
    folder.mkdir()
    for name, shape in (("a", (64, 80)), ("b", (80, 64)), ("c", (64, 64))):
        rng = np.random.default_rng(0)
        cv2.imwrite(str(folder / f"{name}.png"), rng.integers(0, 255, shape, dtype=np.uint8))
    report = check_aggregated(tmp_path, "a,5119 1", "b,5119 2", images=folder)
    assert found(report) == [(0, "missing-id"), (3, "outside-grid")]


def test_sizes_from_a_table(tmp_path: Path) -> None:
    sizes = write(tmp_path / "sizes.csv", "image_id,rows,cols", "a,10,20", "b,10,10")
    report = check_aggregated(tmp_path, "a,199 1", "b,199 1", "c,-1", sizes=sizes)
    assert found(report) == [(3, "outside-grid"), (4, "unknown-id")]
    ids = write(tmp_path / "ids.csv", "image_id", "a", "b", "c")
    with pytest.raises(DataError, match="size of 1 of the 3"):
        check_aggregated(tmp_path, "a,199 1", sizes=sizes, ids=ids)


def test_files_tell_all_and_the_picture_comes_from_the_json(tmp_path: Path) -> None:
    out = tmp_path / "out"
    report = check_aggregated(tmp_path, *[f"a,{k} 0" for k in range(30)], out=out)
    facts = json.loads((out / "validate.json").read_text())
    assert facts == json.loads(json.dumps(report.as_dict()))
    assert facts["counts"] == {"duplicate-row": 29, "bad-length": 30}
    with (out / "validate.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == 59
    draw_validation(facts, tmp_path / "again.png")
    assert (tmp_path / "again.png").read_bytes() == (out / "validate.png").read_bytes()


def test_exit_codes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = write(tmp_path / "good.csv", "ImageId,EncodedPixels", "a,5 2")
    bad = write(tmp_path / "bad.csv", "ImageId,EncodedPixels", "a,5", "b,1 0", "c,7")
    assert main(["validate", str(good), "--grid", "10"]) == 0
    assert "no problem found" in capsys.readouterr().out
    assert main(["validate", str(bad), "--grid", "10", "--shown", "1"]) == 1
    printed = capsys.readouterr().out
    assert "line 2, a: odd-count" in printed
    assert "and 2 more" in printed
    assert main(["validate", str(tmp_path / "none.csv")]) == 2
    assert main(["validate", str(good), "--grid", "10", "--images", str(tmp_path)]) == 2
    other = write(tmp_path / "other.csv", "name,value", "a,1")
    assert main(["validate", str(other)]) == 2


def test_wrong_settings_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="1 or more pixels"):
        ValidateSettings(tmp_path / "a.csv", grid=0)
    with pytest.raises(DataError, match="no rows"):
        check_aggregated(tmp_path)
    with pytest.raises(DataError, match="not area_px"):
        path = write(tmp_path / "x.csv", "ImageId,EncodedPixels,lesion", "a,-1,")
        run_validate(ValidateSettings(path))


def test_what_was_not_checked_is_said(tmp_path: Path) -> None:
    assert len(check_aggregated(tmp_path, "a,5 2").not_checked) == 3


@pytest.mark.skipif(not SHARED.is_dir(), reason="no real masks on this machine")
def test_the_challenges_own_masks_have_no_trouble_but_several_rows() -> None:
    """False alarms on 2,021 rows drawn by radiologists would make the check useless."""
    report = run_validate(ValidateSettings(SHARED / "train-rle.csv", grid=1024))
    assert {problem.code for problem in report.problems} == {"duplicate-row"}
    wrong = run_validate(ValidateSettings(SHARED / "train-rle.csv", grid=2048))
    counted = wrong.as_dict()["counts"]
    assert counted["wrong-grid"] > 1000


def test_every_code_is_in_the_reference() -> None:
    text = (Path(__file__).parents[2] / "docs" / "reference.md").read_text(encoding="utf-8")
    for code in PROBLEM_CODES:
        assert f"`{code}`" in text, code
