"""Constancy check of an installation: does this machine answer as the bundle's maker's did?

A fixed set of phantom films, or volumes for a CT bundle, goes through the cascade, and probability,
decision, area and Dice are held against the results recorded in the bundle when it was made
(``check.toml``). A digest of what the networks saw is recorded too, so that a difference in the
phantom (another version of a numerical library) is distinguished from a difference in the networks.
The check says that an installation works; it says nothing about how good the networks are.
Constancy testing in the sense of IEC 61223.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pneumoseg import metrics, preprocess
from pneumoseg.bundle import Bundle
from pneumoseg.ct.array_volume import ArrayVolume
from pneumoseg.ct.inference import VolumeCascade
from pneumoseg.errors import BundleError, UsageError
from pneumoseg.phantom import Collapse, Posture, make_body, make_ct, make_film
from pneumoseg.pipeline_inference import Cascade
from pneumoseg.storage.strict import load_settings
from pneumoseg.storage.toml_text import toml_text
from pneumoseg.study import Modality, Side

RECORD_FILE = "check.toml"

SEEDS = tuple(range(9001, 9013))
"""Twelve films; even seeds have a pneumothorax, odd ones have none."""

FILM_SIZE = 1024
"""Side of the films in pixels."""

PROBABILITY_TOLERANCE = 0.02
"""Runtimes and precisions differ by less; other weights, or another preprocessing, by more."""

AREA_TOLERANCE = 0.05
"""Relative to the recorded area."""

AREA_FLOOR_PX = 1000
"""Always allowed, in source pixels: a lesion of just ``min_pixels`` (200 × 4) may come or go."""

DICE_TOLERANCE = 0.05

CT_SEEDS = (9021, 9022, 9023, 9024)
"""Four volumes for a CT bundle; even seeds have a pneumothorax, odd ones have none."""

CT_SPACING_MM = (10.0, 1.5, 1.5)
"""Between slices, rows, columns: some thirty slices a volume."""

CT_DEGREE = 0.25
"""Share of a hemithorax that is air in the volumes with pneumothorax."""

BLOCKS = 4
"""The coarse picture of a film is BLOCKS × BLOCKS mean grey levels."""

GREY_TOLERANCE = 0.5
"""Grey levels of 255 by which block means may differ before it is called another film."""

_HEADER = """Recorded results of the constancy check, made together with this bundle.
`pneumoseg check` runs the same phantom films and compares. Do not edit."""


@dataclass(frozen=True)
class CheckSettings:
    """What to check."""

    bundle: str = "cxr"
    """Name of a shipped bundle, or a bundle's folder."""
    runtime: str = "openvino"
    """Runtime to check: openvino, onnxruntime or torch."""
    precision: str = "f32"
    """Precision to check: f32, or bf16 where the processor has it."""
    record: bool = False
    """Write the results into the bundle as the new reference instead of comparing."""


@dataclass(frozen=True)
class CheckResult:
    """What one film or volume gave; also one table of ``check.toml``.

    ``area_px`` (source pixels, voxels of a volume) is 0 where stage two was not run. ``dice``
    compares the mask with the phantom's truth; None for one without pneumothorax. The grids of a
    volume are those of all its slices, their blocks those of the middle slice.
    """

    seed: int
    grid_sha256: str
    grid_blocks: tuple[float, ...]
    probability: float
    positive: bool
    area_px: int
    dice: float | None = None


@dataclass(frozen=True)
class CheckRecord:
    """The reference in ``check.toml``."""

    bundle_version: str
    classifier_threshold: float
    films: tuple[CheckResult, ...]


@dataclass(frozen=True)
class CheckRow:
    """One film held against its record; ``problem`` is empty where they agree.

    ``same_phantom`` is False where the film itself differs: the networks are then not to blame.
    """

    expected: CheckResult
    found: CheckResult
    same_phantom: bool
    problem: str

    @property
    def passed(self) -> bool:
        """Whether the film gave what was recorded, within tolerance."""
        return not self.problem


@dataclass(frozen=True)
class CheckReport:
    """The outcome: one row per film or volume, in the order of their seeds."""

    bundle: str
    bundle_version: str
    runtime: str
    precision: str
    rows: tuple[CheckRow, ...]
    modality: Modality = Modality.XRAY

    @property
    def passed(self) -> bool:
        """Whether every film passed."""
        return all(row.passed for row in self.rows)

    @property
    def summary(self) -> str:
        """One sentence for a person."""
        failed = [row for row in self.rows if not row.passed]
        kind = "films" if self.modality is Modality.XRAY else "volumes"
        if not failed:
            return f"All {len(self.rows)} {kind} gave the recorded results."
        if all(not row.same_phantom for row in failed):
            cause = f"the phantom {kind} differ on this machine, so the networks were not judged"
        else:
            cause = "the networks answer differently here; do not use this installation"
        return f"{len(failed)} of {len(self.rows)} {kind} differ from the record: {cause}."


def run_check(
    settings: CheckSettings, on_progress: Callable[[int, int], None] | None = None
) -> CheckReport:
    """Run the phantom set and compare it with the bundle's record.

    Args:
        settings: what to check; with ``record`` the results become the new reference first.
        on_progress: called after each film or volume with (done, total).

    Raises:
        BundleError: the bundle is damaged, has no record, or one of another version.
        RuntimeUnavailableError: the runtime is not available here.
    """
    cascade = Cascade.load(settings.bundle, runtime=settings.runtime, precision=settings.precision)
    bundle = cascade.bundle
    reference = None if settings.record else read_record(bundle)
    found = _run_phantoms(cascade, on_progress)
    if reference is None:
        reference = _write_record(bundle, found)
    rows = tuple(
        _compare(expected, result, reference.classifier_threshold)
        for expected, result in zip(reference.films, found, strict=True)
    )
    used = cascade.provenance
    return CheckReport(
        used.bundle,
        used.bundle_version,
        used.runtime,
        used.precision,
        rows,
        bundle.card.modality,
    )


def record_check(bundle: Bundle) -> CheckRecord:
    """Run the phantom set in the default runtime and write ``check.toml`` into the bundle."""
    return _write_record(bundle, _run_phantoms(Cascade.load(bundle.folder), None))


def read_record(bundle: Bundle) -> CheckRecord:
    """Read the bundle's reference.

    Raises:
        BundleError: there is none, it cannot be read, or it belongs to other weights or films.
    """
    path = bundle.folder / RECORD_FILE
    again = "record it again with: pneumoseg check --record"
    if not path.is_file():
        raise BundleError(f"{bundle.folder} has no recorded results ({RECORD_FILE}); {again}")
    try:
        record = load_settings(CheckRecord, path)
    except UsageError as error:
        raise BundleError(str(error)) from error
    if record.bundle_version != bundle.card.version:
        raise BundleError(
            f"{path} was recorded with version {record.bundle_version}, the bundle is "
            f"{bundle.card.version}; {again}"
        )
    if tuple(film.seed for film in record.films) != _seeds(bundle):
        raise BundleError(f"{path} was recorded with other phantom films; {again}")
    return record


def _write_record(bundle: Bundle, films: tuple[CheckResult, ...]) -> CheckRecord:
    record = CheckRecord(bundle.card.version, bundle.card.config.classifier_threshold, films)
    path = bundle.folder / RECORD_FILE
    try:
        path.write_text(toml_text(record, header=_HEADER), encoding="utf-8")
    except OSError as error:
        raise BundleError(f"cannot write {path}: {error.strerror}") from error
    return record


def _seeds(bundle: Bundle) -> tuple[int, ...]:
    return SEEDS if bundle.card.modality is Modality.XRAY else CT_SEEDS


def _run_phantoms(
    cascade: Cascade, on_progress: Callable[[int, int], None] | None
) -> tuple[CheckResult, ...]:
    results = []
    seeds = _seeds(cascade.bundle)
    run = _run_film if cascade.bundle.card.modality is Modality.XRAY else _run_volume
    for done, seed in enumerate(seeds, start=1):
        results.append(run(cascade, seed))
        if on_progress is not None:
            on_progress(done, len(seeds))
    return tuple(results)


def _run_film(cascade: Cascade, seed: int) -> CheckResult:
    positive = seed % 2 == 0
    film = make_film(seed, pneumothorax=positive, size=FILM_SIZE)
    finding = cascade.predict(film.image)
    drawn = np.zeros(finding.shape, np.bool_) if finding.mask is None else finding.mask.pixels
    grid, _ = preprocess.to_grid(film.image)
    return CheckResult(
        seed=seed,
        grid_sha256=hashlib.sha256(grid.tobytes()).hexdigest(),
        grid_blocks=_block_means(grid),
        probability=round(finding.detection.probability, 6),
        positive=finding.detection.positive,
        area_px=int(np.count_nonzero(drawn)),
        dice=round(float(metrics.dice(drawn, film.mask.pixels)), 4) if positive else None,
    )


def _run_volume(cascade: Cascade, seed: int) -> CheckResult:
    positive = seed % 2 == 0
    side = Side.LEFT if seed % 4 == 0 else Side.RIGHT
    body = make_body(
        seed, collapse=Collapse(side, CT_DEGREE) if positive else None, posture=Posture.SUPINE
    )
    scan = make_ct(body, spacing_mm=CT_SPACING_MM)
    volumes = VolumeCascade.of(cascade)
    finding = volumes.predict(ArrayVolume.of_phantom(scan, str(seed)))
    mask = finding.as_finding().mask
    drawn = np.zeros(finding.shape, np.bool_) if mask is None else mask.pixels
    grids = [preprocess.slice_to_grid(hu, volumes.window)[0] for hu in scan.hu]
    return CheckResult(
        seed=seed,
        grid_sha256=hashlib.sha256(b"".join(grid.tobytes() for grid in grids)).hexdigest(),
        grid_blocks=_block_means(grids[len(grids) // 2]),
        probability=round(finding.detection.probability, 6),
        positive=finding.detection.positive,
        area_px=finding.voxels,
        dice=round(float(metrics.dice(drawn, scan.pleural_air)), 4) if positive else None,
    )


def _block_means(grid: NDArray[np.uint8]) -> tuple[float, ...]:
    """Coarse picture of a grid: mean grey level of each of BLOCKS × BLOCKS fields, row by row."""
    side = grid.shape[0] // BLOCKS
    means = grid.reshape(BLOCKS, side, BLOCKS, side).mean(axis=(1, 3))
    return tuple(round(float(mean), 2) for mean in means.reshape(-1))


def _compare(expected: CheckResult, found: CheckResult, threshold: float) -> CheckRow:
    """Hold a film against its record; the first thing that is wrong is named."""
    blocks = np.array(found.grid_blocks) - np.array(expected.grid_blocks)
    # Rounding may differ by a grey level between versions of a library: then it is the same film.
    same = (
        found.grid_sha256 == expected.grid_sha256 or float(np.abs(blocks).max()) <= GREY_TOLERANCE
    )
    if not same:
        return CheckRow(expected, found, False, "the phantom film is another one here")
    return CheckRow(expected, found, True, _difference(expected, found, threshold))


def _difference(expected: CheckResult, found: CheckResult, threshold: float) -> str:
    if abs(found.probability - expected.probability) > PROBABILITY_TOLERANCE:
        return f"probability {found.probability:.3f}, recorded {expected.probability:.3f}"
    if found.positive != expected.positive:
        # A probability recorded next to the threshold may fall on either side of it, and with it
        # whether there is a mask at all.
        borderline = abs(expected.probability - threshold) <= PROBABILITY_TOLERANCE
        return "" if borderline else f"decision {found.positive}, recorded {expected.positive}"
    allowed = AREA_FLOOR_PX + AREA_TOLERANCE * expected.area_px
    if abs(found.area_px - expected.area_px) > allowed:
        return f"area {found.area_px} px, recorded {expected.area_px} px"
    dices = (expected.dice or 0.0, found.dice or 0.0)  # None alike for a film without pneumothorax
    if abs(dices[0] - dices[1]) > DICE_TOLERANCE:
        return f"Dice {dices[1]:.3f}, recorded {dices[0]:.3f}"
    return ""
