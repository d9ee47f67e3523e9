"""Films: the test part is measured once, with the cascade as it ships."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pneumoseg import metrics
from pneumoseg.bundle import CardFigure
from pneumoseg.dataset.cache import Cache
from pneumoseg.evaluation.strata import SIZES, size_of
from pneumoseg.pipeline_inference import Cascade
from pneumoseg.preprocess import GRID_SIZE, Placement
from pneumoseg.study import Image, Source, Units
from pneumoseg.training.calibrate_films import part_with_positives
from pneumoseg.training.calibrate_stages import BATCH

_Named = tuple[str, NDArray[np.bool_], metrics.Statistic]
"""A figure: its name, the films that it is over, (n,), and how it is computed."""


@dataclass(frozen=True, eq=False)
class _Said:
    """What is true and what was said of n films; its methods are of the films with these indices.

    Attributes:
        labels: bool (n,).
        probability: float64 (n,), calibrated.
        positive: bool (n,), whether stage two was asked.
        dices: float64 (n,), between mask and truth.
    """

    labels: NDArray[np.bool_]
    probability: NDArray[np.float64]
    positive: NDArray[np.bool_]
    dices: NDArray[np.float64]

    def auroc(self, i: NDArray[np.int64]) -> float | None:
        return metrics.auroc(self.probability[i], self.labels[i])

    def recall(self, i: NDArray[np.int64]) -> float | None:
        return metrics.confusion(self.positive[i], self.labels[i]).recall

    def specificity(self, i: NDArray[np.int64]) -> float | None:
        return metrics.confusion(self.positive[i], self.labels[i]).specificity

    def lesion_dice(self, i: NDArray[np.int64]) -> float | None:
        return metrics.lesion_dice(self.dices[i], self.labels[i])


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
        (decisions equal; Dice between the masks of the films that either outlined). Each with n and
        a bootstrap 95 % interval by patient.
    """
    rows = part_with_positives(cache, "test")
    labels = cache.labels[rows] == 1
    truth = np.asarray(cache.masks[rows], dtype=np.bool_)
    cascade = Cascade.load(bundle)
    probability, positive, masks = _predict(cascade, cache, rows)
    submitted = _predict(_at_leaderboard(cascade), cache, rows)[2]
    _, positive_f32, masks_f32 = _predict(Cascade.load(reference), cache, rows)
    said = _Said(labels, probability, positive, _dices(masks, truth))
    submitted_dices = _dices(submitted, truth)
    agreement, equal = _dices(masks, masks_f32), positive == positive_f32
    everyone = np.ones(len(rows), dtype=np.bool_)
    outlined = np.asarray((masks | masks_f32).any(axis=(1, 2)), dtype=np.bool_)
    statistics: list[_Named] = [
        ("AUROC", everyone, said.auroc),
        ("recall", labels, said.recall),
        ("specificity", ~labels, said.specificity),
        ("F2", everyone, lambda i: metrics.f2(positive[i], labels[i])),
        ("share segmented", everyone, lambda i: metrics.share_segmented(positive[i])),
        ("lesion Dice", labels, said.lesion_dice),
        ("SIIM mean Dice", everyone, lambda i: metrics.siim_mean_dice(said.dices[i])),
        (
            "SIIM mean Dice, leaderboard point",
            everyone,
            lambda i: metrics.siim_mean_dice(submitted_dices[i]),
        ),
        ("SIIM mean Dice of an all-empty submission", everyone, lambda i: _mean(~labels[i])),
        *_by_view(said, [cache.rows[row].view for row in rows]),
        *_by_size(said, _sizes(cache, rows)),
        ("int8 decisions equal to float32", everyone, lambda i: _mean(equal[i])),
        ("int8 masks, Dice with float32", outlined, lambda i: _mean(agreement[i][outlined[i]])),
    ]
    patients = cache.patients[rows]
    return tuple(
        _figure(name, over, statistic, labels, patients, origin, seed)
        for name, over, statistic in statistics
    )


def _at_leaderboard(cascade: Cascade) -> Cascade:
    """The same networks at the point of the best SIIM mean Dice."""
    return replace(cascade, config=cascade.bundle.card.point("leaderboard"))


def _by_view(said: _Said, views: Sequence[str]) -> Iterator[_Named]:
    """Figures of the films of each view."""
    for view, shown in _groups(views):
        yield f"AUROC, {view}", shown, _within(said.auroc, shown)
        yield f"recall, {view}", said.labels & shown, _within(said.recall, shown)
        yield f"specificity, {view}", ~said.labels & shown, _within(said.specificity, shown)
        yield f"lesion Dice, {view}", said.labels & shown, _within(said.lesion_dice, shown)


def _by_size(said: _Said, sizes: Sequence[str]) -> Iterator[_Named]:
    """Figures of the positive films of each lesion size, the smallest first."""
    groups = dict(_groups(sizes))
    for size in [name for name, _ in SIZES if name in groups]:
        yield f"recall, {size} lesions", groups[size], _within(said.recall, groups[size])
        yield f"lesion Dice, {size} lesions", groups[size], _within(said.lesion_dice, groups[size])


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


def _within(statistic: metrics.Statistic, member: NDArray[np.bool_]) -> metrics.Statistic:
    """The statistic over those of the drawn films that are of a group."""
    return lambda i: statistic(i[member[i]])


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


def _film(cache: Cache, row: int) -> Image:
    """A row of the cache as the cascade takes it."""
    pixels = cache.images[row].astype(np.float32) / np.float32(255)
    return Image(pixels, Units.UNIT_INTERVAL, None, Source(cache.rows[row].image_id))
