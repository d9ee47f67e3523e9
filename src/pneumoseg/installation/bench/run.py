"""Measures both stages on this machine, with the steps and batches that ``predict`` has.

Four steps are timed in turn on the same films: reading a file and letterboxing it, stage one,
stage two, and postprocessing with run lengths. Each is timed alone; in ``predict`` the first and
the last run beside the networks. Nothing is written before everything is measured.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pneumoseg.bundle import Card, CardFigure
from pneumoseg.errors import InputError, UsageError
from pneumoseg.installation.bench.break_even import Saving, break_even, savings
from pneumoseg.installation.bench.machine import this_machine
from pneumoseg.installation.bench.picture import draw_bench
from pneumoseg.installation.bench.result import (
    POSTPROCESSING,
    READING,
    STAGE_ONE,
    STAGE_TWO,
    Bench,
    FilmsUsed,
    Measured,
)
from pneumoseg.installation.bench.settings import SEED, BenchSettings
from pneumoseg.installation.bench.timing import Timing, time_in_turn
from pneumoseg.phantom import PhantomSettings, run_phantom
from pneumoseg.pipeline_inference import Cascade, Film
from pneumoseg.prediction.stages import prepare_for_many_films
from pneumoseg.reading import read, walk
from pneumoseg.statistics.prevalence import Rate
from pneumoseg.storage.result import write_result
from pneumoseg.study import Detection, Modality
from pneumoseg.version import __version__
from pneumoseg.writing.tables import finding_record

BENCH_FILE = "bench.json"
RECALL, SPECIFICITY = "recall", "specificity"
"""The card's figures that the pass rate follows from."""


@dataclass(frozen=True, eq=False)
class _Answered:
    """A film and the answers of both stages."""

    path: Path
    film: Film
    detection: Detection
    probabilities: NDArray[np.float32]


def run_bench(
    settings: BenchSettings,
    *,
    on_phantom: Callable[[int, int], None] | None = None,
    on_progress: Callable[[float, int], None] | None = None,
) -> Bench:
    """Measure, work out when the cascade pays, and write ``bench.json`` and ``bench.png``.

    Args:
        settings: what to measure.
        on_phantom: called with the phantoms made, and in all.
        on_progress: called with the seconds measured, and in all.

    Raises:
        BundleError: the bundle is damaged, or not for X-rays.
        RuntimeUnavailableError: runtime or precision are not available here.
        UsageError: a film cannot be used, or the folder not be written to. Nothing is written then.
    """
    if settings.out.exists() and not settings.out.is_dir():
        raise UsageError(f"--out {settings.out} is a file; give a folder for the results")
    given = None if settings.images is None else _films_of(settings.images, settings.films)
    machine = this_machine()
    prepare_for_many_films()  # as predict does
    cascade = Cascade.load(
        settings.bundle,
        runtime=settings.runtime,
        device=settings.device,
        precision=settings.precision,
        threads=settings.threads,
        streams=settings.streams,
    )
    cascade.bundle.require(Modality.XRAY)
    with tempfile.TemporaryDirectory(prefix="pneumoseg_bench_") as scratch:
        paths = given or _make_phantoms(Path(scratch), settings, on_phantom)
        answered = [_answered(cascade, path) for path in paths]
        timings = _measure(cascade, answered, settings, on_progress)
    origin = (
        f"phantoms of {settings.size}×{settings.size}, seeds {SEED} to {SEED + len(paths) - 1}"
        if given is None
        else "films given"
    )
    rates = card_rates(cascade.bundle.card)
    one, two, postprocessing = (timings[step] for step in (STAGE_ONE, STAGE_TWO, POSTPROCESSING))
    bench = Bench(
        measured=_measured(cascade, settings),
        machine=machine,
        films=FilmsUsed(origin, len(paths), sum(a.detection.positive for a in answered)),
        timings=tuple(timings.values()),
        break_even=break_even(one, two, postprocessing),
        rates=rates,
        savings=_savings(one, two, rates, settings.prevalences),
    )
    document = bench.as_document()
    write_result(settings.out, BENCH_FILE, document, draw_bench, ensure_ascii=False)
    return bench


def card_rates(card: Card) -> tuple[CardFigure, ...]:
    """Recall and specificity of a card, in this order; empty where it has not both."""
    figures = {figure.name: figure for figure in card.figures}
    found = tuple(
        figures[name]
        for name in (RECALL, SPECIFICITY)
        if name in figures and figures[name].value is not None and figures[name].n > 0
    )
    return found if len(found) == 2 else ()


def _savings(
    one: Timing, two: Timing, rates: Sequence[CardFigure], prevalences: Sequence[float]
) -> tuple[Saving, ...]:
    if not rates:
        return ()
    recall, specificity = (Rate(f.value or 0.0, f.n_patients or f.n) for f in rates)
    return savings(one.median_ms, two.median_ms, recall, specificity, prevalences)


def _films_of(images: Path, count: int) -> list[Path]:
    """The first films of a folder.

    Raises:
        UsageError: it does not exist or is empty.
    """
    paths = list(islice(walk([images]), count))
    if not paths:
        raise UsageError(f"no file was found in {images}; give a folder of films")
    return paths


def _make_phantoms(
    scratch: Path, settings: BenchSettings, on_phantom: Callable[[int, int], None] | None
) -> list[Path]:
    """Write phantoms as DICOM files, so that reading is measured too."""
    phantoms = PhantomSettings(
        out=scratch, count=settings.films, seed=SEED, size=settings.size, workers=1
    )
    made = run_phantom(phantoms, on_phantom)
    return [made.out / "dicom" / f"{row.image_id}.dcm" for row in made.rows]


def _prepared(cascade: Cascade, path: Path) -> Film:
    """Read a film and bring it to the grid.

    Raises:
        UsageError: it cannot be read.
    """
    try:
        return cascade.prepare(read(path))
    except InputError as error:
        raise UsageError(
            f"{path} cannot be measured on: {error}; leave it out, or give another folder"
        ) from error


def _answered(cascade: Cascade, path: Path) -> _Answered:
    film = _prepared(cascade, path)
    (detection,), (probabilities,) = cascade.detect([film.grid]), cascade.segment([film.grid])
    return _Answered(path, film, detection, probabilities)


def _measure(
    cascade: Cascade,
    answered: Sequence[_Answered],
    settings: BenchSettings,
    on_progress: Callable[[float, int], None] | None,
) -> dict[str, Timing]:
    """Time the steps; each repeat takes the next batch of films, from the first after the last."""
    size = settings.batch_size

    def batch(number: int) -> list[_Answered]:
        return [answered[(number * size + k) % len(answered)] for k in range(size)]

    def postprocess(number: int) -> None:
        for one in batch(number):
            finding = cascade.conclude(one.film, one.detection, one.probabilities)
            finding_record(finding, spacing_mm=one.film.spacing_mm).to_json()

    steps: dict[str, Callable[[int], object]] = {
        READING: lambda number: [_prepared(cascade, one.path) for one in batch(number)],
        STAGE_ONE: lambda number: cascade.detect([one.film.grid for one in batch(number)]),
        STAGE_TWO: lambda number: cascade.segment([one.film.grid for one in batch(number)]),
        POSTPROCESSING: postprocess,
    }
    for work in steps.values():
        work(0)  # the first call of a shape prepares it
    total = max(1, round(settings.seconds))
    report = None if on_progress is None else lambda gone: on_progress(min(gone, total), total)
    taken = time_in_turn(steps, seconds=settings.seconds, on_progress=report)
    return {step: Timing.of(step, seconds, size) for step, seconds in taken.items()}


def _measured(cascade: Cascade, settings: BenchSettings) -> Measured:
    card, used = cascade.bundle.card, cascade.provenance
    return Measured(
        bundle=card.name,
        bundle_version=card.version,
        software_version=__version__,
        runtime=used.runtime,
        device=used.device,
        precision=used.precision,
        threads=settings.threads,
        streams=max(cascade.classifier.streams, cascade.segmenter.streams),
        batch_size=settings.batch_size,
        classifier_size=card.classifier_size,
        segmenter_size=card.segmenter_size,
    )
