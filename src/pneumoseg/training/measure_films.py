"""Films: the test part is measured once, with the cascade as it ships."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pneumoseg import metrics
from pneumoseg.bundle import CardFigure
from pneumoseg.dataset.cache import Cache
from pneumoseg.evaluation.strata import SIZES, size_of
from pneumoseg.metrics import SEED_BETA
from pneumoseg.pipeline_inference import Cascade
from pneumoseg.preprocess import GRID_SIZE, Placement
from pneumoseg.statistics import weighted
from pneumoseg.statistics.estimate import Quantity, estimator
from pneumoseg.study import Image, Source, Units
from pneumoseg.training.calibrate_films import part_with_positives
from pneumoseg.training.calibrate_stages import BATCH


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
        Dice, also at the leaderboard point and of empty masks alone; AUROC, recall, specificity and
        lesion Dice of each view; recall and lesion Dice by lesion size
        (:data:`pneumoseg.evaluation.strata.SIZES`); and how far int8 storage agrees with float32
        (decisions equal; Dice between the masks where either predicts one). Each with n and a
        bootstrap 95 % interval by patient.
    """
    rows = part_with_positives(cache, "test")
    labels = cache.labels[rows] == 1
    truth = np.asarray(cache.masks[rows], dtype=np.bool_)
    probability, positive, masks = _predict(Cascade.load(bundle), cache, rows)
    leaderboard = Cascade.load(bundle, operating_point="leaderboard")
    submitted = _predict(leaderboard, cache, rows)[2]
    _, positive_f32, masks_f32 = _predict(Cascade.load(reference), cache, rows)
    submitted_dices = _dices(submitted, truth)
    dices, agreement = _dices(masks, truth), _dices(masks, masks_f32)
    everyone = np.ones(len(rows), dtype=np.bool_)
    either_predicted = np.asarray((masks | masks_f32).any(axis=(1, 2)), dtype=np.bool_)
    films = _Predicted(labels, probability, positive, dices)
    quantities = [
        *films.decisions("", everyone),
        Quantity("F2", everyone, weighted.f_beta(positive, labels, SEED_BETA)),
        _mean("share segmented", positive, everyone),
        films.lesion_dice("", everyone),
        _mean("SIIM mean Dice", dices, everyone),
        _mean("SIIM mean Dice, leaderboard point", submitted_dices, everyone),
        _mean("SIIM mean Dice of an all-empty submission", ~labels, everyone),
        *_by_view(films, [cache.rows[row].view for row in rows]),
        *_by_size(films, _sizes(cache, rows)),
        _mean("int8 decisions equal to float32", positive == positive_f32, everyone),
        _mean("int8 masks, Dice with float32", agreement, either_predicted),
    ]
    found = estimator(labels, cache.patients[rows], seed=seed).estimates(quantities)
    split = "test part, patients never trained or calibrated on"
    return tuple(CardFigure.of(each, split=split, origin=origin) for each in found)


@dataclass(frozen=True, eq=False)
class _Predicted:
    """What is true and what was predicted of n films.

    Attributes:
        labels: bool (n,).
        probability: float64 (n,), calibrated.
        positive: bool (n,), whether stage two was run.
        dices: float64 (n,), between mask and truth.
    """

    labels: NDArray[np.bool_]
    probability: NDArray[np.float64]
    positive: NDArray[np.bool_]
    dices: NDArray[np.float64]

    def decisions(self, suffix: str, shown: NDArray[np.bool_]) -> Iterator[Quantity]:
        """AUROC, recall and specificity of some films."""
        yield Quantity(
            f"AUROC{suffix}", shown, weighted.auroc(self.probability, self.labels, shown)
        )
        yield self.recall(suffix, shown)
        yield _mean(f"specificity{suffix}", ~self.positive, ~self.labels & shown)

    def recall(self, suffix: str, shown: NDArray[np.bool_]) -> Quantity:
        return _mean(f"recall{suffix}", self.positive, self.labels & shown)

    def lesion_dice(self, suffix: str, shown: NDArray[np.bool_]) -> Quantity:
        return _mean(f"lesion Dice{suffix}", self.dices, self.labels & shown)


def _by_view(films: _Predicted, views: Sequence[str]) -> Iterator[Quantity]:
    """Figures of the films of each view."""
    for view, shown in _groups(views):
        yield from films.decisions(f", {view}", shown)
        yield films.lesion_dice(f", {view}", shown)


def _by_size(films: _Predicted, sizes: Sequence[str]) -> Iterator[Quantity]:
    """Figures of the positive films of each lesion size, the smallest first."""
    groups = dict(_groups(sizes))
    for size in [name for name, _ in SIZES if name in groups]:
        yield films.recall(f", {size} lesions", groups[size])
        yield films.lesion_dice(f", {size} lesions", groups[size])


def _mean(name: str, values: ArrayLike, over: NDArray[np.bool_]) -> Quantity:
    return Quantity(name, over, weighted.mean_over(values, over))


def _groups(names: Sequence[str]) -> list[tuple[str, NDArray[np.bool_]]]:
    """Films of each name, (n,) bool, by name; those without one belong to no group."""
    column = np.array(names)
    return [(name, column == name) for name in sorted(set(names) - {""})]


def _sizes(cache: Cache, rows: NDArray[np.int64]) -> list[str]:
    """Lesion size of each row as the reports name it; empty where there is no lesion."""
    sizes = []
    for row in rows:
        shown = Placement.letterbox(cache.rows[row].rows, cache.rows[row].cols)
        share = float(cache.masks[row].sum()) / (shown.height * shown.width)
        sizes.append(size_of(share) if share > 0 else "")
    return sizes


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


def _film(cache: Cache, row: int) -> Image:
    """A row of the cache as the cascade takes it."""
    pixels = cache.images[row].astype(np.float32) / np.float32(255)
    return Image(pixels, Units.UNIT_INTERVAL, None, Source(cache.rows[row].image_id))
