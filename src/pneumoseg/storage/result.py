"""What a command leaves behind: JSON, a picture drawn from what it says, tables beside it."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pneumoseg.errors import UsageError
from pneumoseg.storage.files import whole_file


@contextmanager
def writing_results(folder: Path) -> Iterator[None]:
    """Say in one sentence that a folder cannot be written to.

    Raises:
        UsageError: the body raised an OSError.
    """
    try:
        yield
    except OSError as error:
        raise UsageError(f"cannot write to {folder}: {error.strerror or error}") from error


def write_result(
    folder: Path,
    name: str,
    document: Mapping[str, Any],
    draw: Callable[[dict[str, Any], Path], None] | None = None,
    *,
    ensure_ascii: bool = True,
) -> Path:
    """Write a result as JSON and, from what the JSON says, its picture.

    The picture comes first, so that the JSON file stands for a finished result.

    Args:
        folder: made where it is missing.
        name: of the JSON file; the picture has the same stem and ends in ``.png``.
        document: plain values; no NaN.
        draw: draws the document, as read back from the JSON, into a PNG file.
        ensure_ascii: write other characters as escapes.

    Returns:
        Path of the JSON file.

    Raises:
        UsageError: the folder cannot be written to.
    """
    path = folder / name
    text = json.dumps(document, allow_nan=False)
    with writing_results(folder):
        folder.mkdir(parents=True, exist_ok=True)
        if draw is not None:
            draw(json.loads(text), path.with_suffix(".png"))
        write_json(path, document, ensure_ascii=ensure_ascii)
    return path


def write_json(
    path: Path,
    document: object,
    *,
    indent: int = 2,
    ensure_ascii: bool = True,
    allow_nan: bool = False,
) -> None:
    """Write a JSON file that survives a kill and a power cut: the old content or the new.

    Raises:
        OSError: the file cannot be written.
    """
    text = json.dumps(document, indent=indent, ensure_ascii=ensure_ascii, allow_nan=allow_nan)
    with whole_file(path) as part:
        part.write_text(text + "\n", encoding="utf-8")


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a table, whole or not at all; lines end as everywhere but on Windows.

    Raises:
        OSError: the file cannot be written.
    """
    with whole_file(path) as part, part.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)
