"""The small tables beside a data set: some columns of a CSV, by image or by volume."""

from __future__ import annotations

import csv
from pathlib import Path

from pneumoseg.errors import DataError, UsageError
from pneumoseg.reading.siim_csv import read_columns


def present_columns(path: Path, wanted: tuple[str, ...]) -> tuple[str, ...]:
    """Which of some columns a CSV has.

    Raises:
        UsageError: it cannot be read.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            header = next(csv.reader(file), [])
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read {path}: {error}; give a CSV file") from error
    found = {cell.strip().lower() for cell in header}
    return tuple(name for name in wanted if name in found)


def cells_by_id(path: Path, key: str, columns: tuple[str, ...]) -> dict[str, dict[str, str]]:
    """Cells of some columns by the id in the column ``key``, white space stripped.

    Raises:
        UsageError: the file cannot be opened.
        DataError: it is malformed, lacks a column, or lists an id twice.
    """
    rows: dict[str, dict[str, str]] = {}
    for line, (cell, *cells) in read_columns(path, (key, *columns)):
        name = cell.strip()
        if name in rows:
            kind = key.removesuffix("_id")
            raise DataError(
                f"{path}, line {line}: {kind} {name} is listed twice; keep one row each"
            )
        rows[name] = {column: one.strip() for column, one in zip(columns, cells, strict=True)}
    return rows
