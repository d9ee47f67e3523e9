"""``pneumoseg simulate``: CT volumes with and without pneumothorax, their masks and their truth.

Chests come from the user's own CT volumes with lung masks, from single slices, and from the
phantom. Volumes of each are made in turn with and without pneumothorax, so that origin says nothing
about the label. A volume and its mask are written whole, then the journal says so; a run that was
stopped goes on after it. ``truth.csv`` comes last.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from pneumoseg.errors import DataError, UsageError
from pneumoseg.settings import at_least
from pneumoseg.simulation.anatomies import read_slice, read_volume, slice_pictures
from pneumoseg.simulation.case import (
    CaseSeeds,
    OpenAnatomy,
    Simulated,
    open_anatomy,
    simulate_case,
)
from pneumoseg.simulation.journal import (
    MASKS_FOLDER,
    TRUTH_FILE,
    VOLUMES_FOLDER,
    SimulatedRow,
    append_rows,
    clear,
    open_journal,
    write_truth,
)
from pneumoseg.simulation.phantom_scan import scan_phantom
from pneumoseg.storage.files import whole_file
from pneumoseg.writing.nifti_bytes import nifti_bytes

FIRST_PHANTOM = 100_000
"""Seed of the first phantom."""
_JOB_SIZE = 4


@dataclass(frozen=True)
class SimulateSettings:
    """Settings of ``pneumoseg simulate``."""

    out: Path
    """Folder to write: volumes/, masks/ and truth.csv; a run that was stopped there is resumed."""
    volumes: tuple[Path, ...] = ()
    """CT volumes without pneumothorax, NIfTI in HU."""
    lungs: tuple[Path, ...] = ()
    """Lung mask or label map of each volume, NIfTI on its grid, in the same order."""
    lung_labels: tuple[int, ...] = ()
    """Labels that are lung; none given: all but 0."""
    slices: Path | None = None
    """Folder of axial slices NAME.png (16-bit, HU + 1024) with lung masks NAME_lung.png."""
    phantoms: int = 0
    """How many phantom bodies."""
    per_volume: int = 24
    """Volumes made of each CT volume, with and without pneumothorax in turn."""
    per_slice: int = 14
    """Volumes of one slice made of each slice, in turn as above."""
    per_phantom: int = 2
    """Volumes made of each phantom body, in turn as above."""
    slice_step: int = 1
    """Keep every so many slices of the CT volumes."""
    phantom_spacing_mm: tuple[float, float, float] = (7.5, 0.75, 0.75)
    """Voxels of the phantoms: between slices, rows, columns."""
    seed: int = 0
    """Decides what is drawn; the same seed and inputs give the same bytes."""
    workers: int = 2
    """Processes that make volumes."""

    def __post_init__(self) -> None:
        if not self.volumes and self.slices is None and self.phantoms == 0:
            raise UsageError(
                "nothing to simulate in: give volumes with their lungs, slices, or phantoms"
            )
        if len(self.volumes) != len(self.lungs):
            raise UsageError(
                f"each volume needs its lungs: got {len(self.volumes)} volumes and "
                f"{len(self.lungs)} lung masks"
            )
        for name in ("per_volume", "per_slice", "per_phantom", "slice_step", "workers"):
            at_least(name, getattr(self, name), 1)
        for name in ("phantoms", "seed"):
            at_least(name, getattr(self, name), 0)
        if min(self.phantom_spacing_mm) <= 0:
            raise UsageError(
                f"phantom_spacing_mm must be positive millimetres, got {self.phantom_spacing_mm}"
            )


@dataclass(frozen=True)
class SimulationRun:
    """What is in the folder after a run."""

    out: Path
    truth: Path
    rows: tuple[SimulatedRow, ...]
    made: int
    """How many volumes this call made; the others were there."""

    @property
    def positives(self) -> int:
        """How many volumes have pneumothorax."""
        return sum(row.pneumothorax for row in self.rows)


@dataclass(frozen=True)
class Origin:
    """Where one chest comes from; ``ct`` is None for a phantom."""

    name: str
    ct: Path | None = None
    lungs: Path | None = None
    phantom_seed: int = 0


@dataclass(frozen=True)
class _Job:
    origin: Origin
    indices: tuple[int, ...]
    settings: SimulateSettings


def run_simulation(
    settings: SimulateSettings,
    on_progress: Callable[[int, int], None] | None = None,
    *,
    overwrite: bool = False,
) -> SimulationRun:
    """Make every volume that is not there yet, then write the truth.

    Args:
        settings: what to make and where.
        on_progress: called with volumes done and volumes in all.
        overwrite: remove what an earlier run left in the folder first.

    Raises:
        DataError: an input cannot be used.
        UsageError: the folder cannot be written, or holds a run of other settings.
    """
    planned = _plan(settings)
    try:
        for folder in (VOLUMES_FOLDER, MASKS_FOLDER):
            (settings.out / folder).mkdir(parents=True, exist_ok=True)
        if overwrite:
            clear(settings.out)
        rows = open_journal(settings.out, _kept(settings))
        jobs = _open_jobs(settings, planned, {row.volume_id for row in rows})
        total, before = sum(count for _, count in planned), len(rows)
        for made in _make_all(jobs, settings.workers):
            append_rows(settings.out, made)
            rows.extend(made)
            if on_progress is not None:
                on_progress(len(rows), max(total, len(rows)))
        rows.sort(key=lambda row: row.volume_id)
        write_truth(settings.out / TRUTH_FILE, rows)
    except OSError as error:
        raise UsageError(
            f"cannot write simulated volumes to {settings.out}: {error.strerror}; "
            "choose another folder"
        ) from error
    return SimulationRun(settings.out, settings.out / TRUTH_FILE, tuple(rows), len(rows) - before)


def _plan(settings: SimulateSettings) -> list[tuple[Origin, int]]:
    """Every chest and how many volumes are made of it."""
    for path in (*settings.volumes, *settings.lungs):
        if not path.is_file():
            raise DataError(f"there is no file {path}; give a NIfTI file")
    planned: list[tuple[Origin, int]] = []
    if settings.slices is not None:
        planned += [
            (Origin(f"slice-{picture.stem}", picture), settings.per_slice)
            for picture in slice_pictures(settings.slices)
        ]
    for seed in range(FIRST_PHANTOM, FIRST_PHANTOM + settings.phantoms):
        planned.append((Origin(f"phantom-{seed:06d}", phantom_seed=seed), settings.per_phantom))
    planned += [
        (Origin(_volume_name(ct), ct, lungs), settings.per_volume)
        for ct, lungs in zip(settings.volumes, settings.lungs, strict=True)
    ]
    names = [origin.name for origin, _ in planned]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DataError(f"two inputs are both called {twice[0]}; rename one of their folders")
    return planned


def _kept(settings: SimulateSettings) -> dict[str, object]:
    """What decides the content of every volume."""
    return {
        "seed": settings.seed,
        "slice_step": settings.slice_step,
        "lung_labels": list(settings.lung_labels),
        "phantom_spacing_mm": list(settings.phantom_spacing_mm),
    }


def _volume_name(ct: Path) -> str:
    """Folder and file name: ``lidc/ct.nii.gz`` is ``lidc-ct``."""
    stem = ct.name.removesuffix(".gz").removesuffix(".nii")
    return f"{ct.resolve().parent.name}-{stem}"


def _open_jobs(
    settings: SimulateSettings, planned: list[tuple[Origin, int]], there: set[str]
) -> list[_Job]:
    jobs = []
    for origin, count in planned:
        left = [index for index in range(count) if _volume_id(origin, index) not in there]
        # Slices are quick to make and slow to open; a volume is worth a job for a few.
        size = _JOB_SIZE if origin.lungs is not None else max(count, 1)
        jobs += [
            _Job(origin, tuple(left[start : start + size]), settings)
            for start in range(0, len(left), size)
        ]
    return jobs


def _volume_id(origin: Origin, index: int) -> str:
    return f"{origin.name}-{index:03d}"


def _make_all(jobs: list[_Job], workers: int) -> Iterator[list[SimulatedRow]]:
    """Rows of each job as it ends, made here or by worker processes."""
    if min(workers, len(jobs)) <= 1:
        yield from map(_make_job, jobs)
        return
    # Spawned, not forked: OpenCV's threads do not survive a fork.
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        waiting = iter(jobs)
        running: set[Future[list[SimulatedRow]]] = set()
        try:
            while True:
                for job in waiting:
                    running.add(pool.submit(_make_job, job))
                    if len(running) > workers:
                        break
                if not running:
                    return
                done, running = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    yield future.result()
        finally:
            for future in running:
                future.cancel()


def _make_job(job: _Job) -> list[SimulatedRow]:
    cv2.setNumThreads(1)
    rows = []
    for index in job.indices:
        seeds = CaseSeeds(job.settings.seed, job.origin.name, index)
        case = simulate_case(_opened(job.origin, job.settings), seeds)
        rows.append(_write_case(case, _volume_id(job.origin, index), job))
    return rows


@lru_cache(maxsize=1)
def _opened(origin: Origin, settings: SimulateSettings) -> OpenAnatomy:
    """The chest of the jobs at hand; neighbouring jobs share it."""
    if origin.ct is None:
        anatomy = scan_phantom(origin.phantom_seed, settings.phantom_spacing_mm)
    elif origin.lungs is None:
        anatomy = read_slice(origin.ct)
    else:
        labels, step = settings.lung_labels, settings.slice_step
        anatomy = read_volume(origin.ct, origin.lungs, labels, step, origin.name)
    opened = open_anatomy(anatomy)
    if not opened.chests:
        raise DataError(f"no lung is left of {origin.ct or origin.name}; leave it out")
    return opened


def _write_case(case: Simulated, volume_id: str, job: _Job) -> SimulatedRow:
    """Write volume and mask; returns the line of the truth."""
    anatomy, out = case.anatomy, job.settings.out
    _write_nifti(out / VOLUMES_FOLDER / f"{volume_id}.nii.gz", case.hu, anatomy.affine)
    mask = case.air.astype(np.uint8)
    _write_nifti(out / MASKS_FOLDER / f"{volume_id}.nii.gz", mask, anatomy.affine)
    millilitres = float(case.air.sum()) * float(np.prod(anatomy.spacing_mm)) / 1000
    names = [side.value for side in case.sides]
    return SimulatedRow(
        volume_id=volume_id,
        anatomy=anatomy.name,
        source=anatomy.source,
        slices=case.hu.shape[0],
        pneumothorax=int(case.air.any()),
        side="both" if len(names) > 1 else "".join(names),
        degree=round(case.degree, 4),
        volume_ml=f"{millilitres:.2f}" if anatomy.measured else "",
        air_slices=int(case.air.any(axis=(1, 2)).sum()),
        distractors=";".join(case.distractors),
        seed=job.settings.seed,
    )


def _write_nifti(path: Path, voxels: NDArray[np.generic], affine: NDArray[np.float64]) -> None:
    with whole_file(path) as part:
        part.write_bytes(nifti_bytes(voxels, affine))
