"""The half-made cache on disk: what survives when ``pneumoseg prepare`` is killed.

Films and masks are appended to their files first and forced to disk; only then does the journal say
so, one JSON line a file, whatever became of it. After a kill the journal is therefore never ahead
of the data: the data are cut back to what the journal says, and the run goes on after it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from pneumoseg.dataset.cache import IMAGES_FILE, MASKS_FILE, ROW_BYTES
from pneumoseg.errors import DataError
from pneumoseg.storage.files import AppendedFile, cut, whole_lines

JOURNAL_FILE = "journal.jsonl"

ROW = "row"
FAILED = "failed"
LEFT_OUT = "left-out"


@dataclass(frozen=True)
class Record:
    """What became of one file of a source, or of one slice of a volume.

    ``outcome`` is ``row`` (it is in the cache), ``failed`` (it cannot be used: ``code`` and
    ``message`` say why) or ``left-out`` (readable, but not wanted: ``code`` says why). Unknown
    words are empty. ``of_file`` is how many records the file has in all: one, or one for each slice
    that was taken of a volume, in their order.
    """

    source: str
    file: str
    outcome: str
    code: str = ""
    message: str = ""
    image_id: str = ""
    patient_id: str = ""
    split: str = ""
    label: int = 0
    label_origin: str = ""
    view: str = ""
    age: str = ""
    sex: str = ""
    rows: int = 0
    cols: int = 0
    volume_id: str = ""
    slice_index: int = -1
    mask_px: int = 0
    neighbour_mask_px: int = 0
    of_file: int = 1


@dataclass(frozen=True, eq=False)
class PreparedRecord:
    """A record and, where it is a row, its film and mask, uint8 (512, 512)."""

    record: Record
    image: NDArray[np.uint8] | None = None
    mask: NDArray[np.uint8] | None = None


class CacheJournal:
    """The journal and the two data files of an unfinished cache, opened to append.

    Attributes:
        records: what became of every file so far, in the order of work.
    """

    def __init__(self, folder: Path) -> None:
        path = folder / JOURNAL_FILE
        self.records, journal_bytes = _read(path)
        self._rows = sum(record.outcome == ROW for record in self.records)
        with ExitStack() as stack:  # closes what is open when a later file does not fit
            self._journal = stack.enter_context(_open_cut(path, journal_bytes))
            size = self._rows * ROW_BYTES
            self._images = stack.enter_context(_open_cut(folder / IMAGES_FILE, size))
            self._masks = stack.enter_context(_open_cut(folder / MASKS_FILE, size))
            self._masks_path = folder / MASKS_FILE
            self._open = stack.pop_all()

    def __enter__(self) -> CacheJournal:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._open.close()

    def append(self, batch: Sequence[PreparedRecord]) -> None:
        """Store a batch: when this returns, a kill or a power cut loses none of it."""
        for prepared in batch:
            if prepared.record.outcome != ROW:
                continue
            if prepared.image is None or prepared.mask is None:
                raise ValueError("a row needs its film and its mask")
            self._images.append(prepared.image.tobytes())
            if prepared.mask.any():
                os.truncate(self._masks_path, self._rows * ROW_BYTES)
                self._masks.append(prepared.mask.tobytes())
            self._rows += 1
        # An empty mask is a hole in a sparse file: no room on disk, no time to write.
        os.truncate(self._masks_path, self._rows * ROW_BYTES)
        self._images.sync()
        self._masks.sync()
        self._journal.append("".join(json.dumps(asdict(one.record)) + "\n" for one in batch))
        self._journal.sync()
        self.records.extend(prepared.record for prepared in batch)


def _read(path: Path) -> tuple[list[Record], int]:
    """Records of the whole lines, and the bytes they take; a last line cut by a kill is dropped."""
    lines = list(whole_lines(path))
    try:
        records = [Record(**json.loads(line)) for line in lines]
    except (ValueError, TypeError) as error:
        raise DataError(
            f"{path} is damaged ({error}); prepare the cache again with overwrite"
        ) from error
    return records, sum(map(len, lines))


def _open_cut(path: Path, size: int) -> AppendedFile:
    """Open a file to append after ``size`` bytes, what lies behind them removed."""
    found = path.stat().st_size if path.exists() else 0
    if found < size:
        raise DataError(
            f"{path} has {found} bytes where the journal says {size}; "
            "prepare the cache again with overwrite"
        )
    cut(path, size)
    return AppendedFile(path)
