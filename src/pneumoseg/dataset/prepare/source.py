"""What ``pneumoseg prepare`` needs of a data set, be it of films or of CT volumes."""

from __future__ import annotations

from collections.abc import Set
from pathlib import Path
from typing import Protocol

from pneumoseg.dataset.prepare.journal import PreparedRecord, Record
from pneumoseg.errors import UsageError
from pneumoseg.reading import walk


class LabelledSource(Protocol):
    """A data set with its labels read; it can be handed to another process."""

    @property
    def name(self) -> str:
        """Kept with every row."""

    @property
    def parts(self) -> str:
        """``split``: patients are split into all parts; ``train``, ``test``: all go there."""

    @property
    def masked(self) -> Set[str]:
        """Ids of the images or volumes that its masks name."""

    def files(self) -> list[Path]:
        """Files to prepare, in a fixed order."""

    def prepare(self, path: Path) -> tuple[PreparedRecord, ...]:
        """Read, label and letterbox one file; never raises for what is wrong with the file."""

    def may_evaluate(self, record: Record) -> bool:
        """Whether a row may be calibrated or tested on."""

    def is_unambiguous(self, record: Record) -> bool:
        """Whether a row is unambiguously positive or negative; others are excluded."""


def files_below(folder: Path) -> list[Path]:
    """All files of a folder, in the fixed order of a walk.

    Raises:
        UsageError: it is not a folder.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder; give the folder that holds the images")
    return list(walk([folder]))
