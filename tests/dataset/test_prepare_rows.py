"""From records to rows with their parts, and the counts that a user reads."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from pneumoseg.dataset.prepare.journal import FAILED, LEFT_OUT, ROW, PreparedRecord, Record
from pneumoseg.dataset.prepare.rows import count, rows_with_parts, warn, write_failures
from pneumoseg.dataset.splits import Fractions
from pneumoseg.errors import DataError


@dataclass
class FakeSource:
    """A data set that answers as told."""

    name: str
    parts: str = "split"
    masked: frozenset[str] = frozenset()
    unclear: frozenset[str] = field(default_factory=frozenset)

    def files(self) -> list[Path]:
        return []

    def prepare(self, path: Path) -> tuple[PreparedRecord, ...]:
        return ()

    def may_evaluate(self, record: Record) -> bool:
        return self.parts != "train"

    def is_unambiguous(self, record: Record) -> bool:
        return record.image_id not in self.unclear


def record(name: str, patient: str, label: int = 0, source: str = "s") -> Record:
    return Record(source, f"{name}.png", ROW, image_id=name, patient_id=patient, label=label)


RECORDS = [
    record("a", "p", 1),
    Record("s", "bad.png", FAILED, "damaged", "cut short"),
    record("b", "q"),
    Record("s", "none.png", LEFT_OUT, "no-label", image_id="none"),
]


def test_rows_are_numbered_in_the_order_of_the_records() -> None:
    rows = rows_with_parts([FakeSource("s")], RECORDS, Fractions(), seed=0)
    assert [(row.row, row.image_id, row.label) for row in rows] == [(0, "a", 1), (1, "b", 0)]
    assert {row.part for row in rows} <= {"train", "calibration", "test"}


def test_a_patient_is_on_one_side_alone_whatever_the_seed() -> None:
    records = [record(f"{k}", f"p{k % 20}", k % 2) for k in range(80)]
    for seed in range(3):
        rows = rows_with_parts([FakeSource("s")], records, Fractions(), seed)
        sides = {(row.patient_id, row.part) for row in rows}
        assert len(sides) == 20
        assert {part for _, part in sides} == {"train", "calibration", "test"}


def test_ambiguous_rows_are_excluded() -> None:
    source = FakeSource("s", "train", unclear=frozenset({"b"}))
    rows = rows_with_parts([source], RECORDS, Fractions(), 0)
    assert [row.part for row in rows] == ["train", "excluded"]


def test_a_trained_film_of_an_evaluated_patient_is_excluded() -> None:
    """The same person in a source that only trains and in one that only tests."""
    records = [
        record("a", "p", 1, "held out"),
        record("b", "p", 0, "more"),
        record("c", "q", 0, "more"),
    ]
    sources = [FakeSource("held out", "test"), FakeSource("more", "train")]
    parts = {row.image_id: row.part for row in rows_with_parts(sources, records, Fractions(), 0)}
    assert parts == {"a": "test", "b": "excluded", "c": "train"}


def test_without_a_single_row_the_first_reasons_are_told() -> None:
    with pytest.raises(
        DataError, match=r"none of the 2 files .*bad\.png: cut short; none\.png: no"
    ):
        rows_with_parts([FakeSource("s")], [RECORDS[1], RECORDS[3]], Fractions(), 0)
    with pytest.raises(DataError, match="the folders are empty"):
        rows_with_parts([FakeSource("s")], [], Fractions(), 0)


def test_failures_are_what_could_not_be_used(tmp_path: Path) -> None:
    write_failures(RECORDS, tmp_path / "f.csv")
    assert (tmp_path / "f.csv").read_text() == (
        "source,file,code,message\ns,bad.png,damaged,cut short\n"
    )


def test_counts_by_source_and_part() -> None:
    source = FakeSource("s", "train", masked=frozenset({"a", "gone"}))
    rows = rows_with_parts([source], RECORDS, Fractions(), 0)
    found = count([source], RECORDS, rows)
    assert found["rows"] == 2
    assert found["sources"]["s"] == {
        "files": 4,
        "rows": 2,
        "positives": 1,
        "failed": 1,
        "left_out": {"no-label": 1},
        "masks_without_image": 1,
        "by_part": {"train": 2},
    }
    assert found["parts"]["train"] == {"images": 2, "positives": 1, "patients": 2}
    assert found["parts"]["test"] == {"images": 0, "positives": 0, "patients": 0}


def test_a_part_without_a_positive_is_warned_of_where_patients_are_split(
    caplog: pytest.LogCaptureFixture,
) -> None:
    for parts, warned in (("train", 2), ("split", 4)):
        source = FakeSource("s", parts, masked=frozenset({"gone"}))
        counts = count([source], RECORDS, rows_with_parts([source], RECORDS, Fractions(), 0))
        counts["parts"]["calibration"]["positives"] = counts["parts"]["test"]["positives"] = 0
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            warn([source], counts)
        assert len(caplog.messages) == warned
    assert "1 files could not be used" in caplog.messages[0]
    assert "1 images of its masks CSV have no usable file" in caplog.messages[1]
    assert caplog.messages[2].startswith("the calibration part has")
