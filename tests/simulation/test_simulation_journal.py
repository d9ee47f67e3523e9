"""What a simulation has done so far, cut by a kill or not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pneumoseg.errors import DataError, UsageError
from pneumoseg.simulation.journal import (
    JOURNAL_FILE,
    SimulatedRow,
    append_rows,
    clear,
    open_journal,
    write_truth,
)

ONE = SimulatedRow("a_1", "a", "phantom", 5, 1, "right", 0.25, "12.5", 4, "tube", 7)
TWO = replace(ONE, volume_id="a_0", pneumothorax=0, side="", distractors="")
KEPT = {"seed": 1, "count": 2}


def test_rows_come_back_and_a_torn_line_is_cut_off(tmp_path: Path) -> None:
    assert open_journal(tmp_path, KEPT) == []
    append_rows(tmp_path, [ONE])
    append_rows(tmp_path, [TWO])
    path = tmp_path / JOURNAL_FILE
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"volume_id": "a_')
    assert open_journal(tmp_path, KEPT) == [ONE, TWO]
    assert path.read_bytes() == whole


def test_volumes_of_another_call_are_not_mixed_in(tmp_path: Path) -> None:
    open_journal(tmp_path, KEPT)
    append_rows(tmp_path, [ONE])
    with pytest.raises(UsageError, match='made with .*"seed": 1.*this call has .*"seed": 2'):
        open_journal(tmp_path, KEPT | {"seed": 2})
    assert open_journal(tmp_path, KEPT) == [ONE]


def test_a_folder_in_which_nothing_was_made_takes_any_call(tmp_path: Path) -> None:
    open_journal(tmp_path, KEPT)
    assert open_journal(tmp_path, {"seed": 2}) == []


def test_a_damaged_line_is_not_skipped(tmp_path: Path) -> None:
    """Its volume would be made twice."""
    open_journal(tmp_path, KEPT)
    append_rows(tmp_path, [ONE])
    with (tmp_path / JOURNAL_FILE).open("ab") as file:
        file.write(b'{"volume_id": "b"}\n')
    with pytest.raises(DataError, match="is damaged"):
        open_journal(tmp_path, KEPT)


def test_the_truth_is_a_line_a_volume(tmp_path: Path) -> None:
    write_truth(tmp_path / "truth.csv", [ONE, TWO])
    assert (tmp_path / "truth.csv").read_text() == (
        "volume_id,anatomy,source,slices,pneumothorax,side,degree,volume_ml,air_slices,"
        "distractors,seed\n"
        "a_1,a,phantom,5,1,right,0.25,12.5,4,tube,7\n"
        "a_0,a,phantom,5,0,,0.25,12.5,4,,7\n"
    )


def test_clearing_leaves_what_a_simulation_did_not_write(tmp_path: Path) -> None:
    open_journal(tmp_path, KEPT)
    for name in ("volumes/a.nii.gz", "masks/a.nii.gz", "volumes/notes.txt", "own.csv"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    clear(tmp_path)
    left = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.*")}
    assert left == {"volumes/notes.txt", "own.csv"}
