"""From two trained networks to a bundle: calibration, operating point, measured figures, card.

The calibration part chooses everything (probability, classifier threshold, segmenter threshold,
smallest lesion); the test part is touched once, after all choices, by the very cascade that ships
(ONNX files, int8 weights, runtime).
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from pneumoseg import metrics
from pneumoseg.bundle import Bundle, Card, CardFigure, Digests, Training, write_bundle
from pneumoseg.calibration import choose_calibration, threshold_for_recall
from pneumoseg.check import record_check
from pneumoseg.errors import DataError, UsageError
from pneumoseg.export import export_network, quantise_weights
from pneumoseg.operating_point import (
    OperatingPoint,
    SegmenterCase,
    choose_segmenter_operating_point,
)
from pneumoseg.pipeline_inference import Cascade
from pneumoseg.preprocess import GRID_SIZE, to_tensor
from pneumoseg.runtime import Network, load_network
from pneumoseg.settings import TARGET_RECALL, PipelineConfig
from pneumoseg.study import Image, Modality, Source, Units
from pneumoseg.training.dataset import Cache
from pneumoseg.training.initialise import build_classifier, build_segmenter, load_weights
from pneumoseg.training.tasks import NORMALISATION

BATCH = 8
PLACEHOLDER = Digests("0" * 64, "0" * 64)
"""Stands on the card until the files are written."""


@dataclass(frozen=True)
class CalibrateSettings:
    """What ``pneumoseg calibrate`` makes of two runs."""

    classifier: Path = Path("runs/classifier")
    """Run folder of ``pneumoseg train classifier``."""
    segmenter: Path = Path("runs/segmenter")
    """Run folder of ``pneumoseg train segmenter``."""
    cache: Path = Path("cache/cxr")
    """The cache both were trained on; its calibration part chooses, its test part is measured."""
    out: Path = Path("bundles/cxr")
    """Folder of the bundle to write; an earlier bundle there is replaced as a whole."""
    name: str = "cxr"
    """Name of the bundle."""
    version: str = "1"
    """Version of the weights; it goes into every finding."""
    recall: float = TARGET_RECALL
    """Recall the classifier threshold is chosen for, on the calibration part."""
    seed: int = 0
    """Seed of the folds and of the bootstrap."""
    data: str = ""
    """One sentence for the card: what the networks were trained on."""
    licence: str = ""
    """One sentence for the card: under what terms data and weights may be used."""
    notes: tuple[str, ...] = ()
    """Limits a user must know, one sentence each."""
    origin: str = ""
    """Where the test films come from, named beside every figure on the card."""

    def __post_init__(self) -> None:
        if not 0 < self.recall <= 1:
            raise UsageError(f"recall must lie above 0 and at most at 1, got {self.recall}")


@dataclass(frozen=True)
class Calibrated:
    """The bundle and what chose its operating point."""

    bundle: Bundle
    point: OperatingPoint
    log_losses: dict[str, float]
    figures: tuple[CardFigure, ...]


def calibrate(settings: CalibrateSettings) -> Calibrated:
    """Calibrate two runs and write their bundle, with measured figures and the check's record.

    Raises:
        UsageError: a run folder holds no ``best.pt`` of its kind.
        DataError: the cache lacks a calibration or test part, or one has no positives.
    """
    cache = Cache.open(settings.cache)
    rows = _part(cache, "calibration")
    labels = cache.labels[rows] == 1
    with tempfile.TemporaryDirectory() as folder:
        classifier, classifier_size, classifier_init = _export(
            settings.classifier, "classifier", Path(folder)
        )
        segmenter, segmenter_size, segmenter_init = _export(
            settings.segmenter, "segmenter", Path(folder)
        )
        logits = _logits(load_network(classifier), cache, rows, classifier_size)
        rng = np.random.default_rng(settings.seed)
        calibration, losses = choose_calibration(logits, labels, cache.patients[rows], rng)
        probability = calibration.apply(logits)
        threshold = threshold_for_recall(probability, labels, settings.recall)
        suspected = probability >= threshold
        network = load_network(segmenter)
        cases = _cases(network, cache, rows, suspected, segmenter_size)
        point = choose_segmenter_operating_point(cases).best
        card = Card(
            name=settings.name,
            version=settings.version,
            modality=Modality.XRAY,
            classifier_size=classifier_size,
            segmenter_size=segmenter_size,
            normalisation=NORMALISATION,
            config=PipelineConfig(threshold, point.threshold, point.min_pixels),
            calibration=calibration,
            training=Training(
                settings.data, settings.licence, classifier_init, segmenter_init, settings.notes
            ),
            sha256=PLACEHOLDER,
        )
        bundle = write_bundle(settings.out, card, classifier, segmenter)
        figures = measure(Cascade.load(settings.out), cache, settings)
        bundle = write_bundle(settings.out, replace(card, figures=figures), classifier, segmenter)
    record_check(bundle)
    return Calibrated(bundle, point, losses, figures)


def measure(cascade: Cascade, cache: Cache, settings: CalibrateSettings) -> tuple[CardFigure, ...]:
    """Measure a cascade on the cache's test part, as it ships.

    Masks are compared on the 512×512 grid of the cache; ``pneumoseg evaluate`` compares on the
    films' own grids.

    Returns:
        AUROC, recall, specificity, share passed on, lesion Dice (misses count 0), SIIM mean Dice,
        each with n and a bootstrap 95 % interval by patient.
    """
    rows = _part(cache, "test")
    labels = cache.labels[rows] == 1
    probability = np.zeros(len(rows))
    dices = np.zeros(len(rows))
    for start in range(0, len(rows), BATCH):
        batch = rows[start : start + BATCH]
        images = [_film(cache, int(row)) for row in batch]
        for index, finding in enumerate(cascade.predict_batch(images), start):
            truth = np.asarray(cache.masks[rows[index]], dtype=np.bool_)
            mask = finding.mask.pixels if finding.mask is not None else np.zeros_like(truth)
            probability[index] = finding.detection.probability
            dices[index] = metrics.dice(mask, truth)
    positive = probability >= cascade.config.classifier_threshold
    return _figures(probability, positive, dices, labels, cache.patients[rows], settings)


def _figures(
    probability: NDArray[np.float64],
    positive: NDArray[np.bool_],
    dices: NDArray[np.float64],
    labels: NDArray[np.bool_],
    patients: NDArray[np.str_],
    settings: CalibrateSettings,
) -> tuple[CardFigure, ...]:
    everyone = np.ones(len(labels), dtype=np.bool_)
    statistics: tuple[tuple[str, NDArray[np.bool_], metrics.Statistic], ...] = (
        ("AUROC", everyone, lambda i: metrics.auroc(probability[i], labels[i])),
        ("recall", labels, lambda i: metrics.confusion(positive[i], labels[i]).recall),
        ("specificity", ~labels, lambda i: metrics.confusion(positive[i], labels[i]).specificity),
        ("F2", everyone, lambda i: metrics.f2(positive[i], labels[i])),
        ("share segmented", everyone, lambda i: metrics.share_segmented(positive[i])),
        ("lesion Dice", labels, lambda i: metrics.lesion_dice(dices[i], labels[i])),
        ("SIIM mean Dice", everyone, lambda i: metrics.siim_mean_dice(dices[i])),
    )
    figures = []
    for name, over, statistic in statistics:
        rng = np.random.default_rng(settings.seed)
        interval = metrics.bootstrap_by_patient(statistic, patients, rng, n=len(labels))
        figures.append(
            CardFigure(
                name=name,
                value=statistic(np.arange(len(labels))),
                low=interval.low,
                high=interval.high,
                n=int(over.sum()),
                n_positive=int((labels & over).sum()),
                n_patients=len(set(patients[over].tolist())),
                split="test part, patients never trained or calibrated on",
                origin=settings.origin,
            )
        )
    return tuple(figures)


def _part(cache: Cache, name: str) -> NDArray[np.int64]:
    rows = cache.part(name)
    if not cache.labels[rows].any():
        raise DataError(
            f"the {name} part of {cache.folder} has {len(rows)} films and no positive one; "
            "prepare a cache with a labelled source whose parts are split"
        )
    return rows


def _export(run: Path, kind: str, folder: Path) -> tuple[Path, int, str]:
    """Export a run's best weights with int8 storage; also its input size and first weights."""
    path = run / "best.pt"
    if not path.is_file():
        raise UsageError(f"{run} has no best.pt; give the run folder of pneumoseg train {kind}")
    recipe = torch.load(path, map_location="cpu", weights_only=True)["recipe"]
    model: torch.nn.Module
    if kind == "classifier":
        model = build_classifier("scratch")
    else:
        model = build_segmenter("scratch", shallow_skips=bool(recipe["shallow_skips"]))
    load_weights(model, path)
    size = int(recipe["size"])
    exported = export_network(model, folder / f"{kind}.f32.onnx", size=size)
    return quantise_weights(exported, folder / f"{kind}.onnx"), size, str(recipe["init"])


def _logits(
    network: Network, cache: Cache, rows: NDArray[np.int64], size: int
) -> NDArray[np.float64]:
    """Classifier logits of some rows, float64 (n,)."""
    parts = [_run(network, cache, rows[s : s + BATCH], size) for s in range(0, len(rows), BATCH)]
    return np.concatenate(parts)[:, 0].astype(np.float64)


def _cases(
    network: Network,
    cache: Cache,
    rows: NDArray[np.int64],
    suspected: NDArray[np.bool_],
    size: int,
) -> Iterator[SegmenterCase]:
    """Probability maps on the 512×512 grid, one at a time; stage two runs on the suspected only."""
    empty = np.zeros((GRID_SIZE, GRID_SIZE), dtype=np.float32)
    for row, passed in zip(rows, suspected, strict=True):
        truth = np.asarray(cache.masks[row], dtype=np.bool_)
        if not passed:
            yield SegmenterCase(empty, truth, suspected=False)
            continue
        logits = _run(network, cache, np.array([row]), size)[0, 0]
        probabilities = (1 / (1 + np.exp(-logits))).astype(np.float32)
        grid = cv2.resize(probabilities, (GRID_SIZE, GRID_SIZE), interpolation=cv2.INTER_LINEAR)
        yield SegmenterCase(np.asarray(grid, dtype=np.float32), truth, suspected=True)


def _run(network: Network, cache: Cache, rows: NDArray[np.int64], size: int) -> NDArray[np.float32]:
    return network.run(np.stack([to_tensor(cache.images[r], size, NORMALISATION) for r in rows]))


def _film(cache: Cache, row: int) -> Image:
    """A row of the cache as the cascade takes it."""
    pixels = cache.images[row].astype(np.float32) / np.float32(255)
    return Image(pixels, Units.UNIT_INTERVAL, None, Source(cache.rows[row].image_id))
