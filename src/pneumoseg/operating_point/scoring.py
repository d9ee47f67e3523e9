"""Both networks run once on every labelled film.

Stage two runs on every film, suspected or not, so that any operating point can be tried afterwards
without a network. What they predict is kept (:mod:`pneumoseg.operating_point.scores`) under a name
that stands for the weights and the films; a run that was killed goes on after the last whole film.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pneumoseg import postprocess
from pneumoseg.errors import DataError, UsageError
from pneumoseg.evaluation.labelled_films import FilmSet, LabelledFilm, read_labelled_films
from pneumoseg.operating_point.scores import (
    FILMS,
    MAPS,
    SCORES,
    TRUTH_BYTES,
    TRUTHS,
    CascadeScores,
    ScoredFilm,
    open_scores,
)
from pneumoseg.pipeline_inference import Cascade
from pneumoseg.preprocess import Placement, mask_to_grid, to_grid, to_source_grid
from pneumoseg.reading import walk
from pneumoseg.storage.files import AppendedFile, cut, locked, whole_lines
from pneumoseg.storage.result import write_json
from pneumoseg.version import __version__

BATCH = 8
"""Films the networks take at once; the seconds of a film are its share of its batch."""
_DIGEST_LETTERS = 12


@dataclass(frozen=True)
class ScoreSettings(FilmSet):
    """Which films are scored, by which bundle, and where the scores are kept."""

    bundle: str = "cxr"
    """Shipped bundle by name, or a bundle's folder."""
    scores: Path = Path("outputs/scores")
    """Folder that keeps the networks' predictions; the same films and weights are not run again."""
    threads: int | None = None
    """Processor threads of the networks; None takes all cores."""


def score_films(
    cascade: Cascade,
    settings: ScoreSettings,
    *,
    on_film: Callable[[int], None] | None = None,
) -> CascadeScores:
    """Score the films of a set, or open the scores where they are kept already.

    Args:
        cascade: its networks are run; its operating point only moves the time of postprocessing.
        settings: the films and the folder.
        on_film: called with the number of films done.

    Raises:
        UsageError: a file or folder is missing or cannot be written, or another process scores
            the same films.
        DataError: see :func:`pneumoseg.evaluation.labelled_films.read_labelled_films`; no scores
            are left behind then.
    """
    about = _about(cascade, settings)
    digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()
    folder = settings.scores / f"{cascade.bundle.card.name}-{digest[:_DIGEST_LETTERS]}"
    was_there = settings.scores.exists()
    try:
        if not (folder / SCORES).is_file():
            folder.mkdir(parents=True, exist_ok=True)
            with locked(folder):
                try:
                    _run(cascade, settings, folder, on_film)
                except DataError:  # films that cannot be used are not worth going on from
                    shutil.rmtree(folder)
                    if not was_there:
                        settings.scores.rmdir()
                    raise
                _finish(folder, about)
    except OSError as error:
        raise UsageError(
            f"cannot keep the scores in {folder}: {error.strerror or error}; choose --scores"
        ) from error
    return open_scores(folder)


def _about(cascade: Cascade, settings: ScoreSettings) -> dict[str, Any]:
    """Everything the scores depend on."""
    card = cascade.bundle.card
    if not settings.images.is_dir():
        raise UsageError(f"{settings.images} is not a folder; give the folder of the films")
    listing = hashlib.sha256()
    for path in walk([settings.images]):
        status = path.stat()
        listing.update(f"{path}\0{status.st_size}\0{status.st_mtime_ns}\n".encode())
    return {
        "software_version": __version__,
        "runtime": cascade.classifier.name,
        "precision": cascade.classifier.precision,
        "classifier_sha256": card.sha256.classifier,
        "segmenter_sha256": card.sha256.segmenter,
        "segmenter_size": card.segmenter_size,
        "normalisation": asdict(card.normalisation),
        "images": listing.hexdigest(),
        "masks": _sha256(settings.masks),
        "mask_grid": settings.mask_grid,
        "table": None if settings.table is None else _sha256(settings.table),
        "where": sorted(settings.where),
    }


def _sha256(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}; give a CSV file") from error


def _run(
    cascade: Cascade,
    settings: ScoreSettings,
    folder: Path,
    on_film: Callable[[int], None] | None,
) -> None:
    """Append film after film, going on where an earlier run was stopped."""
    done = _recover(folder, cascade.segmenter.size)
    films = read_labelled_films(settings)
    with (
        AppendedFile(folder / MAPS) as maps,
        AppendedFile(folder / TRUTHS) as truths,
        AppendedFile(folder / FILMS) as lines,
    ):
        for batch in _timed_batches(islice(films, done, None)):
            for row, probabilities, truth in _score(cascade, batch):
                maps.append(probabilities.astype(np.float16).tobytes())
                truths.append(np.packbits(truth).tobytes())
                # The line comes last: it stands for a film that is there whole.
                lines.append(json.dumps(asdict(row)) + "\n")
                done += 1
                if on_film is not None:
                    on_film(done)


def _timed_batches(
    films: Iterator[LabelledFilm],
) -> Iterator[list[tuple[LabelledFilm, float]]]:
    """Films with the seconds that reading each took, ``BATCH`` at a time."""
    batch: list[tuple[LabelledFilm, float]] = []
    started = time.perf_counter()
    for film in films:
        batch.append((film, time.perf_counter() - started))
        if len(batch) == BATCH:
            yield batch
            batch = []
        started = time.perf_counter()
    if batch:
        yield batch


def _score(
    cascade: Cascade, batch: list[tuple[LabelledFilm, float]]
) -> Iterator[tuple[ScoredFilm, NDArray[np.float32], NDArray[np.uint8]]]:
    """Run both stages on a batch, timed as :class:`Cascade` does it."""
    started = time.perf_counter()
    placed = [to_grid(film.image) for film, _ in batch]
    grids = [grid for grid, _ in placed]
    gridding = (time.perf_counter() - started) / len(batch)
    started = time.perf_counter()
    detections = cascade.detect(grids)
    detecting = (time.perf_counter() - started) / len(batch)
    started = time.perf_counter()
    maps = cascade.segment(grids)  # (B, S, S)
    segmenting = (time.perf_counter() - started) / len(batch)
    for (film, reading), (_, placement), detection, probabilities in zip(
        batch, placed, detections, maps, strict=True
    ):
        spacing = film.image.spacing_mm
        row = ScoredFilm(
            image_id=film.image_id,
            patient_id=film.patient_id,
            label=film.label,
            logit=detection.logit,
            rows=film.image.shape[0],
            cols=film.image.shape[1],
            spacing_mm=None if spacing is None else (spacing[0], spacing[1]),
            facts=film.facts,
            seconds_read=reading + gridding,
            seconds_stage_one=detecting,
            seconds_stage_two=segmenting + _postprocessing(cascade, probabilities, placement),
        )
        yield row, probabilities, mask_to_grid(film.truth)


def _postprocessing(
    cascade: Cascade, probabilities: NDArray[np.float32], placement: Placement
) -> float:
    """Seconds from a map to a mask on the film at the cascade's operating point."""
    started = time.perf_counter()
    postprocess.find_lesions(
        to_source_grid(probabilities, placement),
        threshold=cascade.config.segmenter_threshold,
        min_area_px=cascade.config.min_pixels * placement.source_pixels_per_grid_pixel,
        spacing_mm=None,
        patient_orientation=None,
    )
    return time.perf_counter() - started


def _recover(folder: Path, size: int) -> int:
    """Cut the files back to the films that all three hold whole; returns their number."""
    sizes = {MAPS: 2 * size * size, TRUTHS: TRUTH_BYTES}
    lines = list(whole_lines(folder / FILMS))
    done = len(lines)
    for name, bytes_each in sizes.items():
        path = folder / name
        done = min(done, path.stat().st_size // bytes_each if path.exists() else 0)
    for name, bytes_each in sizes.items():
        cut(folder / name, done * bytes_each)
    cut(folder / FILMS, sum(map(len, lines[:done])))
    return done


def _finish(folder: Path, about: dict[str, Any]) -> None:
    """Sign the folder off: ``scores.json`` stands for scores that are complete."""
    finished = sum(1 for _ in whole_lines(folder / FILMS))
    write_json(folder / SCORES, about | {"finished": finished})
