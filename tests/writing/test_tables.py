"""Records and tables against values written by hand."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from pneumoseg import rle
from pneumoseg.storage.record import FindingRecord, read_records
from pneumoseg.study import Detection, Finding, Lesion, Mask, Provenance, Side, Source
from pneumoseg.writing.tables import (
    failure_line,
    finding_record,
    printable,
    split_rows,
    write_tables,
)

PROVENANCE = Provenance("cxr", "1.0", "0.1.0", "openvino", "f32")


def make_finding(image_id="1.2.3", boxes=(), spacing_mm=(0.5, 0.5), segmented=True) -> Finding:
    """A finding on 4 rows × 6 cols with one lesion per (row, col, height, width) box."""
    lesions = []
    united = np.zeros((4, 6), dtype=np.bool_)
    for row, col, height, width in boxes:
        pixels = np.zeros((4, 6), dtype=np.bool_)
        pixels[row : row + height, col : col + width] = True
        united |= pixels
        lesions.append(Lesion(Mask(pixels, spacing_mm), 0.75, Side.LEFT))
    return Finding(
        source=Source(image_id, Path("a") / "b.dcm", notes=("no window",)),
        shape=(4, 6),
        detection=Detection(0.5, 0.6, 0.35),
        mask=Mask(united, spacing_mm) if segmented else None,
        lesions=tuple(lesions),
        provenance=PROVENANCE,
        seconds=0.12345678,
    )


def test_record_holds_every_promised_field():
    record = finding_record(
        make_finding(boxes=[(0, 0, 2, 2), (3, 5, 1, 1)]), segmenter_threshold=0.5
    )
    assert json.loads(record.to_json()) == {
        "image_id": "1.2.3",
        "path": "a/b.dcm",
        "shape": [4, 6],
        "spacing_mm": [0.5, 0.5],
        "patient_orientation": None,
        "logit": 0.5,
        "probability": 0.6,
        "positive": True,
        "classifier_threshold": 0.35,
        "segmenter_threshold": 0.5,
        "segmented": True,
        "area_px": 5,
        "area_mm2": 1.25,
        "lesions": [
            # column by column: pixels 0-1 and 4-5; the second start counts from the first run's end
            {"area_px": 4, "area_mm2": 1.0, "score": 0.75, "side": "left", "rle": "0 2 2 2"},
            {"area_px": 1, "area_mm2": 0.25, "score": 0.75, "side": "left", "rle": "23 1"},
        ],
        "rle": "0 2 2 2 17 1",
        "seconds": 0.1235,
        "bundle": "cxr",
        "bundle_version": "1.0",
        "software_version": "0.1.0",
        "runtime": "openvino",
        "device": "cpu",
        "precision": "f32",
        "notes": ["no window"],
    }


def test_a_film_that_was_not_segmented_says_so_and_keeps_its_spacing():
    """Breaks if «not run» and «nothing found» become one."""
    record = finding_record(make_finding(segmented=False), spacing_mm=(0.2, 0.3))
    assert (record.segmented, record.rle, record.area_px) == (False, "-1", 0)
    assert record.area_mm2 is None
    assert record.spacing_mm == (0.2, 0.3)
    assert finding_record(make_finding()).segmented is True


def test_a_volume_is_refused():
    volume = Finding(Source("ct"), (2, 4, 6), Detection(0, 0.5, 0.35), None, (), PROVENANCE)
    with pytest.raises(ValueError, match="films"):
        finding_record(volume)


def test_tables_to_the_letter(tmp_path):
    """Breaks if the header, the -1 rows or the empty cells of the submission change."""
    findings = [
        make_finding("b", [(0, 0, 2, 2), (3, 5, 1, 1)]),
        make_finding("a"),
        make_finding("c", [(0, 0, 4, 1)], spacing_mm=None),
    ]
    records = [finding_record(finding) for finding in findings]
    write_tables(iter(records), tmp_path / "agg.csv", tmp_path / "split.csv")
    assert (tmp_path / "agg.csv").read_text() == (
        "ImageId,EncodedPixels\nb,0 2 2 2 17 1\na,-1\nc,0 4\n"
    )
    assert (tmp_path / "split.csv").read_text() == (
        "ImageId,EncodedPixels,lesion,area_px,area_mm2,score,side\n"
        "b,0 2 2 2,1,4,1.00,0.7500,left\n"
        "b,23 1,2,1,0.25,0.7500,left\n"
        "a,-1,,,,,\n"
        "c,0 4,1,4,,0.7500,left\n"
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["agg.csv", "split.csv"]


def test_split_rows_unite_to_the_aggregated_row():
    record = finding_record(make_finding(boxes=[(0, 0, 2, 2), (2, 2, 1, 3)]))
    united = rle.decode_union((row[1] for row in split_rows(record)), (4, 6))
    assert np.array_equal(united, rle.decode(record.rle, (4, 6)))


def test_a_failing_source_of_records_leaves_no_table(tmp_path):
    """Breaks if half a table can take the place of a whole one."""

    def records():
        yield finding_record(make_finding())
        raise OSError("disk full")

    (tmp_path / "agg.csv").write_text("old")
    with pytest.raises(OSError, match="disk full"):
        write_tables(records(), tmp_path / "agg.csv", tmp_path / "split.csv")
    assert (tmp_path / "agg.csv").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["agg.csv"]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Müller 肺 (1).dcm", "Müller 肺 (1).dcm"),
        ("a\nb\r\tc", "a\\nb\\r\\tc"),
        ("bad\udcff", "bad\\udcff"),
        ("x\u2028y\x00", "x\\u2028y\\x00"),
    ],
)
def test_printable_is_one_line_of_utf8(text, shown):
    assert printable(text) == shown
    assert len(printable(text).splitlines()) == 1
    printable(text).encode("utf-8")


def test_hostile_names_stay_in_their_cell(tmp_path):
    """Breaks if a comma, quote or line break in a name makes another column or row."""
    hostile = 'evil",\n=1+1\udcff'
    record = finding_record(make_finding(hostile, [(0, 0, 1, 1)]))
    journal = tmp_path / "predictions.jsonl"
    journal.write_text(record.to_json())
    write_tables(read_records(journal, FindingRecord), tmp_path / "agg.csv", tmp_path / "split.csv")
    for name in ("agg.csv", "split.csv"):
        rows = list(csv.reader((tmp_path / name).read_text(encoding="utf-8").splitlines()))
        assert [row[0] for row in rows] == ["ImageId", 'evil",\\n=1+1\\udcff']
    assert json.loads(journal.read_text())["image_id"] == printable(hostile)


def test_a_failure_is_one_physical_line():
    """Breaks if a message of several lines tears the journal apart."""
    line = failure_line(Path("a,b\n.dcm"), "damaged", 'the file\n  says "no"')
    assert line == '"a,b\\n.dcm",damaged,"the file says ""no"""\n'


@pytest.mark.parametrize("seed", range(5))
def test_a_lesions_own_rle_is_what_rle_encode_says(seed):
    """Breaks if the short cut over the columns a lesion fills shifts its runs."""
    pixels = np.zeros((37, 53), dtype=np.bool_)
    random = np.random.default_rng(seed)
    row, col = random.integers(0, 20, size=2)
    pixels[row : row + 17, col : col + 33] = random.random((17, 33)) < 0.5
    lesion = Lesion(Mask(pixels), 0.5, None)
    finding = Finding(
        Source("a"), (37, 53), Detection(0, 0.9, 0.3), Mask(pixels), (lesion,), PROVENANCE
    )
    record = finding_record(finding)
    assert record.lesions[0].rle == record.rle == rle.encode(pixels)
