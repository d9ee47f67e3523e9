"""From two trained networks to a bundle: calibration, operating point, measured figures, card.

The calibration part chooses everything (probability, classifier threshold, segmenter threshold,
smallest lesion); the test part is touched once, after all choices, by the very cascade that ships
(ONNX files, int8 weights, runtime).
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

from pneumoseg.bundle import STRIDE, Bundle, Card, CardFigure, Digests, Training, write_bundle
from pneumoseg.dataset.cache import Cache
from pneumoseg.dataset.labelled_volumes import volumes_of
from pneumoseg.errors import UsageError
from pneumoseg.installation.check import record_check
from pneumoseg.settings import TARGET_RECALL
from pneumoseg.study import Modality
from pneumoseg.training import calibrate_films, calibrate_volumes, measure_films, measure_volumes
from pneumoseg.training.calibrate_stages import Chosen, best_weights, export_stage
from pneumoseg.training.validation import NORMALISATION

PLACEHOLDER = Digests("0" * 64, "0" * 64)
"""Stands on the card until the files are written."""


@dataclass(frozen=True)
class CalibrateSettings:
    """What ``pneumoseg calibrate`` makes of two runs."""

    classifier: Path = Path("runs/classifier")
    """Run folder of ``pneumoseg train classifier``."""
    segmenter: Path = Path("runs/segmenter")
    """Run folder of ``pneumoseg train segmenter``."""
    cache: Path = Path("cache/lean")
    """The cache both were trained on; its calibration part chooses, its test part is measured.
    For CT the whole volumes are read again, from where prepare found them."""
    out: Path = Path("bundles/cxr")
    """Folder of the bundle to write; an earlier bundle there is replaced as a whole."""
    name: str = "cxr"
    """Name of the bundle."""
    version: str = "1"
    """Version of the weights; it goes into every finding."""
    recall: float = TARGET_RECALL
    """Recall the classifier threshold is chosen for, on the calibration part; for CT that of
    slices, in every source, on logits smoothed over neighbouring slices."""
    classifier_size: int = 0
    """Side of the classifier's input in pixels, 0 for the one it was trained at."""
    segmenter_size: int = 0
    """Side of the segmenter's input in pixels, 0 for the one it was trained at."""
    mirror: bool = False
    """Average both networks over each film and its mirror image; twice their time. Not for CT."""
    seed: int = 0
    """Seed of the folds and of the bootstrap."""
    data: str = ""
    """One sentence for the card: what the networks were trained on."""
    licence: str = ""
    """One sentence for the card: under what terms data and weights may be used."""
    notes: tuple[str, ...] = ()
    """Limits a user must know, one sentence each."""
    origin: str = ""
    """Where the test films or volumes come from, named beside every figure on the card."""

    def __post_init__(self) -> None:
        if not 0 < self.recall <= 1:
            raise UsageError(f"recall must lie above 0 and at most at 1, got {self.recall}")
        for name in ("classifier_size", "segmenter_size"):
            size = getattr(self, name)
            if size < 0 or size % STRIDE:
                raise UsageError(f"{name} must be a multiple of {STRIDE}, or 0, got {size}")


@dataclass(frozen=True)
class Calibrated:
    """The bundle and what chose its operating point."""

    bundle: Bundle
    chosen: Chosen
    figures: tuple[CardFigure, ...]


def calibrate(settings: CalibrateSettings) -> Calibrated:
    """Calibrate two runs and write their bundle, with measured figures and the check's record.

    Raises:
        UsageError: a run folder holds no ``best.pt`` of its kind.
        DataError: the cache lacks a calibration or test part, or one has no positives; volumes of a
            CT cache are no longer where they were.
    """
    cache = Cache.open(settings.cache)
    is_ct = cache.modality is Modality.CT
    # What is missing is said now, not after minutes of exporting.
    for part in ("calibration", "test"):
        calibrate_films.part_with_positives(cache, part)
        if is_ct:
            volumes_of(cache, part)
    best_weights(settings.classifier, "classifier")
    best_weights(settings.segmenter, "segmenter")
    if is_ct and settings.mirror:
        raise UsageError("mirror is for films; leave it out for a CT cache")
    measure = measure_volumes.measure if is_ct else measure_films.measure
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        classifier = export_stage(
            settings.classifier, "classifier", folder, size=settings.classifier_size
        )
        segmenter = export_stage(
            settings.segmenter, "segmenter", folder, size=settings.segmenter_size
        )
        recall, seed = settings.recall, settings.seed
        if is_ct:
            chosen = calibrate_volumes.choose(
                classifier, segmenter, cache, recall=recall, seed=seed
            )
        else:
            chosen = calibrate_films.choose(
                classifier, segmenter, cache, recall=recall, seed=seed, mirror=settings.mirror
            )
        card = Card(
            name=settings.name,
            version=settings.version,
            modality=cache.modality,
            classifier_size=classifier.size,
            segmenter_size=segmenter.size,
            normalisation=NORMALISATION,
            config=chosen.config,
            calibration=chosen.calibration,
            training=Training(
                settings.data, settings.licence, classifier.init, segmenter.init, settings.notes
            ),
            sha256=PLACEHOLDER,
            window=cache.window,
            leaderboard=chosen.leaderboard,
        )
        write_bundle(settings.out, card, classifier.int8, segmenter.int8)
        write_bundle(folder / "f32", card, classifier.f32, segmenter.f32)
        figures = measure(
            settings.out, folder / "f32", cache, origin=settings.origin, seed=settings.seed
        )
        card = replace(card, figures=figures)
        bundle = write_bundle(settings.out, card, classifier.int8, segmenter.int8)
    record_check(bundle)
    return Calibrated(bundle, chosen, figures)
