"""CT: the calibration part's whole volumes choose probability, thresholds and smallest lesions.

Stage one is calibrated as it is used, on logits smoothed over neighbouring slices
(:mod:`pneumoseg.ct.gating`). Its threshold reaches the required recall of slices in *every* source:
phantoms are easier than real lungs, and there are more of their slices.

Stage two's threshold is searched on whole volumes and on single slices alike; the smallest lesion
in mL on volumes, the smallest in pixels on single slices, which stand for pictures without spacing.
What is maximised is the mean Dice of those with pneumothorax, a miss counting 0, as for films:
stage one has judged the others. Then the smallest lesion grows as long as that costs next to
nothing, so that fewer outlines are false.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import cc3d
import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from pneumoseg.calibration import choose_calibration, threshold_for_recall
from pneumoseg.ct.gating import SliceGate, with_margin
from pneumoseg.ct.lesions import CONNECTIVITY
from pneumoseg.dataset.cache import Cache
from pneumoseg.dataset.labelled_volumes import LabelledVolume, VolumePlace, volumes_of
from pneumoseg.errors import DataError
from pneumoseg.preprocess import Placement, Window, slice_to_grid, to_source_grid
from pneumoseg.runtime import Network, load_network, run_on_grids
from pneumoseg.settings import MIN_PIXELS, SEGMENTER_THRESHOLD, PipelineConfig
from pneumoseg.statistics.segmenter_search import MIN_PIXELS_CHOICES, THRESHOLDS, kept_areas
from pneumoseg.study import Volume
from pneumoseg.training.calibrate_stages import BATCH, Chosen, ExportedStage
from pneumoseg.training.validation import NORMALISATION

MIN_VOLUME_CHOICES_ML = (0.0, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
"""A gap of 1 mm over 25 cm² of pleura is 2.5 mL."""
WORTH_A_FALSE_OUTLINE = 0.01
"""Mean Dice that may be lost for a larger smallest lesion."""
LEVELS = 255
"""Probability maps of a volume are kept in so many steps, a byte a voxel."""


@dataclass(frozen=True, eq=False)
class _Sliced:
    """Stage one's answers to one volume.

    Attributes:
        smoothed: float64 (slices,), logits smoothed over neighbouring slices.
        positive: bool (slices,), of the unambiguous slices.
        unambiguous: bool (slices,).
    """

    place: VolumePlace
    smoothed: NDArray[np.float64]
    positive: NDArray[np.bool_]
    unambiguous: NDArray[np.bool_]


def choose(
    classifier: ExportedStage,
    segmenter: ExportedStage,
    cache: Cache,
    *,
    recall: float,
    seed: int,
) -> Chosen:
    """Choose probability, thresholds and smallest lesions on the calibration part.

    Args:
        classifier: stage one.
        segmenter: stage two.
        cache: names the volumes of its calibration part, which are read.
        recall: of slices, that the classifier threshold is chosen for in every source.
        seed: of the folds.

    Raises:
        DataError: no positive slice in the calibration part, or a volume is gone.
        InputError: a volume cannot be read any more.
    """
    window = cache.window or Window()
    network = load_network(classifier.int8)
    sliced = [_slice_logits(place, network, window) for place in volumes_of(cache, "calibration")]
    unambiguous = [one.unambiguous for one in sliced]
    logits = np.concatenate([one.smoothed[one.unambiguous] for one in sliced])
    labels = np.concatenate([one.positive[one.unambiguous] for one in sliced])
    groups = np.repeat([one.place.anatomy for one in sliced], [int(c.sum()) for c in unambiguous])
    sources = np.repeat(
        [one.place.settings.name for one in sliced], [int(c.sum()) for c in unambiguous]
    )
    calibration, losses = choose_calibration(logits, labels, groups, np.random.default_rng(seed))
    probability = calibration.apply(logits)
    threshold = threshold_for_every_source(probability, labels, sources, recall)
    search = LesionSearch()
    network = load_network(segmenter.int8)
    for one in sliced:
        suspected = calibration.apply(one.smoothed) >= threshold
        labelled = one.place.open()
        levels = _levels(labelled.volume, network, window, suspected)
        search.add(labelled, levels)
    found = search.best()
    config = PipelineConfig(
        threshold, found.threshold, found.min_pixels, min_volume_ml=found.min_volume_ml
    )
    return Chosen(calibration, config, losses)


def threshold_for_every_source(
    probability: NDArray[np.float64],
    labels: NDArray[np.bool_],
    sources: NDArray[np.str_],
    recall: float,
) -> float:
    """The largest threshold whose recall is the required one or more in each source with positives.

    Args:
        probability: (n,) calibrated, in [0, 1].
        labels: (n,) bool.
        sources: (n,) name of the data set of each.
        recall: in (0, 1].

    Raises:
        DataError: there is no positive at all.
    """
    with_positives = sorted(set(sources[labels].tolist()))
    if not with_positives:
        raise DataError("no positive slice in the calibration part: a recall cannot be measured")
    return min(
        threshold_for_recall(probability[sources == name], labels[sources == name], recall)
        for name in with_positives
    )


@dataclass(frozen=True)
class LesionPoint:
    """Stage two's operating point, and the mean Dice it reaches where there is pneumothorax."""

    threshold: float
    min_volume_ml: float
    min_pixels: int
    volume_dice: float | None
    picture_dice: float | None


class LesionSearch:
    """Mean Dice at every threshold and smallest lesion, volumes and single slices apart.

    Volumes and slices without pneumothorax have no say.
    """

    def __init__(self) -> None:
        self._volumes = np.zeros((len(THRESHOLDS), len(MIN_VOLUME_CHOICES_ML)))
        self._pictures = np.zeros((len(THRESHOLDS), len(MIN_PIXELS_CHOICES)))
        self._counts = {"volumes": 0, "pictures": 0}

    def add(self, labelled: LabelledVolume, levels: NDArray[np.uint8]) -> None:
        """Take one volume.

        Args:
            labelled: with its truth.
            levels: uint8 (slices, rows, cols), probabilities times 255; 0 where stage two did not
                run.
        """
        if not labelled.truth.any():
            return
        voxel_ml = labelled.voxel_ml
        if voxel_ml is None:
            smallest = [math.ceil(x * labelled.pixels_per_grid_pixel) for x in MIN_PIXELS_CHOICES]
            shown = levels[0].astype(np.float32) / np.float32(LEVELS)
            size, shared = kept_areas(shown, labelled.truth[0], THRESHOLDS, smallest)
            self._pictures += _dices(size, shared, labelled.truth)
            self._counts["pictures"] += 1
        else:
            size, shared = kept_voxels(
                levels, labelled.truth, voxel_ml, THRESHOLDS, MIN_VOLUME_CHOICES_ML
            )
            self._volumes += _dices(size, shared, labelled.truth)
            self._counts["volumes"] += 1

    def best(self) -> LesionPoint:
        """The point of the highest mean Dice, volumes and pictures weighed alike.

        Among equal ones the threshold nearest the seed's wins. The smallest lesion is the largest
        that costs no more than ``WORTH_A_FALSE_OUTLINE``. What there was no case for keeps its
        default.
        """
        volumes = self._volumes / max(1, self._counts["volumes"])
        pictures = self._pictures / max(1, self._counts["pictures"])
        together = volumes.max(axis=1) + pictures.max(axis=1)
        row = max(
            range(len(THRESHOLDS)),
            key=lambda i: (round(float(together[i]), 9), -abs(THRESHOLDS[i] - SEGMENTER_THRESHOLD)),
        )
        in_ml, in_px = _last_good(volumes[row]), _last_good(pictures[row])
        has_volumes, has_pictures = self._counts["volumes"] > 0, self._counts["pictures"] > 0
        return LesionPoint(
            threshold=THRESHOLDS[row],
            min_volume_ml=MIN_VOLUME_CHOICES_ML[in_ml] if has_volumes else 0.0,
            min_pixels=MIN_PIXELS_CHOICES[in_px] if has_pictures else MIN_PIXELS,
            volume_dice=float(volumes[row, in_ml]) if has_volumes else None,
            picture_dice=float(pictures[row, in_px]) if has_pictures else None,
        )


def kept_voxels(
    levels: NDArray[np.uint8],
    truth: NDArray[np.bool_],
    voxel_ml: NDArray[np.float64],
    thresholds: Sequence[float],
    smallest_ml: Sequence[float],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mask and its overlap with the truth at every pair of threshold and smallest lesion.

    Args:
        levels: uint8 (slices, rows, cols), probabilities times 255.
        truth: bool, same shape.
        voxel_ml: (slices,) volume of a voxel of each slice.
        thresholds: a voxel belongs to the mask from each on.
        smallest_ml: 26-connected components of less are dropped.

    Returns:
        Two arrays (thresholds, smallest) in voxels.
    """
    size = np.zeros((len(thresholds), len(smallest_ml)))
    shared = np.zeros_like(size)
    above = levels >= _level(min(thresholds))
    reached = [np.flatnonzero(above.any(axis=axes)) for axes in ((1, 2), (0, 2), (0, 1))]
    if not reached[0].size:
        return size, shared
    box = tuple(slice(int(along[0]), int(along[-1]) + 1) for along in reached)
    inside, wanted, ml = levels[box], truth[box], voxel_ml[box[0]]
    for i, threshold in enumerate(thresholds):
        components = cc3d.connected_components(
            inside >= _level(threshold), connectivity=CONNECTIVITY
        )
        where = np.nonzero(components)
        names = components[where]
        if not names.size:
            break  # a higher threshold reaches nothing either
        voxels = np.bincount(names)[1:]
        volumes = np.bincount(names, weights=ml[where[0]])[1:]
        common = np.bincount(names, weights=wanted[where])[1:]
        kept = volumes[None, :] >= np.asarray(smallest_ml)[:, None]  # (smallest, components)
        size[i], shared[i] = kept @ voxels, kept @ common
    return size, shared


def _level(threshold: float) -> int:
    return round(threshold * LEVELS)


def _dices(
    size: NDArray[np.float64], shared: NDArray[np.float64], truth: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Dice at every point, of a truth that is not empty."""
    return 2.0 * shared / (size + np.count_nonzero(truth))


def _last_good(values: NDArray[np.float64]) -> int:
    """The last value that is as good as the largest, or next to it."""
    good = values >= values.max() - WORTH_A_FALSE_OUTLINE - 1e-9
    return int(np.flatnonzero(good)[-1])


def _slice_logits(place: VolumePlace, network: Network, window: Window) -> _Sliced:
    """Stage one on every slice of a volume."""
    labelled = place.open()
    grids = (slice_to_grid(hu, window)[0] for hu in labelled.volume.slices())
    logits = [run_on_grids(network, batch, NORMALISATION)[:, 0] for batch in _batches(grids)]
    volume = labelled.volume
    gate = SliceGate.of(volume.shape[0], volume.spacing_mm, volume.geometry)
    positive, unambiguous = labelled.slice_labels()
    return _Sliced(
        place, gate.smoothed(np.concatenate(logits).astype(np.float64)), positive, unambiguous
    )


def _levels(
    volume: Volume, network: Network, window: Window, suspected: NDArray[np.bool_]
) -> NDArray[np.uint8]:
    """Stage two on the suspected slices and those next to them, on the volume's own voxels."""
    levels = np.zeros(volume.shape, dtype=np.uint8)
    chosen = with_margin(suspected)
    placement = Placement.letterbox(*volume.shape[1:])
    indices = iter(np.flatnonzero(chosen).tolist())
    grids = (
        slice_to_grid(hu, window)[0]
        for hu, is_chosen in zip(volume.slices(), chosen, strict=True)
        if is_chosen
    )
    for batch in _batches(grids):
        for one in run_on_grids(network, batch, NORMALISATION)[:, 0]:
            on_slice = to_source_grid(expit(one).astype(np.float32), placement)
            levels[next(indices)] = np.rint(on_slice * LEVELS)
    return levels


def _batches(grids: Iterator[NDArray[np.uint8]]) -> Iterator[list[NDArray[np.uint8]]]:
    while batch := list(islice(grids, BATCH)):
        yield batch
