"""``pneumoseg prepare``: any SIIM mirror's films, or CT volumes, and masks to one training cache.

Every file of every source is tried, in a fixed order, by some processes; what became of it goes to
the journal (:mod:`pneumoseg.dataset.prepare.journal`), so that a killed run goes on where it was.
At the end the patients are split into parts and ``cache.json`` makes the cache a finished one
(:mod:`pneumoseg.dataset.cache`).
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from pneumoseg.dataset.cache import (
    CACHE_FILE,
    FAILURES_FILE,
    FORMAT_OF,
    IMAGES_FILE,
    MASKS_FILE,
    TABLE_FILE,
    Cache,
    read_about,
    write_table,
)
from pneumoseg.dataset.prepare.film import (
    DUPLICATE,
    SourceSettings,
    read_source_tables,
)
from pneumoseg.dataset.prepare.journal import (
    JOURNAL_FILE,
    LEFT_OUT,
    ROW,
    CacheJournal,
    PreparedRecord,
)
from pneumoseg.dataset.prepare.pool import prepare_in_order
from pneumoseg.dataset.prepare.rows import count, rows_with_parts, warn, write_failures
from pneumoseg.dataset.prepare.source import LabelledSource
from pneumoseg.dataset.prepare.volumes import VolumeSourceSettings, read_volume_source
from pneumoseg.dataset.splits import Fractions
from pneumoseg.errors import DataError, UsageError
from pneumoseg.preprocess import GRID_SIZE, Window
from pneumoseg.settings import at_least
from pneumoseg.storage.result import write_json
from pneumoseg.study import Modality
from pneumoseg.version import __version__

__all__ = ["PrepareSettings", "SourceSettings", "VolumeSourceSettings", "prepare"]

SETTINGS_FILE = "prepare-settings.json"
"""What an unfinished cache is made of; removed when it is finished."""
BATCH = 32
"""Rows between two forced writes to disk: what a kill can cost, about a quarter of a second."""
VOLUMES_AHEAD = 2
"""Volumes a process may be ahead; films are small enough for a batch."""

_OWN_FILES = (
    CACHE_FILE,
    TABLE_FILE,
    FAILURES_FILE,
    IMAGES_FILE,
    MASKS_FILE,
    JOURNAL_FILE,
    SETTINGS_FILE,
)

_PARTIAL = {f".{SETTINGS_FILE}.part"}
"""All that a run killed at its very start leaves."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class OneSource:
    """A plain ``pneumoseg prepare``: one folder of films and one CSV of masks."""

    images: Path
    """Folder of films: DICOM, PNG, JPEG, WebP or TIFF."""
    masks: Path
    """SIIM CSV (ImageId, EncodedPixels)."""
    out: Path
    """Folder of the cache to make."""
    table: Path | None = None
    """CSV with image_id and patient_id; without it a film without PatientID is its own patient."""
    mask_grid: int | None = None
    """Side of the grid of the run lengths, where it is not the films' own."""
    workers: int = 2
    """Processes that read."""

    def settings(self) -> PrepareSettings:
        """Give the full settings that this call stands for."""
        source = SourceSettings("films", self.images, self.masks, self.mask_grid, self.table)
        return PrepareSettings(self.out, (source,), self.workers)


@dataclass(frozen=True)
class PrepareSettings:
    """What ``pneumoseg prepare`` makes, and of what."""

    out: Path
    """Folder of the cache; made where it is missing."""
    sources: tuple[SourceSettings, ...] = ()
    """The data sets, in the order of their rows; an image id met again later is left out."""
    workers: int = 2
    """Processes that read; 1 reads in this process."""
    seed: int = 2019
    """Of the split of patients into parts."""
    fractions: Fractions = Fractions()
    """Shares of the evaluable patients for calibration and test."""
    volumes: tuple[VolumeSourceSettings, ...] = ()
    """CT data sets, in place of sources: a cache holds films or slices."""
    window: Window = field(default_factory=Window)
    """The HU that CT slices are stored with; it goes onto the bundle's card."""

    def __post_init__(self) -> None:
        if self.sources and self.volumes:
            raise UsageError("a cache holds films (sources) or CT (volumes); make one of each")
        if self.window.width <= 0:
            raise UsageError(f"window.width must be positive, got {self.window.width}")
        names = [films.name for films in self.sources] + [one.name for one in self.volumes]
        if not names or len(set(names)) != len(names):
            raise UsageError(f"expected one source or more, each with its own name, got {names}")
        at_least("workers", self.workers, 1)
        at_least("the seed", self.seed, 0)

    @property
    def modality(self) -> Modality:
        """What the cache will hold."""
        return Modality.CT if self.volumes else Modality.XRAY


def prepare(
    settings: PrepareSettings,
    *,
    overwrite: bool = False,
    on_progress: Callable[[int, int], None] | None = None,
) -> Cache:
    """Make a cache, or go on making it, or open it where it is made already.

    Args:
        settings: what to make. With more than one worker the call must be reachable only under
            ``if __name__ == "__main__":`` of a script, as for any spawned process.
        overwrite: remove another or a half-made cache in ``settings.out`` first.
        on_progress: called with (files done, files in all), first and after every batch.

    Returns:
        The finished cache. Files that could not be used are in its ``failures.csv``; counts are in
        ``about`` and, where something is missing, logged as warnings.

    Raises:
        UsageError: a folder or CSV cannot be read.
        DataError: ``out`` holds something else or a cache of other settings; a CSV is malformed; no
            file of the sources can be used.
    """
    sources: list[LabelledSource] = [read_source_tables(films) for films in settings.sources]
    sources += [read_volume_source(volumes, settings.window) for volumes in settings.volumes]
    files = [(index, path) for index, source in enumerate(sources) for path in source.files()]
    if _claim(settings, len(files), overwrite=overwrite):
        return Cache.open(settings.out)
    with CacheJournal(settings.out) as journal:
        _read_all(settings, sources, files, journal, on_progress or _no_progress)
        records = tuple(journal.records)
    rows = rows_with_parts(sources, records, settings.fractions, settings.seed)
    counts = {"files": len(files), **count(sources, records, rows)}
    warn(sources, counts)
    write_table(rows, settings.out / TABLE_FILE)
    write_failures(records, settings.out / FAILURES_FILE)
    about = {**_fingerprint(settings), "software_version": __version__, **counts}
    write_json(settings.out / CACHE_FILE, about)  # from here on the cache is finished
    for name in (JOURNAL_FILE, SETTINGS_FILE):
        (settings.out / name).unlink()
    return Cache.open(settings.out)


def _no_progress(done: int, total: int) -> None:
    pass


def _fingerprint(settings: PrepareSettings) -> dict[str, Any]:
    """What decides a cache's content: the settings and the bytes of the CSVs, as plain JSON."""
    values = asdict(settings)
    # A cache of films says nothing of volumes, as those made before there were any.
    unused = ("sources",) if settings.modality is Modality.CT else ("volumes", "window")
    for key in ("out", "workers", *unused):
        del values[key]
    tables = [path for films in settings.sources for path in films.tables]
    tables += [volumes.table for volumes in settings.volumes if volumes.table is not None]
    digests = {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in tables}
    number = FORMAT_OF[settings.modality]
    wanted = {"format": number, "grid": GRID_SIZE, "settings": values, "sha256": digests}
    plain: dict[str, Any] = json.loads(json.dumps(wanted, default=str))
    return plain


def _claim(settings: PrepareSettings, files: int, *, overwrite: bool) -> bool:
    """Make the folder ready to work in; return whether it holds this very cache, finished."""
    out, wanted = settings.out, _fingerprint(settings)
    if overwrite and _is_cache(out):
        # cache.json first: what is half removed is not a finished cache.
        for name in _OWN_FILES:
            (out / name).unlink(missing_ok=True)
    about = read_about(out)
    if about is not None:
        if any(about.get(key) != value for key, value in wanted.items()):
            raise DataError(
                f"{out} holds a cache made with other settings or other CSVs; "
                "give another out folder, or overwrite it"
            )
        if about.get("files") != files:
            raise DataError(
                f"{out} holds a cache of {about.get('files')} files, the sources now have {files}; "
                "give another out folder, or overwrite it"
            )
        return True
    started = out / SETTINGS_FILE
    if started.is_file():
        if json.loads(started.read_text(encoding="utf-8")) != wanted:
            raise DataError(
                f"{out} holds an unfinished cache of other settings or other CSVs; "
                "give another out folder, or overwrite it"
            )
        logger.info("going on with the unfinished cache in %s", out)
        return False
    if out.exists() and not (out.is_dir() and {path.name for path in out.iterdir()} <= _PARTIAL):
        raise DataError(f"{out} is not empty and not a cache; give a new or an empty folder")
    out.mkdir(parents=True, exist_ok=True)
    write_json(started, wanted)
    return False


def _is_cache(folder: Path) -> bool:
    """Whether a folder holds a cache, finished or not: only of such a one are files removed."""
    finished = (folder / CACHE_FILE).is_file() and (folder / IMAGES_FILE).is_file()
    return finished or (folder / SETTINGS_FILE).is_file()


def _read_all(
    settings: PrepareSettings,
    sources: list[LabelledSource],
    files: list[tuple[int, Path]],
    journal: CacheJournal,
    on_progress: Callable[[int, int], None],
) -> None:
    """Read every file that the journal does not know whole, and append what becomes of it."""
    folders = [one.images for one in settings.sources] + [one.images for one in settings.volumes]
    known = Counter((record.source, record.file) for record in journal.records)
    whole = {(record.source, record.file): record.of_file for record in journal.records}
    todo, begun = [], []
    for index, path in files:
        key = (sources[index].name, path.relative_to(folders[index]).as_posix())
        if key not in whole or known[key] < whole[key]:
            todo.append((index, path))
            begun.append(known[key])
    image_ids = {record.image_id for record in journal.records if record.outcome == ROW}
    done = len(files) - len(todo)
    on_progress(done, len(files))
    arriving = prepare_in_order(
        sources,
        todo,
        workers=settings.workers,
        ahead=VOLUMES_AHEAD if settings.volumes else BATCH,
    )
    batch: list[PreparedRecord] = []
    for number, prepared in enumerate(arriving, start=1):
        # A kill while the journal was written may have left the first records of a volume.
        batch += [_without_duplicate(one, image_ids) for one in prepared[begun[number - 1] :]]
        if len(batch) >= BATCH or number == len(todo):
            journal.append(batch)
            batch = []
            on_progress(done + number, len(files))


def _without_duplicate(prepared: PreparedRecord, image_ids: set[str]) -> PreparedRecord:
    """Leave out an image id that is already a row (the films' order decides); note a new one."""
    record = prepared.record
    if record.outcome != ROW:
        return prepared
    if record.image_id in image_ids:
        return PreparedRecord(replace(record, outcome=LEFT_OUT, code=DUPLICATE))
    image_ids.add(record.image_id)
    return prepared
