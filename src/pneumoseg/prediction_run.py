"""``pneumoseg predict``: many files through the cascade, in order, in bounded memory, resumable.

One downward read: check the call, hold the folder, recover what an earlier run left, list the
inputs, then read ahead in a few threads while the networks work on the batch before, append each
result to the journal (:mod:`pneumoseg.prediction_journal`), and derive the CSVs at the end.

While a run is unfinished its folder has no ``predictions_*.csv``: where they are, they are
complete. At most two batches of films are in memory, one being read and one being predicted.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import pneumoseg
from pneumoseg.errors import UsageError
from pneumoseg.prediction_batches import Failure, Predictor, predict_each, read_ahead
from pneumoseg.prediction_folder import (
    AGGREGATED,
    FAILURES,
    FINDINGS,
    MASKS,
    OVERLAYS,
    SPLIT,
    Entry,
    check_same_call,
    digest,
    locked,
    read_manifest,
    read_run,
    remove_run,
    write_manifest,
    write_run,
)
from pneumoseg.prediction_journal import Journal, Recovered, Tally, recover
from pneumoseg.reading import walk
from pneumoseg.study import Finding, Image
from pneumoseg.writing.overlay import safe_file_name, write_mask, write_overlay
from pneumoseg.writing.tables import finding_record, printable, read_records, write_tables

DUPLICATE_ID = "duplicate-id"


@dataclass(frozen=True)
class PredictSettings:
    """What ``pneumoseg predict`` is asked to do."""

    paths: tuple[Path, ...]
    """Files and folders; folders are walked, and files told apart by content, not by name."""
    out: Path = Path("outputs")
    """Folder for the results; a run that was stopped there is resumed."""
    bundle: str = "cxr"
    """Shipped bundle by name, or the folder of another."""
    classifier_threshold: float | None = None
    """Probability from which a film is suspected; None takes the bundle's."""
    segmenter_threshold: float | None = None
    """Probability from which a pixel belongs to the mask; None takes the bundle's."""
    min_pixels: int | None = None
    """Smallest lesion kept, in pixels of the 512×512 grid; None takes the bundle's."""
    overlays: bool = False
    """Also write each film with its outlined lesions, as overlays/IMAGE_ID.png."""
    masks: bool = False
    """Also write each mask on the film's own grid, as masks/IMAGE_ID.png (0 and 255)."""
    batch_size: int = 8
    """Films the networks take at once; memory grows with it, results do not depend on it."""
    threads: int | None = None
    """Processor threads of the networks; None takes all cores."""
    runtime: str = "openvino"
    """What runs the networks: openvino, onnxruntime or torch."""
    precision: str = "f32"
    """Arithmetic of the networks, recorded in every result."""
    overwrite: bool = False
    """Start anew where the folder holds an earlier run, instead of resuming it."""

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise UsageError(f"batch_size must be 1 or more, got {self.batch_size}")
        if self.threads is not None and self.threads < 1:
            raise UsageError(f"threads must be 1 or more, got {self.threads}")


@dataclass(frozen=True)
class Progress:
    """Where a run stands, after each input; counts include what earlier calls did."""

    done: int
    total: int
    failed: int
    suspected: int
    path: str


@dataclass(frozen=True)
class PredictionSummary:
    """What a run's folder now holds; counts include what earlier calls did."""

    read: int
    failed: int
    suspected: int
    with_lesion: int
    done_before: int
    """Inputs that an earlier call had finished."""
    seconds: float
    """Wall time of this call."""
    out: Path
    files: tuple[Path, ...]
    """The tables, the journal, and the folders of pictures that were asked for."""

    @property
    def total(self) -> int:
        """Inputs of the run."""
        return self.read + self.failed

    @property
    def nothing_to_do(self) -> bool:
        """Whether earlier calls had finished every input."""
        return self.done_before == self.total

    @property
    def exit_code(self) -> int:
        """0 when every input was read, 1 when some failed."""
        return 1 if self.failed else 0


def run_predict(
    settings: PredictSettings,
    *,
    on_progress: Callable[[Progress], None] | None = None,
    load: Callable[[PredictSettings], Predictor] | None = None,
) -> PredictionSummary:
    """Predict all inputs that are not done yet and write the tables.

    Args:
        settings: the call.
        on_progress: told after each input.
        load: makes the cascade; the shipped one by default.

    Returns:
        The counts, the files and the exit code.

    Raises:
        UsageError: a path is missing, there is no file at all, the folder cannot be written to,
            holds another call's run, or is being written to by another process.
    """
    started = time.perf_counter()
    _check_paths(settings)
    predictor = (load or _load_cascade)(settings)
    with _writing_to(settings.out):
        settings.out.mkdir(parents=True, exist_ok=True)
        with locked(settings.out):
            recovered = _start(settings, predictor)
            done_before = recovered.tally.done
            total = write_manifest(settings.out, done_before, _inputs(settings), recovered.inputs)
            tally = recovered.tally
            if total > done_before:
                write_run(settings.out, _run(settings, _call(settings, predictor), None))
                tally = _Run(settings, predictor, recovered, total, on_progress).finish()
            files = _finish(settings, predictor, tally, fresh=total > done_before)
    seconds = time.perf_counter() - started
    return PredictionSummary(
        **asdict(tally), done_before=done_before, seconds=seconds, out=settings.out, files=files
    )


class _Run:
    """The loop over the inputs that are left."""

    def __init__(
        self,
        settings: PredictSettings,
        predictor: Predictor,
        recovered: Recovered,
        total: int,
        on_progress: Callable[[Progress], None] | None,
    ) -> None:
        self._settings, self._predictor = settings, predictor
        self._tally, self._total, self._on_progress = recovered.tally, total, on_progress
        self._image_ids = set(recovered.image_ids)

    def finish(self) -> Tally:
        """Do what is left, batch by batch; the journal is on disk after each."""
        out = self._settings.out
        for name in (AGGREGATED, SPLIT):
            (out / name).unlink(missing_ok=True)  # no table is better than one that misses inputs
        for name in _picture_folders(self._settings):
            (out / name).mkdir(exist_ok=True)
        left = islice(read_manifest(out), self._tally.done, None)
        size = self._settings.batch_size
        with Journal(out) as journal, closing(read_ahead(left, window=size)) as arriving:
            while batch := [self._checked(*item) for item in islice(arriving, size)]:
                self._do_batch(batch, journal)
                journal.sync()
                batch.clear()  # before the next one is gathered
        return self._tally

    def _checked(self, entry: Entry, image: Image | Failure) -> tuple[Entry, Image | Failure]:
        """Refuse a second film with an image id that a film before it has."""
        if isinstance(image, Failure):
            return entry, image
        name = digest(printable(image.source.image_id))
        if name in self._image_ids:
            return entry, Failure(
                DUPLICATE_ID,
                f"an earlier input has the same image id {image.source.image_id!r}; "
                "rename one of the files, or predict them into different folders",
            )
        self._image_ids.add(name)
        return entry, image

    def _do_batch(self, batch: list[tuple[Entry, Image | Failure]], journal: Journal) -> None:
        images = [image for _, image in batch if not isinstance(image, Failure)]
        findings = iter(predict_each(self._predictor, images))
        for entry, image in batch:
            result = image if isinstance(image, Failure) else next(findings)
            if isinstance(image, Image) and isinstance(result, Finding):
                self._write_pictures(image, result)
                record = finding_record(
                    result,
                    segmenter_threshold=self._predictor.config.segmenter_threshold,
                    spacing_mm=image.spacing_mm,
                ) | {"path": printable(entry.path)}
                journal.add_finding(record)
                self._tally = self._tally.with_record(record)
            elif isinstance(result, Failure):
                journal.add_failure(entry.path, result.code, result.message)
                self._tally = self._tally.with_failure()
            if self._on_progress is not None:
                tally = self._tally
                self._on_progress(
                    Progress(tally.done, self._total, tally.failed, tally.suspected, entry.path)
                )

    def _write_pictures(self, image: Image, finding: Finding) -> None:
        """Before the journal's line, so that a finished input has its pictures."""
        name = safe_file_name(printable(finding.source.image_id)) + ".png"
        if self._settings.overlays:
            write_overlay(self._settings.out / OVERLAYS / name, image, finding)
        if self._settings.masks:
            write_mask(self._settings.out / MASKS / name, finding)


def _check_paths(settings: PredictSettings) -> None:
    """Refuse a wrong call before anything is created or loaded."""
    out = settings.out
    if out.exists() and not out.is_dir():
        raise UsageError(f"--out {out} is a file; give a folder for the results")
    if any(path.is_dir() and path.resolve() == out.resolve() for path in settings.paths):
        raise UsageError(f"--out {out} is the input folder itself; give a folder for the results")
    if next(_inputs(settings), None) is None:
        raise UsageError(
            f"no file was found in {', '.join(map(str, settings.paths))}; "
            "give files, or folders that hold some"
        )


def _inputs(settings: PredictSettings) -> Iterator[Path]:
    """All inputs in order, without the results of this very run where they lie among them."""
    out = settings.out.resolve()
    given = {path.absolute() for path in settings.paths}
    inside = any(path.is_dir() and out.is_relative_to(path.resolve()) for path in settings.paths)
    for path in walk(settings.paths):
        if inside and path.absolute() not in given and path.resolve().is_relative_to(out):
            continue
        yield path


def _start(settings: PredictSettings, predictor: Predictor) -> Recovered:
    """Make the folder this call's: anew, or going on after what an earlier call of its kind did."""
    out, call = settings.out, _call(settings, predictor)
    if settings.overwrite:
        remove_run(out)
    earlier = read_run(out)
    if earlier is None:
        write_run(out, _run(settings, call, None))  # first of all: it marks the folder as a run's
        return Recovered()
    check_same_call(earlier["call"], call, out)
    return recover(out, may_lie_ahead=earlier["batch_size"])


def _finish(
    settings: PredictSettings, predictor: Predictor, tally: Tally, *, fresh: bool
) -> tuple[Path, ...]:
    """Derive the CSVs and sign the run off; nothing is written where nothing changed."""
    out = settings.out
    tables = (out / AGGREGATED, out / SPLIT)
    if fresh or not all(path.exists() for path in tables):
        write_tables(read_records(out / FINDINGS), *tables)
        write_run(out, _run(settings, _call(settings, predictor), tally))
    folders = (out / name for name in _picture_folders(settings))
    return (*tables, out / FINDINGS, out / FAILURES, *folders)


def _call(settings: PredictSettings, predictor: Predictor) -> dict[str, Any]:
    """What must be the same for a run to be resumed."""
    return {
        "paths": [str(path.resolve()) for path in settings.paths],
        "bundle": predictor.bundle.card.name,
        "bundle_version": str(predictor.bundle.card.version),
        "software_version": pneumoseg.__version__,
        "runtime": settings.runtime,
        "precision": settings.precision,
        **asdict(predictor.config),
        "overlays": settings.overlays,
        "masks": settings.masks,
    }


def _run(settings: PredictSettings, call: dict[str, Any], tally: Tally | None) -> dict[str, Any]:
    """Content of ``run.json``; the counts are there when the run is finished."""
    return {
        "call": call,
        "batch_size": settings.batch_size,
        "finished": tally is not None,
        "counts": None if tally is None else asdict(tally),
    }


def _picture_folders(settings: PredictSettings) -> list[str]:
    asked = ((OVERLAYS, settings.overlays), (MASKS, settings.masks))
    return [name for name, wanted in asked if wanted]


def _load_cascade(settings: PredictSettings) -> Predictor:
    """Load the cascade as the call asks."""
    from pneumoseg.pipeline_inference import Cascade  # here: OpenVINO takes a second to import

    return Cascade.load(
        settings.bundle,
        runtime=settings.runtime,
        precision=settings.precision,
        threads=settings.threads,
        classifier_threshold=settings.classifier_threshold,
        segmenter_threshold=settings.segmenter_threshold,
        min_pixels=settings.min_pixels,
    )


@contextmanager
def _writing_to(out: Path) -> Iterator[None]:
    """Say a full disk or a folder that cannot be written to in one sentence."""
    try:
        yield
    except OSError as error:
        raise UsageError(
            f"cannot write to {out} ({error.strerror or error}); make room or choose another "
            "--out; the same call goes on where this one stopped"
        ) from error
