"""The joint search for an operating point, by nested cross-validation over patients.

An operating point is chosen as: how many patients stage one may miss (its threshold follows from
the films at hand), the triplet rule, the smallest component, the threshold of the pixels. The outer
folds report and never choose. Within the rest, inner folds choose: the threshold of stage one is
fitted on the inner training films, everything is judged on the inner held-out films, and the best
choice is then fitted on all of the rest.

The recall constraint is on stage one, by patient (every positive film suspected): ``certified``
allows as many misses as :func:`pneumoseg.statistics.recall_bounds.allowed_misses`, otherwise the
measured recall must reach the target. Every figure is a sum over films, so that one matrix product
tries all rules with all thresholds at once.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pneumoseg.errors import DataError
from pneumoseg.metrics import CONFIDENCE
from pneumoseg.operating_point.outline_tables import OutlineTables
from pneumoseg.settings import TARGET_RECALL, PipelineConfig, fraction
from pneumoseg.statistics.certified import just_below, lowest_positive
from pneumoseg.statistics.folds import balanced_folds
from pneumoseg.statistics.recall_bounds import allowed_misses, fewest_positives

FOLDS = 5
SHARES_OF_MISSES = (1.0, 0.5, 0.0)
"""Tried for stage one: all the misses that the recall constraint allows, half of them, none."""
NO_GATE = None
"""In place of a share: every film goes on to stage two."""
SEEN_DICE = 0.1
"""A pneumothorax is seen from this Dice on: not by a corner, and not buried in a flood."""
DICE_TOLERANCE = 0.01
SMALL_KEPT = 0.95

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


class Aim(enum.Enum):
    """What an operating point is chosen for."""

    CLINICAL = "clinical"
    """Lesion Dice, small lesions kept, then few false outlines."""
    LEADERBOARD = "leaderboard"
    """The challenge's mean Dice over all images."""


@dataclass(frozen=True)
class Constraint:
    """What every operating point must meet."""

    recall: float = TARGET_RECALL
    """Recall of stage one by patient."""
    certified: bool = True
    """Whether the recall must hold with 95 % confidence rather than on the films at hand."""
    small_kept: float = SMALL_KEPT
    """Clinical aim: share of the small lesions seen without any filter that filters must leave."""
    dice_tolerance: float = DICE_TOLERANCE
    """Clinical aim: lesion Dice within so much of the best counts as equal."""

    def __post_init__(self) -> None:
        for name in ("recall", "small_kept", "dice_tolerance"):
            fraction(name, getattr(self, name))
        fraction("recall", self.recall, ends=False)


@dataclass(frozen=True, eq=False)
class ScoredFilms:
    """What the search knows of the films, (n,) each.

    ``small`` marks positive films whose lesion is small; ``probability`` is calibrated.
    """

    tables: OutlineTables
    probability: Floats
    label: Bools
    patient: NDArray[np.str_]
    small: Bools


@dataclass(frozen=True)
class Space:
    """Which choices are tried: shares of the allowed misses, and whether the triplet rule is."""

    shares: tuple[float | None, ...] = (*SHARES_OF_MISSES, NO_GATE)
    triplet_rules: bool = True


@dataclass(frozen=True)
class SearchChoice:
    """One operating point: indices into the tables, and what they stand for."""

    share_of_misses: float | None
    rule: int
    bottom: int
    smallest: int
    config: PipelineConfig


@dataclass(frozen=True, eq=False)
class FilmOutcomes:
    """What happens to every film at the operating point that never saw it, (n,) each.

    ``seen`` says whether a positive film's mask reaches ``SEEN_DICE``.
    """

    suspected: Bools
    marked: Bools
    seen: Bools
    dice: Floats
    area: Floats


@dataclass(frozen=True, eq=False)
class Nested:
    """The choice on all films, the choice of each outer fold, the films' out-of-fold outcomes."""

    aim: Aim
    final: SearchChoice
    folds: tuple[SearchChoice, ...]
    outcome: FilmOutcomes
    fold: NDArray[np.int64] = field(repr=False)


def outer_folds(
    label: Bools, patient: NDArray[np.str_], rng: np.random.Generator, folds: int = FOLDS
) -> NDArray[np.int64]:
    """Split patients into the outer folds.

    Raises:
        DataError: a class has fewer patients than folds.
    """
    fold = balanced_folds(label, patient, rng, folds)
    if fold is None:
        raise DataError(
            f"{folds} folds need as many patients with and without a pneumothorax, got "
            f"{len(set(patient[label].tolist()))} with one; give more films or fewer folds"
        )
    return fold


def nested_search(
    films: ScoredFilms,
    fold: NDArray[np.int64],
    aim: Aim,
    constraint: Constraint,
    space: Space | None = None,
) -> Nested:
    """Choose an operating point on all films, and report it on films that did not choose.

    Args:
        films: tables, probabilities, labels, patients.
        fold: (n,) outer fold of each film, patients whole; the folds of the rest serve as inner.
        aim: what is maximised.
        constraint: what must be met.
        space: the choices tried, all of them when None.

    Raises:
        DataError: the recall cannot be certified with the patients outside an outer fold.
    """
    space = space or Space()
    everyone = np.ones(fold.size, dtype=np.bool_)
    n = fold.size
    outcome = FilmOutcomes(
        np.zeros(n, np.bool_), np.zeros(n, np.bool_), np.zeros(n, np.bool_), np.zeros(n),
        np.zeros(n),
    )  # fmt: skip
    choices = []
    for held_out in np.unique(fold):
        choice = _choose(films, fold, fold != held_out, aim, constraint, space)
        mine = apply_choice(films, choice)
        here = fold == held_out
        for name in ("suspected", "marked", "seen", "dice", "area"):
            getattr(outcome, name)[here] = getattr(mine, name)[here]
        choices.append(choice)
    final = _choose(films, fold, everyone, aim, constraint, space)
    return Nested(aim, final, tuple(choices), outcome, fold)


def apply_choice(films: ScoredFilms, choice: SearchChoice) -> FilmOutcomes:
    """What happens to every film at one operating point."""
    tables = films.tables
    suspected = films.probability >= choice.config.classifier_threshold
    kept = suspected & tables.passes[:, choice.rule]
    area = np.where(kept, tables.area[:, choice.bottom, choice.smallest], 0.0)
    silent = np.where(films.label, 0.0, 1.0)
    dice = np.where(kept, tables.dice[:, choice.bottom, choice.smallest], silent)
    return FilmOutcomes(suspected, area > 0, films.label & (dice >= SEEN_DICE), dice, area)


def gate_threshold(
    films: ScoredFilms, among: Bools, share: float | None, constraint: Constraint, *, final: bool
) -> float:
    """Stage one's threshold on some films.

    Args:
        films: all films.
        among: (n,) bool, those that choose.
        share: of the allowed misses that are used; None sends every film on.
        constraint: how many misses are allowed.
        final: whether the threshold will be used: too few patients for a certificate are then an
            error. In an inner fold, which only compares, none is missed instead.

    Raises:
        DataError: no positive film, or a certificate that cannot be had.
    """
    if share is NO_GATE:
        return 0.0
    probability, label = films.probability[among], films.label[among]
    if not label.any():
        raise DataError("no positive film among those that choose the operating point")
    scores = np.sort(lowest_positive(probability, label, films.patient[among]))
    allowed: int | None = int((1.0 - constraint.recall) * scores.size + 1e-9)
    if constraint.certified:
        allowed = allowed_misses(scores.size, constraint.recall, CONFIDENCE)
        if allowed is None and final:
            raise DataError(
                f"recall {constraint.recall:g} cannot be certified with {scores.size} patients "
                f"with a pneumothorax outside a fold: {fewest_positives(0, constraint.recall)} "
                "are needed; give more films, or --no-certified for the measured recall"
            )
    return just_below(float(scores[int((allowed or 0) * share)]), probability)


def _choose(
    films: ScoredFilms,
    fold: NDArray[np.int64],
    among: Bools,
    aim: Aim,
    constraint: Constraint,
    space: Space,
) -> SearchChoice:
    """The best choice on some films, judged on their inner folds."""
    shape = _shape(films.tables, space)
    gates = [gate_threshold(films, among, share, constraint, final=True) for share in space.shares]
    sums = [_Sums.zeros(shape) for _ in space.shares]
    for held_out in np.unique(fold[among]):
        judged = among & (fold == held_out)
        for total, share in zip(sums, space.shares, strict=True):
            gate = gate_threshold(films, among & ~judged, share, constraint, final=False)
            total.add(films, judged & (films.probability >= gate), judged)
    share, rule, bottom, smallest = _best(sums, films.tables, aim, constraint)
    tables = films.tables
    top_threshold, top_min_pixels = tables.rules[rule]
    config = PipelineConfig(
        classifier_threshold=gates[share],
        segmenter_threshold=tables.bottoms[bottom],
        min_pixels=tables.min_pixels[smallest],
        top_threshold=top_threshold,
        top_min_pixels=top_min_pixels,
    )
    return SearchChoice(space.shares[share], rule, bottom, smallest, config)


def _shape(tables: OutlineTables, space: Space) -> tuple[int, int, int]:
    return (
        len(tables.rules) if space.triplet_rules else 1,
        len(tables.bottoms),
        len(tables.min_pixels),
    )


@dataclass
class _Sums:
    """Sums over judged films for every (rule, bottom, smallest)."""

    dice: Floats
    """Dice of positive films."""
    alarms: Floats
    """Negative films with a mask."""
    small: Floats
    """Small lesions seen."""
    n_positive: int = 0
    n_negative: int = 0

    @classmethod
    def zeros(cls, shape: Sequence[int]) -> _Sums:
        return cls(np.zeros(shape), np.zeros(shape), np.zeros(shape))

    def add(self, films: ScoredFilms, gated: Bools, judged: Bools) -> None:
        """Add the films that pass stage one; those judged but not gated have no mask."""
        tables, shape = films.tables, self.dice.shape
        for total, over, values in (
            (self.dice, gated & films.label, tables.dice),
            (self.alarms, gated & ~films.label, tables.area > 0),
            (self.small, gated & films.small, tables.dice >= SEEN_DICE),
        ):
            passes = tables.passes[over, : shape[0]].astype(np.float64)  # (films, rules)
            flat = values[over].reshape(passes.shape[0], shape[1] * shape[2]).astype(np.float64)
            total += (passes.T @ flat).reshape(shape)
        self.n_positive += int((judged & films.label).sum())
        self.n_negative += int((judged & ~films.label).sum())


def _best(
    sums: Sequence[_Sums], tables: OutlineTables, aim: Aim, constraint: Constraint
) -> tuple[int, int, int, int]:
    """Indices (share, rule, bottom, smallest) of the best choice; ties go to the earlier one."""
    dice = np.stack([s.dice for s in sums]) / max(1, sums[0].n_positive)
    alarms = np.stack([s.alarms for s in sums])
    small = np.stack([s.small for s in sums])
    # A top threshold below the bottom one would be a second area filter under another name.
    tops = np.array([top for top, _ in tables.rules[: dice.shape[1]]])
    allowed = (tops[:, None] == 0) | (tops[:, None] >= np.array(tables.bottoms)[None, :])
    allowed = np.broadcast_to(allowed[None, :, :, None], dice.shape)
    if aim is Aim.LEADERBOARD:
        n = sums[0].n_positive + sums[0].n_negative
        mean = (dice * sums[0].n_positive + sums[0].n_negative - alarms) / n
        order = np.where(allowed, np.round(mean, 9) + 1e-6 * dice, -np.inf)
    else:
        unfiltered = small[:, :1, :, :1]  # same gate, same bottom, no rule, nothing dropped
        allowed = allowed & (small >= constraint.small_kept * unfiltered)
        best = np.where(allowed, dice, -np.inf).max()
        close = allowed & (dice >= best - constraint.dice_tolerance)
        order = np.where(close, -alarms + 0.5 * dice, -np.inf)  # Dice decides between equal alarms
    place = np.unravel_index(int(np.argmax(order)), order.shape)
    return int(place[0]), int(place[1]), int(place[2]), int(place[3])
