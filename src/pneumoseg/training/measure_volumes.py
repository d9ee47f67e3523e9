"""CT: a bundle measured on the test part's whole volumes, as it ships.

Every figure is taken source by source, since a phantom is not a patient. A slice that is not clear
(:mod:`pneumoseg.dataset.prepare.volumes`) is left out of the figures of slices and is part of
those of volumes. Single slices are measured as pictures are, without spacing, so that they have no
volume; the Dice of each is that of its one slice.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

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
from pneumoseg.training.calibrate_stages import BATCH

COMPARED_ROWS = 200
"""Slices on which int8 storage is held against float32, spread evenly over the test part."""
FEWEST_CORRELATED = 3
"""A line through two points always correlates."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class MeasuredVolume:
    """One test volume, said and true.

    Attributes:
        source: name of the data set.
        anatomy: whose volume it is.
        volume_id: its own name.
        probability: float64 (slices,), after the neighbours were heard; 0 where it was refused.
        suspected: bool (slices,).
        positive: bool (slices,), truth.
        clear: bool (slices,), whether the slice counts as one.
        dice: of the whole volume; 0 for a pneumothorax that was missed.
        is_outlined: whether anything was.
        has_air: whether there is a pneumothorax.
        said_ml: None of a picture.
        true_ml: None of a picture.
    """

    source: str
    anatomy: str
    volume_id: str
    probability: NDArray[np.float64]
    suspected: NDArray[np.bool_]
    positive: NDArray[np.bool_]
    clear: NDArray[np.bool_]
    dice: float
    is_outlined: bool
    has_air: bool
    said_ml: float | None
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
    positive, clear = labelled.slice_labels()
    slices = labelled.volume.shape[0]
    try:
        finding = cascade.predict(labelled.volume)
    except InputError as error:
        if error.code != NO_LUNG:
            raise
        # What a user is refused is a pneumothorax not found.
        logger.warning("%s was refused: %s", labelled.volume.source.image_id, error)
        probability, shared, outlined, said_ml = np.zeros(slices), 0, 0, 0.0
    else:
        probability = finding.slice_probabilities
        shared, outlined = _overlap(finding, labelled.truth), finding.voxels
        said_ml = finding.volume_ml or 0.0
    true = int(np.count_nonzero(labelled.truth))
    voxel_ml = labelled.voxel_ml
    return MeasuredVolume(
        source=labelled.source,
        anatomy=labelled.anatomy,
        volume_id=labelled.volume.source.image_id,
        probability=probability,
        suspected=probability >= cascade.config.classifier_threshold,
        positive=positive,
        clear=clear,
        dice=2.0 * shared / (true + outlined) if true + outlined else 1.0,
        is_outlined=outlined > 0,
        has_air=true > 0,
        said_ml=None if voxel_ml is None else said_ml,
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
        Pearson's r of said and true volume; over the others the mean of what was outlined. Each
        with n and a bootstrap 95 % interval by anatomy, or by volume where there is one anatomy.
    """
    probability = np.concatenate([one.probability[one.clear] for one in measured])
    suspected = np.concatenate([one.suspected[one.clear] for one in measured])
    labels = np.concatenate([one.positive[one.clear] for one in measured])
    unit, per_volume = _groups(measured)
    per_slice = np.repeat(per_volume, [int(one.clear.sum()) for one in measured])
    anatomies = np.repeat([one.anatomy for one in measured], [int(x.clear.sum()) for x in measured])
    left_out = sum(int((~one.clear).sum()) for one in measured)
    source = f"{origin}, source {measured[0].source}".removeprefix(", ")
    every = np.ones(labels.size, dtype=np.bool_)
    of_slices = _Figures(
        labels,
        per_slice,
        anatomies,
        f"{unit}; {left_out} slices that are not clear left out",
        source,
        seed,
    )
    yes, no = labels, ~labels
    tag = f"({measured[0].source})"
    slices = (
        of_slices.of(
            f"AUROC of slices {tag}", every, lambda i: metrics.auroc(probability[i], yes[i])
        ),
        of_slices.of(
            f"recall of slices {tag}", yes, lambda i: metrics.confusion(suspected[i], yes[i]).recall
        ),
        of_slices.of(
            f"specificity of slices {tag}",
            no,
            lambda i: metrics.confusion(suspected[i], yes[i]).specificity,
        ),
    )
    return (*slices, *_volume_figures(measured, unit, per_volume, source, seed))


def _volume_figures(
    measured: Sequence[MeasuredVolume],
    unit: str,
    groups: NDArray[np.str_],
    source: str,
    seed: int,
) -> Iterator[CardFigure]:
    ill = np.array([one.has_air for one in measured])
    outlined = np.array([one.is_outlined for one in measured])
    dices = np.array([one.dice for one in measured])
    anatomies = np.array([one.anatomy for one in measured])
    figures = _Figures(ill, groups, anatomies, unit, source, seed)
    name = measured[0].source
    yield figures.of(
        f"Dice of volumes ({name})", ill, lambda i: metrics.lesion_dice(dices[i], ill[i])
    )
    yield figures.of(f"recall of volumes ({name})", ill, lambda i: _mean(outlined[i][ill[i]]))
    yield figures.of(
        f"specificity of volumes ({name})", ~ill, lambda i: _mean(~outlined[i][~ill[i]])
    )
    if any(one.said_ml is None or one.true_ml is None for one in measured):
        return
    said = np.array([one.said_ml or 0.0 for one in measured])
    true = np.array([one.true_ml or 0.0 for one in measured])
    error = said - true
    yield figures.of(f"mean error in mL ({name})", ill, lambda i: _mean(error[i][ill[i]]))
    yield figures.of(
        f"mean absolute error in mL ({name})", ill, lambda i: _mean(np.abs(error[i][ill[i]]))
    )
    yield figures.of(
        f"correlation of mL ({name})", ill, lambda i: correlation(said[i][ill[i]], true[i][ill[i]])
    )
    yield figures.of(
        f"mean mL outlined without pneumothorax ({name})", ~ill, lambda i: _mean(said[i][~ill[i]])
    )


@dataclass(frozen=True, eq=False)
class _Figures:
    """Makes figures over the same cases (slices or volumes)."""

    labels: NDArray[np.bool_]
    groups: NDArray[np.str_]
    anatomies: NDArray[np.str_]
    said_of_interval: str
    origin: str
    seed: int

    def of(self, name: str, over: NDArray[np.bool_], statistic: metrics.Statistic) -> CardFigure:
        """One figure, taken over some of the cases."""
        cases = self.labels.size
        rng = np.random.default_rng(self.seed)
        interval = metrics.bootstrap_by_patient(statistic, self.groups, rng, n=cases)
        return CardFigure(
            name=name,
            value=statistic(np.arange(cases)),
            low=interval.low,
            high=interval.high,
            n=int(over.sum()),
            n_positive=int((self.labels & over).sum()),
            n_patients=len(set(self.anatomies[over].tolist())),
            split="test part, anatomies never trained or calibrated on; interval by "
            + self.said_of_interval,
            origin=self.origin,
        )


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


def _mean(values: NDArray[np.bool_] | NDArray[np.float64]) -> float | None:
    return float(values.mean()) if len(values) else None


def _agreement(
    stored: Cascade, reference: Cascade, cache: Cache, origin: str, seed: int
) -> Iterator[CardFigure]:
    """How far int8 storage agrees with float32, slice by slice: decisions, and masks by Dice."""
    part = cache.part("test")
    chosen = np.unique(np.linspace(0, len(part) - 1, COMPARED_ROWS).round().astype(int))
    rows = part[chosen]
    positive, masks = _decide(stored, cache, rows)
    positive_f32, masks_f32 = _decide(reference, cache, rows)
    equal = positive == positive_f32
    dices = np.array([metrics.dice(a, b) for a, b in zip(masks, masks_f32, strict=True)])
    outlined = np.asarray((masks | masks_f32).any(axis=(1, 2)), dtype=np.bool_)
    labels, anatomies = cache.labels[rows] == 1, cache.patients[rows]
    figures = _Figures(labels, anatomies, anatomies, "anatomy", origin, seed)
    every = np.ones(rows.size, dtype=np.bool_)
    yield figures.of("int8 decisions equal to float32", every, lambda i: _mean(equal[i]))
    yield figures.of(
        "int8 masks, Dice with float32", outlined, lambda i: _mean(dices[i][outlined[i]])
    )


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
