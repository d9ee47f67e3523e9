"""Films: the calibration part chooses the operating point."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from pneumoseg.calibration import Calibration, choose_calibration, threshold_for_recall
from pneumoseg.dataset.cache import Cache
from pneumoseg.errors import DataError
from pneumoseg.operating_point.submission import choose_submission_point
from pneumoseg.preprocess import GRID_SIZE, Placement, to_source_grid
from pneumoseg.runtime import Network, load_network, run_on_grids
from pneumoseg.settings import PipelineConfig
from pneumoseg.statistics.segmenter_search import SegmenterCase, choose_segmenter_operating_point
from pneumoseg.training.calibrate_stages import BATCH, Chosen, ExportedStage
from pneumoseg.training.validation import NORMALISATION


def choose(
    classifier: ExportedStage,
    segmenter: ExportedStage,
    cache: Cache,
    *,
    recall: float,
    seed: int,
    mirror: bool = False,
) -> Chosen:
    """Choose probability, thresholds and smallest lesion on the calibration part.

    Args:
        classifier: stage one.
        segmenter: stage two.
        cache: its calibration part is read.
        recall: the classifier threshold is chosen for.
        seed: of the folds.
        mirror: average over each film and its mirror image.

    Raises:
        DataError: the calibration part has no positives.
    """
    run = _Run(cache, mirror)
    gate = _gate(load_network(classifier.int8), run, recall, seed)
    cases = list(_cases(load_network(segmenter.int8), run, gate.suspected))
    point = choose_segmenter_operating_point(cases).best
    config = PipelineConfig(gate.threshold, point.threshold, point.min_pixels, mirror=mirror)
    leaderboard = choose_submission_point(cases, gate.probability, config)
    return Chosen(gate.calibration, config, gate.log_losses, leaderboard)


@dataclass(frozen=True, eq=False)
class _Gate:
    """Stage one on the calibration part.

    Attributes:
        calibration: from logit to probability.
        log_losses: of each method of calibration that was tried.
        probability: float64 (n,), calibrated.
        threshold: on that probability.
        suspected: whether each row of the cache reaches it, in the order of ``probability``.
    """

    calibration: Calibration
    log_losses: dict[str, float]
    probability: NDArray[np.float64]
    threshold: float
    suspected: dict[int, bool]


@dataclass(frozen=True)
class _Run:
    """Films of the cache through a network, as the cascade will run."""

    cache: Cache
    mirror: bool

    def __call__(self, network: Network, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Logits (n, 1), or (n, 1, S, S) of the segmenter."""
        grids = [self.cache.images[row] for row in rows]
        return run_on_grids(network, grids, NORMALISATION, mirror=self.mirror)


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


def _gate(network: Network, run: _Run, recall: float, seed: int) -> _Gate:
    """Calibrate stage one on the calibration part."""
    cache = run.cache
    rows = part_with_positives(cache, "calibration")
    labels = cache.labels[rows] == 1
    parts = [run(network, rows[start : start + BATCH]) for start in range(0, len(rows), BATCH)]
    logits = np.concatenate(parts)[:, 0].astype(np.float64)  # (n,)
    rng = np.random.default_rng(seed)
    calibration, losses = choose_calibration(logits, labels, cache.patients[rows], rng)
    probability = calibration.apply(logits)
    threshold = threshold_for_recall(probability, labels, recall)
    suspected = dict(zip(rows.tolist(), (probability >= threshold).tolist(), strict=True))
    return _Gate(calibration, losses, probability, threshold, suspected)


def _cases(network: Network, run: _Run, suspected: Mapping[int, bool]) -> Iterator[SegmenterCase]:
    """Probability maps on the 512×512 grid; stage two runs on the suspected only."""
    empty = np.zeros((GRID_SIZE, GRID_SIZE), dtype=np.float32)
    whole = Placement.letterbox(GRID_SIZE, GRID_SIZE)
    for row, passed in suspected.items():
        truth = np.asarray(run.cache.masks[row], dtype=np.bool_)
        probabilities = empty
        if passed:
            logits = run(network, np.array([row]))[0, 0]  # (S, S)
            probabilities = to_source_grid(expit(logits).astype(np.float32), whole)
        yield SegmenterCase(probabilities, truth, suspected=passed)
