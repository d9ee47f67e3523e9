"""Films: the calibration part chooses the operating point, the test part is measured."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from pneumoseg import metrics
from pneumoseg.bundle import CardFigure
from pneumoseg.calibration import Calibration, choose_calibration, threshold_for_recall
from pneumoseg.errors import DataError
from pneumoseg.operating_point import SegmenterCase, choose_segmenter_operating_point
from pneumoseg.pipeline_inference import Cascade
from pneumoseg.preprocess import GRID_SIZE, Placement, to_source_grid
from pneumoseg.runtime import Network, load_network
from pneumoseg.settings import PipelineConfig
from pneumoseg.study import Image, Source, Units
from pneumoseg.training.calibrate_stages import BATCH, Chosen, ExportedStage, run_on_grids
from pneumoseg.training.dataset import Cache


def choose(
    classifier: ExportedStage,
    segmenter: ExportedStage,
    cache: Cache,
    *,
    recall: float,
    seed: int,
) -> Chosen:
    """Choose probability, thresholds and smallest lesion on the calibration part.

    Args:
        classifier: stage one.
        segmenter: stage two.
        cache: its calibration part is read.
        recall: the classifier threshold is chosen for.
        seed: of the folds.

    Raises:
        DataError: the calibration part has no positives.
    """
    calibration, losses, suspected, threshold = _gate(classifier, cache, recall, seed)
    cases = _cases(load_network(segmenter.int8), cache, suspected, segmenter.size)
    point = choose_segmenter_operating_point(cases).best
    config = PipelineConfig(threshold, point.threshold, point.min_pixels)
    return Chosen(calibration, config, losses)


def measure(
    bundle: Path, reference: Path, cache: Cache, *, origin: str, seed: int
) -> tuple[CardFigure, ...]:
    """Measure a bundle on the cache's test part, as it ships.

    Masks are compared on the 512×512 grid of the cache; ``pneumoseg evaluate`` compares them on the
    films' own grids.

    Args:
        bundle: folder of the bundle.
        reference: folder of the same networks with float32 weights.
        cache: its test part is read.
        origin: of the films.
        seed: of the bootstrap.

    Returns:
        AUROC, recall, specificity, F2, share segmented, lesion Dice (misses count 0), SIIM mean
        Dice, and how far int8 storage agrees with float32 (decisions equal; Dice between the masks
        of the films that either outlined), each with n and a bootstrap 95 % interval by patient.
    """
    rows = part_with_positives(cache, "test")
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
        _figure(name, over, statistic, labels, patients, origin, seed)
        for name, over, statistic in statistics
    )


def _figure(
    name: str,
    over: NDArray[np.bool_],
    statistic: metrics.Statistic,
    labels: NDArray[np.bool_],
    patients: NDArray[np.str_],
    origin: str,
    seed: int,
) -> CardFigure:
    rng = np.random.default_rng(seed)
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
        origin=origin,
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


def part_with_positives(cache: Cache, name: str) -> NDArray[np.int64]:
    """Rows of a part that must have positives.

    Raises:
        DataError: it has none.
    """
    rows = cache.part(name)
    if not cache.labels[rows].any():
        raise DataError(
            f"the {name} part of {cache.folder} has {len(rows)} films and no positive one; "
            "prepare a cache with a labelled source whose parts are split"
        )
    return rows


def _gate(
    classifier: ExportedStage, cache: Cache, recall: float, seed: int
) -> tuple[Calibration, dict[str, float], dict[int, bool], float]:
    """Calibrate stage one on the calibration part.

    Returns:
        The calibration, the log loss of each method tried, whether each row is suspected, and the
        threshold on the calibrated probability.
    """
    rows = part_with_positives(cache, "calibration")
    labels = cache.labels[rows] == 1
    network = load_network(classifier.int8)
    parts = [
        _run(network, cache, rows[start : start + BATCH], classifier.size)
        for start in range(0, len(rows), BATCH)
    ]
    logits = np.concatenate(parts)[:, 0].astype(np.float64)  # (n,)
    rng = np.random.default_rng(seed)
    calibration, losses = choose_calibration(logits, labels, cache.patients[rows], rng)
    probability = calibration.apply(logits)
    threshold = threshold_for_recall(probability, labels, recall)
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
    return run_on_grids(network, [cache.images[row] for row in rows], size)


def _film(cache: Cache, row: int) -> Image:
    """A row of the cache as the cascade takes it."""
    pixels = cache.images[row].astype(np.float32) / np.float32(255)
    return Image(pixels, Units.UNIT_INTERVAL, None, Source(cache.rows[row].image_id))
