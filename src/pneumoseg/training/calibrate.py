"""From two trained networks to a bundle: calibration, operating point, measured figures, card.

The calibration part chooses everything (probability, classifier threshold, segmenter threshold,
smallest lesion); the test part is touched once, after all choices, by the very cascade that ships
(ONNX files, int8 weights, runtime).
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import expit

from pneumoseg import metrics
from pneumoseg.bundle import Bundle, Card, CardFigure, Digests, Training, write_bundle
from pneumoseg.calibration import Calibration, choose_calibration, threshold_for_recall
from pneumoseg.check import record_check
from pneumoseg.errors import DataError, UsageError
from pneumoseg.export import export_network, quantise_weights
from pneumoseg.operating_point import (
    OperatingPoint,
    SegmenterCase,
    choose_segmenter_operating_point,
)
from pneumoseg.pipeline_inference import Cascade
from pneumoseg.preprocess import GRID_SIZE, Placement, to_source_grid, to_tensor
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
    # What is missing is said now, not after minutes of exporting.
    for part in ("calibration", "test"):
        _part(cache, part)
    _best_weights(settings.classifier, "classifier")
    _best_weights(settings.segmenter, "segmenter")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        classifier = _export(settings.classifier, "classifier", folder)
        segmenter = _export(settings.segmenter, "segmenter", folder)
        calibration, losses, suspected, threshold = _gate(classifier, cache, settings)
        cases = _cases(load_network(segmenter.int8), cache, suspected, segmenter.size)
        point = choose_segmenter_operating_point(cases).best
        card = Card(
            name=settings.name,
            version=settings.version,
            modality=Modality.XRAY,
            classifier_size=classifier.size,
            segmenter_size=segmenter.size,
            normalisation=NORMALISATION,
            config=PipelineConfig(threshold, point.threshold, point.min_pixels),
            calibration=calibration,
            training=Training(
                settings.data, settings.licence, classifier.init, segmenter.init, settings.notes
            ),
            sha256=PLACEHOLDER,
        )
        write_bundle(settings.out, card, classifier.int8, segmenter.int8)
        write_bundle(folder / "f32", card, classifier.f32, segmenter.f32)
        figures = measure(settings.out, folder / "f32", cache, settings)
        card = replace(card, figures=figures)
        bundle = write_bundle(settings.out, card, classifier.int8, segmenter.int8)
    record_check(bundle)
    return Calibrated(bundle, point, losses, figures)


def measure(
    bundle: Path, reference: Path, cache: Cache, settings: CalibrateSettings
) -> tuple[CardFigure, ...]:
    """Measure a bundle on the cache's test part, as it ships.

    Masks are compared on the 512×512 grid of the cache; ``pneumoseg evaluate`` compares them on the
    films' own grids.

    Args:
        bundle: folder of the bundle.
        reference: folder of the same networks with float32 weights.
        cache: its test part is read.
        settings: name the origin of the films and the seed of the bootstrap.

    Returns:
        AUROC, recall, specificity, F2, share segmented, lesion Dice (misses count 0), SIIM mean
        Dice, and how far int8 storage agrees with float32 (decisions equal; Dice between the masks
        of the films that either outlined), each with n and a bootstrap 95 % interval by patient.
    """
    rows = _part(cache, "test")
    labels = cache.labels[rows] == 1
    truth = np.asarray(cache.masks[rows], dtype=np.bool_)
    probability, positive, masks = _predict(Cascade.load(bundle), cache, rows)
    _, positive_f32, masks_f32 = _predict(Cascade.load(reference), cache, rows)
    dices, agreement = _dices(masks, truth), _dices(masks, masks_f32)
    everyone = np.ones(len(rows), dtype=np.bool_)
    outlined = np.asarray((masks | masks_f32).any(axis=(1, 2)), dtype=np.bool_)
    equal = positive == positive_f32
    statistics: list[tuple[str, NDArray[np.bool_], metrics.Statistic]] = [
        ("AUROC", everyone, lambda i: metrics.auroc(probability[i], labels[i])),
        ("recall", labels, lambda i: metrics.confusion(positive[i], labels[i]).recall),
        ("specificity", ~labels, lambda i: metrics.confusion(positive[i], labels[i]).specificity),
        ("F2", everyone, lambda i: metrics.f2(positive[i], labels[i])),
        ("share segmented", everyone, lambda i: metrics.share_segmented(positive[i])),
        ("lesion Dice", labels, lambda i: metrics.lesion_dice(dices[i], labels[i])),
        ("SIIM mean Dice", everyone, lambda i: metrics.siim_mean_dice(dices[i])),
        ("int8 decisions equal to float32", everyone, lambda i: _mean(equal[i])),
        ("int8 masks, Dice with float32", outlined, lambda i: _mean(agreement[i][outlined[i]])),
    ]
    patients = cache.patients[rows]
    return tuple(
        _figure(name, over, statistic, labels, patients, settings)
        for name, over, statistic in statistics
    )


def _figure(
    name: str,
    over: NDArray[np.bool_],
    statistic: metrics.Statistic,
    labels: NDArray[np.bool_],
    patients: NDArray[np.str_],
    settings: CalibrateSettings,
) -> CardFigure:
    rng = np.random.default_rng(settings.seed)
    interval = metrics.bootstrap_by_patient(statistic, patients, rng, n=len(labels))
    return CardFigure(
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


def _mean(values: NDArray[np.bool_] | NDArray[np.float64]) -> float | None:
    return float(values.mean()) if len(values) else None


def _dices(masks: NDArray[np.bool_], truth: NDArray[np.bool_]) -> NDArray[np.float64]:
    return np.array([metrics.dice(a, b) for a, b in zip(masks, truth, strict=True)])


def _predict(
    cascade: Cascade, cache: Cache, rows: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_]]:
    """Probabilities (n,), decisions (n,) and masks (n, 512, 512) of some rows of the cache."""
    probability = np.zeros(len(rows))
    positive = np.zeros(len(rows), dtype=np.bool_)
    masks = np.zeros((len(rows), GRID_SIZE, GRID_SIZE), dtype=np.bool_)
    for start in range(0, len(rows), BATCH):
        images = [_film(cache, int(row)) for row in rows[start : start + BATCH]]
        for index, finding in enumerate(cascade.predict_batch(images), start):
            probability[index] = finding.detection.probability
            positive[index] = finding.detection.positive
            if finding.mask is not None:
                masks[index] = finding.mask.pixels
    return probability, positive, masks


def _part(cache: Cache, name: str) -> NDArray[np.int64]:
    rows = cache.part(name)
    if not cache.labels[rows].any():
        raise DataError(
            f"the {name} part of {cache.folder} has {len(rows)} films and no positive one; "
            "prepare a cache with a labelled source whose parts are split"
        )
    return rows


@dataclass(frozen=True)
class _Exported:
    """One stage as ONNX: float32 and int8 storage of the same weights."""

    f32: Path
    int8: Path
    size: int
    init: str


def _best_weights(run: Path, kind: str) -> Path:
    path = run / "best.pt"
    if not path.is_file():
        raise UsageError(f"{run} has no best.pt; give the run folder of pneumoseg train {kind}")
    return path


def _export(run: Path, kind: str, folder: Path) -> _Exported:
    """Export a run's best weights; the recipe in the file says size and first weights."""
    path = _best_weights(run, kind)
    recipe = torch.load(path, map_location="cpu", weights_only=True)["recipe"]
    model: torch.nn.Module
    if kind == "classifier":
        model = build_classifier("scratch")
    else:
        model = build_segmenter("scratch", shallow_skips=bool(recipe.get("shallow_skips", True)))
    load_weights(model, path)
    size = int(recipe["size"])
    f32 = export_network(model, folder / f"{kind}.f32.onnx", size=size)
    int8 = quantise_weights(f32, folder / f"{kind}.onnx")
    return _Exported(f32, int8, size, str(recipe["init"]))


def _gate(
    classifier: _Exported, cache: Cache, settings: CalibrateSettings
) -> tuple[Calibration, dict[str, float], dict[int, bool], float]:
    """Calibrate stage one on the calibration part.

    Returns:
        The calibration, the log loss of each method tried, whether each row is suspected, and the
        threshold on the calibrated probability.
    """
    rows = _part(cache, "calibration")
    labels = cache.labels[rows] == 1
    network = load_network(classifier.int8)
    parts = [
        _run(network, cache, rows[start : start + BATCH], classifier.size)
        for start in range(0, len(rows), BATCH)
    ]
    logits = np.concatenate(parts)[:, 0].astype(np.float64)  # (n,)
    rng = np.random.default_rng(settings.seed)
    calibration, losses = choose_calibration(logits, labels, cache.patients[rows], rng)
    probability = calibration.apply(logits)
    threshold = threshold_for_recall(probability, labels, settings.recall)
    suspected = dict(zip(rows.tolist(), (probability >= threshold).tolist(), strict=True))
    return calibration, losses, suspected, threshold


def _cases(
    network: Network, cache: Cache, suspected: Mapping[int, bool], size: int
) -> Iterator[SegmenterCase]:
    """Probability maps on the 512×512 grid, one at a time; stage two runs on the suspected only."""
    empty = np.zeros((GRID_SIZE, GRID_SIZE), dtype=np.float32)
    whole = Placement.letterbox(GRID_SIZE, GRID_SIZE)
    for row, passed in suspected.items():
        truth = np.asarray(cache.masks[row], dtype=np.bool_)
        probabilities = empty
        if passed:
            logits = _run(network, cache, np.array([row]), size)[0, 0]  # (S, S)
            probabilities = to_source_grid(expit(logits).astype(np.float32), whole)
        yield SegmenterCase(probabilities, truth, suspected=passed)


def _run(network: Network, cache: Cache, rows: NDArray[np.int64], size: int) -> NDArray[np.float32]:
    return network.run(np.stack([to_tensor(cache.images[r], size, NORMALISATION) for r in rows]))


def _film(cache: Cache, row: int) -> Image:
    """A row of the cache as the cascade takes it."""
    pixels = cache.images[row].astype(np.float32) / np.float32(255)
    return Image(pixels, Units.UNIT_INTERVAL, None, Source(cache.rows[row].image_id))
