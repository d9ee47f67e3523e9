"""Files prepared by some processes come back in the order asked."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import pytest

from pneumoseg.dataset.prepare.journal import FAILED, PreparedRecord, Record
from pneumoseg.dataset.prepare.pool import FEWEST, prepare_in_order
from pneumoseg.errors import DataError


@dataclass(frozen=True)
class Named:
    """Says of each file by which process it was prepared; ends its process at one named «end»."""

    name: str

    def prepare(self, path: Path) -> tuple[PreparedRecord, ...]:
        if path.name == "end":
            os._exit(1)
        return (PreparedRecord(Record(self.name, path.name, FAILED, str(os.getpid()))),)


SOURCES = [Named("a"), Named("b")]
TODO = [(k % 2, Path(str(k))) for k in range(FEWEST + 8)]


@pytest.mark.parametrize("workers", [1, 2])
def test_the_order_is_that_asked_whoever_was_faster(workers: int) -> None:
    found = [one for (one,) in prepare_in_order(SOURCES, TODO, workers=workers, ahead=4)]  # type: ignore[arg-type]
    assert [one.record.file for one in found] == [path.name for _, path in TODO]
    assert [one.record.source for one in found] == ["ab"[k] for k, _ in TODO]
    processes = {one.record.code for one in found}
    assert (processes == {str(os.getpid())}) == (workers == 1)


def test_a_few_files_start_no_process() -> None:
    found = list(prepare_in_order(SOURCES, TODO[: FEWEST - 1], workers=2, ahead=4))  # type: ignore[arg-type]
    assert {one.record.code for (one,) in found} == {str(os.getpid())}


def test_a_process_that_died_is_an_error_with_the_way_on() -> None:
    """Breaks if it waits for ever, or leaves the file out in silence."""
    todo = [*TODO[:10], (0, Path("end")), *TODO[10:]]
    with pytest.raises(DataError, match="run prepare again to go on from here"):
        list(prepare_in_order(SOURCES, todo, workers=2, ahead=4))  # type: ignore[arg-type]
