"""The findings as Parquet, in parts that are derived from the journal.

Part *k* holds the findings number *k* · ``ROWS_IN_PART`` and on of ``predictions.jsonl``, one row
each. It carries a digest of the journal's lines it was made from, so that a finished part is kept
when a run goes on, and one of another run, or of lines that a power cut took back, is made again.
Each part is there whole or not at all; all of them together are complete when the run is finished.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from pneumoseg.errors import DataError
from pneumoseg.prediction.run_folder import Entry, RunFolder
from pneumoseg.storage.files import whole_file, whole_lines
from pneumoseg.storage.record import PARQUET, FindingRecord, from_json

if TYPE_CHECKING:
    import pyarrow

ROWS_IN_PART = 4096
"""Small enough for the driver's memory, large enough for readers of Parquet."""
DIGEST = b"pneumoseg.journal"
"""Key of the digest in a part's metadata."""


COLUMNS: dict[str, str] = {
    "image_id": "string",
    "path": "string",
    "rows": "int32",
    "cols": "int32",
    "row_spacing_mm": "float64",
    "col_spacing_mm": "float64",
    "logit": "float64",
    "probability": "float64",
    "positive": "bool",
    "segmented": "bool",
    "lesions": "int32",
    "area_px": "int64",
    "area_mm2": "float64",
    "rle": "string",
    "seconds": "float64",
    "bundle": "string",
    "bundle_version": "string",
    "software_version": "string",
    "runtime": "string",
    "device": "string",
    "precision": "string",
    "record": "string",
}
"""Columns and their Arrow types; ``record`` is the journal's line, the rest is taken from it."""


class Parts:
    """The parts of one run; :meth:`catch_up` first, then each record, then :meth:`finish`."""

    def __init__(self, folder: RunFolder[Entry]) -> None:
        self._findings, self._folder = folder.findings, folder.out / PARQUET
        self._number = 0
        self._lines: list[str] = []
        self._rows: list[dict[str, object]] = []

    def catch_up(self) -> None:
        """Go over what the journal holds: keep the parts made from it, make those that miss."""
        for number, line in enumerate(whole_lines(self._findings), start=1):
            where, text = f"{self._findings}, line {number}", line.decode("utf-8")
            record = from_json(text, where)
            if not isinstance(record, FindingRecord):
                raise DataError(f"{where}: parts hold films, this is {type(record).__name__}")
            self._take(record, text)

    def add(self, record: FindingRecord) -> None:
        """Take the journal's next record; writes a part when it is full."""
        self._take(record, record.to_json())

    def _take(self, record: FindingRecord, line: str) -> None:
        self._lines.append(line)
        self._rows.append(parquet_row(record, line))
        if len(self._rows) == ROWS_IN_PART:
            self._write()

    def finish(self) -> Path:
        """Write the last part and remove what lies beyond it; gives the parts' folder."""
        if self._rows or self._number == 0:
            self._write()
        wanted = {self._path(number) for number in range(self._number)}
        for path in set(self._folder.glob("part-*.parquet")) - wanted:
            path.unlink()
        return self._folder

    def _write(self) -> None:
        """Write the gathered rows as the next part, unless it is there already."""
        import pyarrow
        from pyarrow import parquet

        digest = hashlib.blake2b("".join(self._lines).encode("ascii"), digest_size=16).hexdigest()
        path = self._path(self._number)
        if not _is_made_from(path, digest):
            self._folder.mkdir(exist_ok=True)
            schema = _schema().with_metadata({DIGEST: digest.encode("ascii")})
            table = pyarrow.Table.from_pylist(self._rows, schema=schema)
            with whole_file(path) as part:
                parquet.write_table(table, part, compression="zstd")
        self._number += 1
        self._lines, self._rows = [], []

    def _path(self, number: int) -> Path:
        return self._folder / f"part-{number:06}.parquet"


def parquet_row(record: FindingRecord, line: str) -> dict[str, object]:
    """One row: the record's main fields under ``COLUMNS``' names, and its line of the journal."""
    rows, cols = record.shape
    row_spacing_mm, col_spacing_mm = record.spacing_mm or (None, None)
    own = {
        "rows": rows,
        "cols": cols,
        "row_spacing_mm": row_spacing_mm,
        "col_spacing_mm": col_spacing_mm,
        "lesions": len(record.lesions),
        "record": line.rstrip("\n"),
    }
    return {name: own[name] if name in own else getattr(record, name) for name in COLUMNS}


def _schema() -> pyarrow.Schema:
    import pyarrow

    return pyarrow.schema([(name, pyarrow.type_for_alias(kind)) for name, kind in COLUMNS.items()])


def _is_made_from(path: Path, digest: str) -> bool:
    """Whether a whole part of these very lines lies there."""
    import pyarrow
    from pyarrow import parquet

    if not path.exists():
        return False
    try:
        metadata = parquet.read_schema(path).metadata or {}
    except (OSError, pyarrow.ArrowException):
        return False
    return bool(metadata.get(DIGEST) == digest.encode("ascii"))
