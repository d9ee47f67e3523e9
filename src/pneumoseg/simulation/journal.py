"""What a simulation leaves beside its volumes: the journal of those that are whole, and the truth.

The journal's first line holds what decides the content of every volume, so that one folder is of
one kind; then comes one line of JSON a volume. After a kill it is never ahead of the files.
``truth.csv`` is derived from it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, astuple, dataclass, fields
from pathlib import Path

from pneumoseg.errors import DataError, UsageError
from pneumoseg.storage.files import AppendedFile, cut, whole_lines
from pneumoseg.storage.result import write_csv

VOLUMES_FOLDER, MASKS_FOLDER = "volumes", "masks"
TRUTH_FILE, JOURNAL_FILE = "truth.csv", "journal.jsonl"


@dataclass(frozen=True)
class SimulatedRow:
    """One line of ``truth.csv``; the fields are its columns."""

    volume_id: str
    anatomy: str
    source: str
    slices: int
    pneumothorax: int
    side: str
    degree: float
    volume_ml: str
    air_slices: int
    distractors: str
    seed: int


def open_journal(out: Path, kept: Mapping[str, object]) -> list[SimulatedRow]:
    """Rows of the volumes that are there; a last line cut by a kill is dropped.

    Args:
        out: folder of the simulation.
        kept: what decides the content of every volume.

    Raises:
        UsageError: the folder holds volumes that something else decided.
        DataError: the journal is damaged.
    """
    path = out / JOURNAL_FILE
    first, *lines = list(whole_lines(path)) or [b""]
    wanted = json.dumps(kept) + "\n"
    if lines and first != wanted.encode():
        raise UsageError(
            f"{out} holds volumes made with {first.decode().strip()}, this call has "
            f"{wanted.strip()}; choose another folder, or give --overwrite"
        )
    try:
        rows = [SimulatedRow(**json.loads(line)) for line in lines]
    except (ValueError, TypeError) as error:
        raise DataError(f"{path} is damaged ({error}); give --overwrite to start anew") from error
    if first == wanted.encode():
        cut(path, len(first) + sum(map(len, lines)))
    else:  # no volume is there yet
        cut(path, 0)
        _append(path, wanted)
    return rows


def append_rows(out: Path, rows: Sequence[SimulatedRow]) -> None:
    """Note volumes that are whole; when this returns, a power cut loses none of it."""
    _append(out / JOURNAL_FILE, "".join(json.dumps(asdict(row)) + "\n" for row in rows))


def _append(path: Path, text: str) -> None:
    with AppendedFile(path) as file:
        file.append(text)
        file.sync()


def clear(out: Path) -> None:
    """Remove what an earlier run wrote: nothing else lies in these two folders."""
    for name in (JOURNAL_FILE, TRUTH_FILE):
        (out / name).unlink(missing_ok=True)
    for folder in (VOLUMES_FOLDER, MASKS_FOLDER):
        for path in (out / folder).glob("*.nii.gz"):
            path.unlink()


def write_truth(path: Path, rows: Sequence[SimulatedRow]) -> None:
    """Write ``truth.csv``, whole or not at all."""
    names = [field.name for field in fields(SimulatedRow)]
    write_csv(path, names, (astuple(row) for row in rows))
