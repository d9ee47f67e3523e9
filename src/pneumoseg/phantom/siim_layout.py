"""Writes phantom films in the layout of the SIIM-ACR challenge: DICOM files and ``train-rle.csv``.

What holds for a folder of the challenge holds for this one, so training, prediction and evaluation
read both alike. ``truth.csv`` adds what only a phantom can know.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import astuple, dataclass, fields
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from pneumoseg import rle
from pneumoseg.errors import UsageError
from pneumoseg.phantom.film import PhantomFilm, make_film
from pneumoseg.settings import at_least
from pneumoseg.storage.result import write_csv
from pneumoseg.writing.dicom_xray import SOFTWARE, XrayHeader, write_xray

DICOM_FOLDER, MASKS_FILE, TRUTH_FILE = "dicom", "train-rle.csv", "truth.csv"
MASKS_HEADER = ("ImageId", " EncodedPixels")
"""The challenge's own header, with its space."""
_UID_SPACE = uuid.UUID("6c2bb5a0-50a7-5d0c-9d36-9b0b5a0e6a57")
"""Name space of the phantom's UIDs, drawn once at random."""
_BITS_STORED = 12
_SMALLEST = 32


@dataclass(frozen=True)
class PhantomSettings:
    """Settings of ``pneumoseg phantom``."""

    out: Path
    """Folder to write: dicom/, train-rle.csv and truth.csv."""
    count: int = 100
    """How many films, half of them with pneumothorax by chance."""
    seed: int = 0
    """Seed of the first film; film i has seed + i."""
    size: int = 1024
    """Rows and columns of each film."""
    workers: int = 2
    """Processes that make films."""

    def __post_init__(self) -> None:
        at_least("count", self.count, 1)
        at_least("seed", self.seed, 0)
        at_least("size", self.size, _SMALLEST)
        at_least("workers", self.workers, 1)


@dataclass(frozen=True)
class TruthRow:
    """One line of ``truth.csv``; the fields are its columns."""

    image_id: str
    seed: int
    patient_id: str
    pneumothorax: int
    side: str
    degree: float
    posture: str
    view: str
    mask_area_mm2: float
    distractors: str


@dataclass(frozen=True)
class PhantomRun:
    """What was written."""

    out: Path
    masks: Path
    truth: Path
    rows: tuple[TruthRow, ...]

    @property
    def positives(self) -> int:
        """How many films have pneumothorax."""
        return sum(row.pneumothorax for row in self.rows)


def film_uid(seed: int, size: int, part: str) -> str:
    """A DICOM UID that is always the same for the same film (PS3.5 B.2: UUID as 2.25.N).

    Args:
        seed: of the film.
        size: rows and columns: another size is another image.
        part: ``"image"``, ``"series"`` or ``"study"``.
    """
    return f"2.25.{uuid.uuid5(_UID_SPACE, f'{part}/{size}/{seed}').int}"


def run_phantom(
    settings: PhantomSettings, on_progress: Callable[[int, int], None] | None = None
) -> PhantomRun:
    """Write phantom films in the SIIM layout, in the order of their seeds.

    Each file appears whole or not at all; the same settings give the same bytes, whatever the
    number of workers.

    Args:
        settings: what to make and where.
        on_progress: called with films done and films in all.

    Raises:
        UsageError: the folder cannot be made or written.
    """
    try:
        (settings.out / DICOM_FOLDER).mkdir(parents=True, exist_ok=True)
        made = []
        for row, runs in _make_all(settings):
            made.append((row, runs))
            if on_progress is not None:
                on_progress(len(made), settings.count)
        rows = tuple(row for row, _ in made)
        masks, truth = settings.out / MASKS_FILE, settings.out / TRUTH_FILE
        write_csv(masks, MASKS_HEADER, [(row.image_id, f" {runs}") for row, runs in made])
        header = tuple(field.name for field in fields(TruthRow))
        write_csv(truth, header, [astuple(row) for row in rows])
    except OSError as error:
        raise UsageError(
            f"cannot write phantom films to {settings.out}: {error.strerror}; choose another folder"
        ) from error
    return PhantomRun(settings.out, masks, truth, rows)


def _make_all(settings: PhantomSettings) -> Iterator[tuple[TruthRow, str]]:
    """Films in order, made here or by worker processes."""
    jobs = [
        (settings.seed + index, settings.size, settings.out / DICOM_FOLDER)
        for index in range(settings.count)
    ]
    if min(settings.workers, settings.count) == 1:
        yield from map(_make_one, jobs)
        return
    # Spawned, not forked: OpenCV's threads do not survive a fork.
    with ProcessPoolExecutor(settings.workers, mp_context=get_context("spawn")) as pool:
        yield from pool.map(_make_one, jobs, chunksize=4)


def _make_one(job: tuple[int, int, Path]) -> tuple[TruthRow, str]:
    """Make one film and write its DICOM file; returns its truth and run lengths."""
    seed, size, folder = job
    film = make_film(seed, size=size)
    uid = film_uid(seed, size, "image")
    _write_film(film, uid, folder / f"{uid}.dcm")
    truth = film.truth
    row = TruthRow(
        image_id=uid,
        seed=seed,
        patient_id=film.image.source.patient_id or "",
        pneumothorax=int(truth.pneumothorax),
        side=truth.side,
        degree=round(truth.degree, 4),
        posture=truth.posture.value,
        view=truth.view,
        mask_area_mm2=round(film.mask.area_mm2 or 0.0, 1),
        distractors=";".join(truth.distractors),
    )
    return row, rle.encode(film.mask.pixels)


def _write_film(film: PhantomFilm, uid: str, path: Path) -> None:
    size, seed = film.image.pixels.shape[0], film.truth.seed
    spacing = film.spacing_mm
    largest = 2**_BITS_STORED - 1
    header = XrayHeader(
        sop_instance_uid=uid,
        study_instance_uid=film_uid(seed, size, "study"),
        series_instance_uid=film_uid(seed, size, "series"),
        patient_id=film.image.source.patient_id or "",
        # DICOM decimal strings hold 16 characters (PS3.5 6.2).
        spacing_mm=(round(spacing, 6), round(spacing, 6)),
        view_position=film.truth.view,
        bits_stored=_BITS_STORED,
        software=SOFTWARE,
    )
    write_xray(path, np.rint(film.image.pixels * largest).astype(np.uint16), header)
