"""A data set with every kind of trouble planted in it: each is found, and nothing else."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from pneumoseg.cli import main
from pneumoseg.doctor.findings import ADVICE
from pneumoseg.doctor.picture import draw_doctor
from pneumoseg.doctor.report import DoctorReport
from pneumoseg.doctor.run import DoctorSettings, run_doctor
from pneumoseg.errors import DataError, UsageError
from pneumoseg.phantom import PhantomSettings, make_film, run_phantom

SIDE = 128
FILMS = [f"f{number:02d}" for number in range(12)]


def film(number: int) -> np.ndarray:
    pixels = make_film(4000 + number, size=SIDE).image.pixels
    return np.asarray(np.rint(pixels * 255), dtype=np.uint8)


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve phantoms; even ones have a mask; a patient each; first half trains."""
    root = tmp_path_factory.mktemp("clean")
    (root / "images").mkdir()
    masks, table = ["ImageId,EncodedPixels"], ["image_id,patient_id,split,view,sex,age,label"]
    for number, name in enumerate(FILMS):
        cv2.imwrite(str(root / "images" / f"{name}.png"), film(number))
        masks.append(f"{name},{'5000 30 98 30' if number % 2 == 0 else '-1'}")
        side = "train" if number < 6 else "test"
        table.append(f"{name},p{number},{side},PA,F,{20 + number},{1 - number % 2}")
    (root / "masks.csv").write_text("\n".join(masks) + "\n")
    (root / "table.csv").write_text("\n".join(table) + "\n")
    return root


def settings(root: Path, **changes: object) -> DoctorSettings:
    values: dict[str, object] = {
        "images": (root / "images",),
        "masks": root / "masks.csv",
        "table": root / "table.csv",
        "split_column": "split",
        "out": root / "out",
    }
    return DoctorSettings(**(values | changes))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def faulty(clean: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, DoctorReport]:
    """The same set with everything wrong with it, each trouble on films of its own."""
    root = tmp_path_factory.mktemp("faulty")
    images = root / "images"
    images.mkdir()
    for path in (clean / "images").iterdir():
        (images / path.name).write_bytes(path.read_bytes())

    def put(name: str, pixels: np.ndarray) -> None:
        cv2.imwrite(str(images / name), pixels)

    put("copy00.png", film(0))
    near = cv2.resize(film(1), (96, 96), interpolation=cv2.INTER_AREA)
    cv2.imwrite(str(images / "near01.jpg"), near, [cv2.IMWRITE_JPEG_QUALITY, 60])
    put("mirrored02.png", np.ascontiguousarray(film(2)[:, ::-1]))
    put("inverted.png", 255 - film(20))
    put("turned.png", np.rot90(film(21)).copy())
    put("flat.png", np.full((SIDE, SIDE), 90, np.uint8) + np.eye(SIDE, dtype=np.uint8))
    put("constant.png", np.full((SIDE, SIDE), 90, np.uint8))
    barred = np.zeros((SIDE, SIDE), np.uint8)
    barred[20:92, 30:94] = cv2.resize(film(22), (64, 72), interpolation=cv2.INTER_AREA)
    put("barred.png", barred)
    put("deep.png", film(23).astype(np.uint16) * 200 + 7 * np.arange(SIDE, dtype=np.uint16))
    (images / "notes.txt").write_text("not a film")
    (images / "again").mkdir()
    cv2.imwrite(str(images / "again" / "f03.png"), film(24))
    rows = (clean / "masks.csv").read_text().splitlines()[1:]
    rows = [row for row in rows if not row.startswith(("f05", "f06", "f08", "f11"))]
    rows += ["f04,-1", "f06,5000 30", "f06,5010 30", "f08,16380 30", "f05,3 x", "ghost,-1"]
    rows += ["copy00,-1", "near01,-1", "mirrored02,-1", "barred,100 30", "deep,-1"]
    rows += ["inverted,16383 1", "turned,-1", "flat,-1"]
    text = "\r\n".join(["ImageId, EncodedPixels", *rows]) + "\r\n"
    (root / "masks.csv").write_bytes(b"\xef\xbb\xbf" + text.encode())
    table = (clean / "table.csv").read_text().splitlines()
    table = [row.replace("f07,p7,test,PA,F,27,0", "f07,p5,test,PA,F,27,1") for row in table]
    table += ["near01,p1,test,PA,M,30,0", "deep,p30,train,LL,M,30,0"]
    (root / "table.csv").write_text("\n".join(table) + "\n")
    (root / "silver.csv").write_text("image_id,silver_probability\nf09,0.9\nf02,0.8\n")
    return root, run_doctor(settings(root, silver=(root / "silver.csv",)))


def items(report: DoctorReport, code: str) -> list[str]:
    return [o.item for found in report.findings if found.code == code for o in found.examples]


def test_a_clean_set_has_no_finding(clean: Path) -> None:
    """False alarms would teach people not to look."""
    report = run_doctor(settings(clean))
    assert [found.code for found in report.findings] == []
    assert not report.refused
    assert dict(report.counts) == {
        "files": 12,
        "films": 12,
        "labelled": 12,
        "positive": 6,
        "patients": 12,
        "mask_rows": 6,
        "lesions": 6,
    }


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("patient-on-both-sides", ["p1", "p5"]),
        ("picture-on-both-sides", ["f01"]),
        ("conflict-empty-and-mask", ["f04"]),
        ("conflict-table-label", ["f07"]),
        ("conflict-same-picture", ["copy00"]),
        ("duplicate-id", ["f03"]),
        ("exact-duplicate", ["copy00"]),
        ("bad-row", ["line 14, f05"]),
        ("runs-outside-grid", ["line 13, f08"]),
        ("label-without-image", ["ghost"]),
        ("image-without-label", ["f11"]),
        ("csv-dialect", ["masks.csv"] * 3),
        ("several-rows", ["f06"]),
        ("overlapping-annotations", ["f06"]),
        ("mask-at-edge", ["inverted", "barred"]),
        ("mask-outside-field", ["barred"]),
        ("unreadable", ["notes.txt"]),
        ("empty-field", ["constant", "flat"]),
        ("inverted-polarity", ["inverted"]),
        ("rotated", ["turned"]),
        ("cropped-field", ["barred"]),
        ("lateral-view", ["deep"]),
        ("several-sizes", ["128×128", "96×96"]),
        ("several-depths", ["deep"]),
        ("silver-disagrees", ["f09"]),
    ],
)
def test_each_planted_trouble_is_found_and_no_other(
    faulty: tuple[Path, DoctorReport], code: str, expected: list[str]
) -> None:
    found = items(faulty[1], code)
    assert sorted(found) == sorted(expected)


def test_nothing_is_found_that_was_not_planted(faulty: tuple[Path, DoctorReport]) -> None:
    planted = {
        mark.args[1][k][0]
        for mark in test_each_planted_trouble_is_found_and_no_other.pytestmark  # type: ignore[attr-defined]
        for k in range(len(mark.args[1]))
    }
    others = {found.code for found in faulty[1].findings} - planted
    assert others == {"near-duplicate", "patient-unknown"}
    pairs = {
        (o.item, o.detail.split()[2].strip(","), o.detail.split()[-1])
        for found in faulty[1].findings
        if found.code == "near-duplicate"
        for o in found.examples
    }
    assert pairs == {("f01", "near01", "same"), ("f02", "mirrored02", "mirrored")}


def test_findings_are_ranked_and_say_what_to_do(faulty: tuple[Path, DoctorReport]) -> None:
    severities = [found.severity for found in faulty[1].findings]
    assert severities == sorted(severities, key=["error", "warning", "info"].index)
    for found in faulty[1].findings:
        record = found.as_dict()
        assert record["advice"]
        assert len(record["examples"]) <= 10
        assert record["count"] >= len(found.examples) > 0


def test_files_hold_everything_and_the_picture_comes_from_the_json(
    faulty: tuple[Path, DoctorReport], tmp_path: Path
) -> None:
    root, report = faulty
    facts = json.loads((root / "out" / "doctor.json").read_text())
    assert facts == json.loads(json.dumps(report.as_dict()))
    with (root / "out" / "doctor.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == sum(len(found.examples) for found in report.findings)
    assert [r["item"] for r in rows if r["code"] == "rotated"] == ["turned"]
    draw_doctor(facts, tmp_path / "again.png")
    assert (tmp_path / "again.png").read_bytes() == (root / "out" / "doctor.png").read_bytes()


def test_a_leaky_split_is_refused_unless_told_otherwise(
    clean: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = (clean / "table.csv").read_text().replace("f07,p7", "f07,p5")
    (tmp_path / "leaky.csv").write_text(table)
    call = ["doctor", str(clean / "images"), "--masks", str(clean / "masks.csv")]
    call += ["--table", str(tmp_path / "leaky.csv"), "--split-column", "split"]
    call += ["--out", str(tmp_path / "out")]
    assert main(call) == 1
    message = capsys.readouterr()
    assert "the split is refused: 1 patient has films on both sides" in message.err
    assert json.loads((tmp_path / "out" / "doctor.json").read_text())["refused"] is True
    assert main([*call, "--allow-leaks"]) == 0
    facts = json.loads((tmp_path / "out" / "doctor.json").read_text())
    assert (facts["refused"], facts["leaks_allowed"]) == (False, True)
    assert [f["severity"] for f in facts["findings"]] == ["warning"]


def test_named_sides_may_join_words_and_leave_others_out(clean: Path, tmp_path: Path) -> None:
    table = (clean / "table.csv").read_text()
    table = table.replace("f05,p5,train", "f05,p4,aside").replace("f07,p7,test", "f07,p6,more")
    (tmp_path / "table.csv").write_text(table)
    changes: dict[str, object] = {"table": tmp_path / "table.csv", "out": tmp_path / "out"}
    assert run_doctor(settings(clean, **changes)).refused
    sides: dict[str, object] = {"train": ("train",), "test": ("test", "more")}
    assert not run_doctor(settings(clean, **changes, **sides)).refused


def test_dicom_files_bring_their_patients_and_views(tmp_path: Path) -> None:
    run_phantom(PhantomSettings(out=tmp_path, count=3, size=SIDE, workers=1))
    report = run_doctor(
        DoctorSettings(
            (tmp_path / "dicom",), masks=tmp_path / "train-rle.csv", out=tmp_path / "out"
        )
    )
    assert report.counts["patients"] == 3
    assert "patient-unknown" not in {found.code for found in report.findings}
    assert "view" in {group.by for group in report.groups}


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"table": Path("none.csv")}, UsageError, "cannot read none.csv"),
        ({"masks": Path("none.csv")}, UsageError, "cannot read none.csv"),
        ({"images": (Path("none"),)}, UsageError, "does not exist"),
        ({"split_column": "part"}, DataError, "no column 'part'"),
        ({"train": ("x",), "test": ("test",)}, DataError, "has no 'x'"),
    ],
)
def test_wrong_calls_are_refused_before_anything_is_written(
    clean: Path, tmp_path: Path, changes: dict[str, object], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        run_doctor(settings(clean, out=tmp_path / "out", **changes))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "changes",
    [
        {"images": ()},
        {"mask_grid": 0},
        {"table": None},
        {"split_column": None, "train": ("a",), "test": ("b",)},
        {"train": ("a",)},
        {"train": ("a",), "test": ("a",)},
        {"workers": 0},
        {"seed": -1},
    ],
)
def test_wrong_settings_are_refused(clean: Path, changes: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        settings(clean, **changes)


def test_a_folder_without_films_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(DataError, match="none of the 1 files"):
        run_doctor(DoctorSettings((tmp_path,), out=tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_every_code_is_in_the_reference() -> None:
    text = (Path(__file__).parents[2] / "docs" / "reference.md").read_text(encoding="utf-8")
    for code in ADVICE:
        assert f"`{code}`" in text, code
