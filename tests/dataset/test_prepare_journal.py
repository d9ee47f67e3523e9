"""The journal of an unfinished cache: nothing of a batch is lost, nothing half is kept."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pneumoseg.dataset.cache import ROW_BYTES
from pneumoseg.dataset.prepare.journal import (
    FAILED,
    LEFT_OUT,
    ROW,
    CacheJournal,
    PreparedRecord,
    Record,
)
from pneumoseg.errors import DataError


def row(name: str, value: int, *, masked: bool = False) -> PreparedRecord:
    image = np.full((512, 512), value, dtype=np.uint8)
    mask = np.full((512, 512), int(masked), dtype=np.uint8)
    return PreparedRecord(Record("s", name, ROW, image_id=name), image, mask)


BATCH = [
    row("a", 7),
    PreparedRecord(Record("s", "b", FAILED, "damaged", "why")),
    row("c", 9, masked=True),
    PreparedRecord(Record("s", "d", LEFT_OUT, "no-label")),
]


def sizes(folder: Path) -> tuple[int, int]:
    return (folder / "images.u8").stat().st_size, (folder / "masks.u8").stat().st_size


def test_rows_alone_take_room_in_the_arrays(tmp_path: Path) -> None:
    with CacheJournal(tmp_path) as journal:
        journal.append(BATCH)
    assert sizes(tmp_path) == (2 * ROW_BYTES, 2 * ROW_BYTES)
    images = np.fromfile(tmp_path / "images.u8", np.uint8).reshape(2, 512, 512)
    masks = np.fromfile(tmp_path / "masks.u8", np.uint8).reshape(2, 512, 512)
    assert images[:, 0, 0].tolist() == [7, 9] and masks[:, 0, 0].tolist() == [0, 1]


def test_an_empty_mask_at_the_end_has_its_place(tmp_path: Path) -> None:
    """It is a hole: without it the arrays would not fit each other."""
    with CacheJournal(tmp_path) as journal:
        journal.append([row("a", 1, masked=True), row("b", 2)])
    assert sizes(tmp_path) == (2 * ROW_BYTES, 2 * ROW_BYTES)


def test_opened_again_it_goes_on_behind_the_last_whole_batch(tmp_path: Path) -> None:
    with CacheJournal(tmp_path) as journal:
        journal.append(BATCH)
        first = list(journal.records)
    # a kill after the arrays were written, within the journal's next line
    for name, more in (("images.u8", b"x" * 100), ("masks.u8", b"x"), ("journal.jsonl", b'{"so')):
        with (tmp_path / name).open("ab") as file:
            file.write(more)
    with CacheJournal(tmp_path) as journal:
        assert journal.records == first == [one.record for one in BATCH]
        journal.append([row("e", 11)])
    images = np.fromfile(tmp_path / "images.u8", np.uint8).reshape(3, 512, 512)
    assert images[:, 511, 511].tolist() == [7, 9, 11]
    assert sizes(tmp_path)[1] == 3 * ROW_BYTES


def test_arrays_shorter_than_the_journal_says_are_refused(tmp_path: Path) -> None:
    with CacheJournal(tmp_path) as journal:
        journal.append(BATCH)
    with (tmp_path / "masks.u8").open("r+b") as file:
        file.truncate(ROW_BYTES)
    with pytest.raises(DataError, match="has 262144 bytes where the journal says 524288"):
        CacheJournal(tmp_path)


@pytest.mark.parametrize("line", [b"not json\n", b'{"source": "s"}\n', b'{"unknown": 1}\n'])
def test_a_damaged_line_is_refused(line: bytes, tmp_path: Path) -> None:
    (tmp_path / "journal.jsonl").write_bytes(line)
    with pytest.raises(DataError, match="is damaged"):
        CacheJournal(tmp_path)


def test_a_row_without_its_film_is_our_own_fault(tmp_path: Path) -> None:
    with (
        CacheJournal(tmp_path) as journal,
        pytest.raises(ValueError, match="its film and its mask"),
    ):
        journal.append([PreparedRecord(Record("s", "a", ROW))])
