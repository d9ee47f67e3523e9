"""CT: a bundle measured on the test part's whole volumes, as it ships.

Every figure is taken source by source, since a phantom is not a patient. A slice that is ambiguous
(:mod:`pneumoseg.dataset.prepare.volumes`) is left out of the figures of slices and is part of
those of volumes. Single slices are measured as pictures are, without spacing, so that they have no
volume; the Dice of each is that of its one slice.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pneumoseg import metrics
from pneumoseg.bundle import CardFigure
from pneumoseg.ct.finding import VolumeFinding
from pneumoseg.ct.inference import NO_LUNG, VolumeCascade
from pneumoseg.ct.lesions import lesion_plane
from pneumoseg.dataset.cache import Cache
from pneumoseg.dataset.labelled_volumes import LabelledVolume, volumes_of
from pneumoseg.errors import InputError
from pneumoseg.pipeline_inference import Cascade
from pneumoseg.preprocess import GRID_SIZE, Placement, to_source_grid
from pneumoseg.statistics import weighted
from pneumoseg.statistics.estimate import Estimator, Quantity, estimator
from pneumoseg.statistics.resampling import resampler
from pneumoseg.training.calibrate_stages import BATCH

COMPARED_ROWS = 200
"""Slices on which int8 storage is held against float32, spread evenly over the test part."""
FEWEST_CORRELATED = 3
"""A line through two points always correlates."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class MeasuredVolume:
    """One test volume, predicted and true.

    Attributes:
        source: name of the data set.
        anatomy: whose volume it is.
        volume_id: its own name.
        probability: float64 (slices,), smoothed over its neighbours; 0 where it was refused.
        suspected: bool (slices,).
        positive: bool (slices,), truth.
        unambiguous: bool (slices,), whether the slice counts as one.
        dice: of the whole volume; 0 for a pneumothorax that was missed.
        has_predicted_mask: whether any voxel was predicted.
        has_air: whether there is a pneumothorax.
        predicted_ml: None of a picture.
        true_ml: None of a picture.
    """

    source: str
    anatomy: str
    volume_id: str
    probability: NDArray[np.float64]
    suspected: NDArray[np.bool_]
    positive: NDArray[np.bool_]
    unambiguous: NDArray[np.bool_]
    dice: float
    has_predicted_mask: bool
    has_air: bool
    predicted_ml: float | None
    true_ml: float | None


def measure(
    bundle: Path, reference: Path, cache: Cache, *, origin: str, seed: int
) -> tuple[CardFigure, ...]:
    """Measure a bundle on the volumes of the cache's test part.

    Args:
        bundle: folder of the bundle.
        reference: folder of the same networks with float32 weights.
        cache: names the volumes of its test part, which are read.
        origin: of the volumes; the source's name is put behind it.
        seed: of the bootstrap.

    Returns:
        Figures of each source (:func:`source_figures`), and how far int8 storage agrees with
        float32 on slices of the cache.

    Raises:
        InputError: a volume cannot be read any more.
    """
    cascade = VolumeCascade.load(bundle)
    measured = [measure_volume(cascade, place.open()) for place in volumes_of(cache, "test")]
    figures = [
        figure
        for source in dict.fromkeys(one.source for one in measured)
        for figure in source_figures(
            [one for one in measured if one.source == source], origin=origin, seed=seed
        )
    ]
    agreement = _agreement(cascade.cascade, Cascade.load(reference), cache, origin, seed)
    return (*figures, *agreement)


def measure_volume(cascade: VolumeCascade, labelled: LabelledVolume) -> MeasuredVolume:
    """Run the cascade on one volume and hold it against its truth."""
    positive, unambiguous = labelled.slice_labels()
    slices = labelled.volume.shape[0]
    try:
        finding = cascade.predict(labelled.volume)
    except InputError as error:
        if error.code != NO_LUNG:
            raise
        # What a user is refused is a pneumothorax not found.
        logger.warning("%s was refused: %s", labelled.volume.source.image_id, error)
        probability, shared, predicted, predicted_ml = np.zeros(slices), 0, 0, 0.0
    else:
        probability = finding.slice_probabilities
        shared, predicted = _overlap(finding, labelled.truth), finding.voxels
        predicted_ml = finding.volume_ml or 0.0
    true = int(np.count_nonzero(labelled.truth))
    voxel_ml = labelled.voxel_ml
    return MeasuredVolume(
        source=labelled.source,
        anatomy=labelled.anatomy,
        volume_id=labelled.volume.source.image_id,
        probability=probability,
        suspected=probability >= cascade.config.classifier_threshold,
        positive=positive,
        unambiguous=unambiguous,
        dice=2.0 * shared / (true + predicted) if true + predicted else 1.0,
        has_predicted_mask=predicted > 0,
        has_air=true > 0,
        predicted_ml=None if voxel_ml is None else predicted_ml,
        true_ml=None
        if voxel_ml is None
        else float(np.count_nonzero(labelled.truth, axis=(1, 2)) @ voxel_ml),
    )


def _overlap(finding: VolumeFinding, truth: NDArray[np.bool_]) -> int:
    """Voxels that are in both."""
    return sum(
        int(np.count_nonzero(lesion_plane(finding.lesions, index, finding.shape) & plane))
        for index, plane in enumerate(truth)
        if plane.any()
    )


def source_figures(
    measured: Sequence[MeasuredVolume], *, origin: str, seed: int
) -> tuple[CardFigure, ...]:
    """Figures of the volumes of one source.

    Returns:
        Of slices: AUROC, recall, specificity. Of volumes: Dice of those with pneumothorax (misses
        count 0), share of these with an outline, share of the others without one. Where volumes
        are known in mL: over those with pneumothorax the mean error, the mean absolute error and
        Pearson's r of predicted and true volume; over the others the mean of what was predicted.
        Each with n and a bootstrap 95 % interval by anatomy, or by volume where there is one
        anatomy.
    """
    probability = np.concatenate([one.probability[one.unambiguous] for one in measured])
    suspected = np.concatenate([one.suspected[one.unambiguous] for one in measured])
    labels = np.concatenate([one.positive[one.unambiguous] for one in measured])
    unit, per_volume = _groups(measured)
    per_slice = np.repeat(per_volume, [int(one.unambiguous.sum()) for one in measured])
    anatomies = np.repeat(
        [one.anatomy for one in measured], [int(x.unambiguous.sum()) for x in measured]
    )
    left_out = sum(int((~one.unambiguous).sum()) for one in measured)
    source = f"{origin}, source {measured[0].source}".removeprefix(", ")
    tag, every = f"({measured[0].source})", np.ones(labels.size, dtype=np.bool_)
    slices = [
        Quantity(f"AUROC of slices {tag}", every, weighted.auroc(probability, labels)),
        _mean(f"recall of slices {tag}", suspected, labels),
        _mean(f"specificity of slices {tag}", ~suspected, ~labels),
    ]
    left = f"; {left_out} slices that are not clear left out"
    by_slice = Estimator(labels, anatomies, resampler(per_slice, labels.size, seed=seed))
    has_air = np.array([one.has_air for one in measured])
    whose = np.array([one.anatomy for one in measured])
    by_volume = Estimator(has_air, whose, resampler(per_volume, has_air.size, seed=seed))
    return (
        *_card_figures(by_slice, slices, unit + left, source),
        *_card_figures(by_volume, _volume_quantities(measured, has_air), unit, source),
    )


def _volume_quantities(
    measured: Sequence[MeasuredVolume], has_air: NDArray[np.bool_]
) -> list[Quantity]:
    has_mask = np.array([one.has_predicted_mask for one in measured])
    dices = np.array([one.dice for one in measured])
    name = measured[0].source
    found = [
        _mean(f"Dice of volumes ({name})", dices, has_air),
        _mean(f"recall of volumes ({name})", has_mask, has_air),
        _mean(f"specificity of volumes ({name})", ~has_mask, ~has_air),
    ]
    if any(one.predicted_ml is None or one.true_ml is None for one in measured):
        return found
    predicted = np.array([one.predicted_ml or 0.0 for one in measured])
    true = np.array([one.true_ml or 0.0 for one in measured])

    def pearson(drawn: NDArray[np.int64]) -> float | None:
        chosen = drawn[has_air[drawn]]
        return correlation(predicted[chosen], true[chosen])

    return [
        *found,
        _mean(f"mean error in mL ({name})", predicted - true, has_air),
        _mean(f"mean absolute error in mL ({name})", np.abs(predicted - true), has_air),
        Quantity(f"correlation of mL ({name})", has_air, weighted.by_index(pearson)),
        _mean(f"mean mL outlined without pneumothorax ({name})", predicted, ~has_air),
    ]


def _mean(name: str, values: ArrayLike, over: NDArray[np.bool_]) -> Quantity:
    return Quantity(name, over, weighted.mean_over(values, over))


def _card_figures(
    by_case: Estimator, quantities: Sequence[Quantity], interval_by: str, origin: str
) -> tuple[CardFigure, ...]:
    split = f"test part, anatomies never trained or calibrated on; interval by {interval_by}"
    found = by_case.estimates(quantities)
    return tuple(CardFigure.of(each, split=split, origin=origin) for each in found)


def correlation(first: NDArray[np.float64], second: NDArray[np.float64]) -> float | None:
    """Pearson's r, None for fewer than three pairs or where one of them does not vary."""
    if first.size < FEWEST_CORRELATED or np.ptp(first) == 0 or np.ptp(second) == 0:
        return None
    return float(np.corrcoef(first, second)[0, 1])


def _groups(measured: Sequence[MeasuredVolume]) -> tuple[str, NDArray[np.str_]]:
    """What is resampled: anatomies, or the volumes of the only one."""
    anatomies = np.array([one.anatomy for one in measured])
    if len(set(anatomies.tolist())) > 1:
        return "anatomy", anatomies
    return "volume, of one anatomy", np.array([one.volume_id for one in measured])


def _agreement(
    stored: Cascade, reference: Cascade, cache: Cache, origin: str, seed: int
) -> tuple[CardFigure, ...]:
    """How far int8 storage agrees with float32, slice by slice: decisions, and masks by Dice."""
    part = cache.part("test")
    chosen = np.unique(np.linspace(0, len(part) - 1, COMPARED_ROWS).round().astype(int))
    rows = part[chosen]
    positive, masks = _decide(stored, cache, rows)
    positive_f32, masks_f32 = _decide(reference, cache, rows)
    equal = positive == positive_f32
    dices = np.array([metrics.dice(a, b) for a, b in zip(masks, masks_f32, strict=True)])
    either_predicted = np.asarray((masks | masks_f32).any(axis=(1, 2)), dtype=np.bool_)
    labels, anatomies = cache.labels[rows] == 1, cache.patients[rows]
    every = np.ones(rows.size, dtype=np.bool_)
    quantities = [
        _mean("int8 decisions equal to float32", equal, every),
        _mean("int8 masks, Dice with float32", dices, either_predicted),
    ]
    by_slice = estimator(labels, anatomies, seed=seed)
    return _card_figures(by_slice, quantities, "anatomy", origin)


def _decide(
    cascade: Cascade, cache: Cache, rows: NDArray[np.int64]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Decisions (n,) and masks (n, 512, 512) of single slices of the cache, all segmented."""
    whole = Placement.letterbox(GRID_SIZE, GRID_SIZE)
    positive, masks = [], []
    for start in range(0, len(rows), BATCH):
        grids = [cache.images[row] for row in rows[start : start + BATCH]]
        positive += [detection.positive for detection in cascade.detect(grids)]
        masks += [
            to_source_grid(one, whole) >= cascade.config.segmenter_threshold
            for one in cascade.segment(grids)
        ]
    return np.array(positive), np.array(masks)
