"""``pneumoseg ablate``: does the cascade pay? Four ways to use the same two networks.

- ``cascade``: stage one decides which films stage two sees.
- ``always segment``: stage two sees every film; stage one is not run.
- ``always, triplet rule``: the same, and the rule of the SIIM-ACR winner empties masks.
- ``soft gate``: both run on every film, and the map is multiplied by stage one's probability, so
  that a doubted film needs a more convinced map. With calibrated parts the product is the chance
  that the film is positive and the pixel inside.

Each way gets its own best thresholds from the same inner folds, for the same aim, and is judged on
the same outer folds (:mod:`pneumoseg.operating_point.joint_search`). Differences from the cascade
are paired: every resample of patients is judged in both ways. The cost is what the stages took
here.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pneumoseg.metrics import Estimate
from pneumoseg.operating_point.ablation_picture import draw_ablation
from pneumoseg.operating_point.joint import SearchProgress, SearchSettings, scored_films
from pneumoseg.operating_point.joint_search import (
    NO_GATE,
    Aim,
    FilmOutcomes,
    Nested,
    ScoredFilms,
    Space,
    nested_search,
    outer_folds,
)
from pneumoseg.operating_point.outline_tables import outline_tables
from pneumoseg.operating_point.scores import CascadeScores
from pneumoseg.pipeline_inference import Cascade
from pneumoseg.preprocess import GRID_SIZE
from pneumoseg.statistics.paired import FilmEstimator
from pneumoseg.storage.result import write_result

ABLATION_FILE = "ablation.json"
CASCADE = "cascade"
ALWAYS = "always segment"
TRIPLET = "always, triplet rule"
SOFT = "soft gate"
WAYS = {
    CASCADE: Space(shares=(1.0,), triplet_rules=False),
    ALWAYS: Space(shares=(NO_GATE,), triplet_rules=False),
    TRIPLET: Space(shares=(NO_GATE,)),
    SOFT: Space(shares=(NO_GATE,), triplet_rules=False),
}
"""What each way may choose besides the threshold of the pixels and the smallest lesion."""
FALSE_OUTLINES = "false outlines"
AIMED_AT = {Aim.CLINICAL: "lesion Dice", Aim.LEADERBOARD: "SIIM mean Dice"}
"""The figure that an aim maximises."""


@dataclass(frozen=True)
class AblateSettings(SearchSettings):
    """What ``pneumoseg ablate`` is to do."""

    out: Path = Path("outputs/ablation")
    """Folder for the JSON file and the picture."""
    certified: bool = False
    """Whether the cascade's recall must hold with 95 % confidence, not only on the films here."""


@dataclass(frozen=True)
class Cost:
    """Seconds of a film, decoding left out: medians of the stages, as run here."""

    stage_one_seconds: float
    stage_two_seconds: float
    runs_stage_one: bool
    share_reaching_stage_two: float

    @property
    def seconds(self) -> float:
        """Of an average film."""
        first = self.stage_one_seconds if self.runs_stage_one else 0.0
        return first + self.share_reaching_stage_two * self.stage_two_seconds


@dataclass(frozen=True)
class WayReport:
    """One way under one aim: figures, paired differences from the cascade, cost."""

    way: str
    aim: Aim
    figures: tuple[Estimate, ...]
    differences: tuple[Estimate, ...]
    cost: Cost
    nested: Nested


@dataclass(frozen=True)
class Ablation:
    """Every way under both aims, and one sentence for each aim."""

    reports: tuple[WayReport, ...]
    verdicts: Mapping[Aim, str]
    folder: Path


def run_ablate(settings: AblateSettings, *, on_film: SearchProgress | None = None) -> Ablation:
    """Compare the four ways on the same folds and write the report.

    Raises:
        UsageError: a file or folder is missing or cannot be written.
        DataError: the films and their masks do not fit, or are too few for folds or certificate.
    """
    cascade = Cascade.load(settings.bundle, threads=settings.threads)
    scores, films = scored_films(cascade, settings, on_film)
    measuring = None if on_film is None else lambda done: on_film("measuring soft masks", done)
    soft = outline_tables(scores, weight=films.probability, on_film=measuring)
    films_of = dict.fromkeys(WAYS, films) | {
        SOFT: ScoredFilms(soft, films.probability, films.label, films.patient, films.small)
    }
    fold = outer_folds(
        films.label, films.patient, np.random.default_rng(settings.seed), settings.folds
    )
    reports: list[WayReport] = []
    for aim in Aim:
        found = {
            way: nested_search(films_of[way], fold, aim, settings.constraint, space)
            for way, space in WAYS.items()
        }
        reports += [_report(way, found, films, scores, settings) for way in WAYS]
    verdicts = {aim: verdict([r for r in reports if r.aim is aim]) for aim in Aim}
    content = _content(reports, verdicts, films, scores, cascade, settings)
    write_result(settings.out, ABLATION_FILE, content, draw_ablation)
    return Ablation(tuple(reports), verdicts, settings.out)


def verdict(reports: list[WayReport]) -> str:
    """Say in one sentence whether the cascade pays, from the reports of one aim.

    It is held against the way without stage one that serves the aim best. It pays where it is
    faster or better for the aim without being worse in the other.
    """
    figure_of = {r.way: {f.name: f for f in r.figures} for r in reports}
    difference_of = {r.way: {f.name: f for f in r.differences} for r in reports}
    cost_of = {r.way: r.cost.seconds for r in reports}
    aim = reports[0].aim
    measured = AIMED_AT[aim]
    rival = max((ALWAYS, TRIPLET), key=lambda way: figure_of[way][measured].value or 0.0)
    gain = difference_of[rival][measured]  # rival minus cascade
    saved = 1.0 - cost_of[CASCADE] / cost_of[rival]
    alarms = difference_of[rival][FALSE_OUTLINES]
    better, faster = _sign(gain, -1.0), _sign_of(saved)
    fewer = _sign(alarms, +1.0)
    if min(better, faster, fewer) >= 0 and max(better, faster, fewer) > 0:
        pays = "the cascade pays here"
    elif max(better, faster, fewer) <= 0:
        pays = "the cascade does not pay here"
    else:
        pays = "the cascade pays in part here"
    soft = difference_of[SOFT]
    return (
        f"For the {aim.value} aim {pays}: against «{rival}» it takes {abs(saved):.0%} "
        f"{'less' if saved >= 0 else 'more'} time per film, changes {measured} by "
        f"{_signed(gain, -1.0)} and the share of healthy films with an outline by "
        f"{_signed(alarms, -1.0)}; a soft gate in its place, at the full cost of both networks, "
        f"would change them by {_signed(soft[measured], 1.0)} and "
        f"{_signed(soft[FALSE_OUTLINES], 1.0)} (95 % intervals by patient, n = {gain.n} and "
        f"{alarms.n})."
    )


def _sign(difference: Estimate, direction: float) -> int:
    """1 where the interval lies wholly in a direction, -1 wholly against it, 0 where it holds 0."""
    seen = difference if direction > 0 else difference.negated()
    if seen.low is None or seen.high is None:
        return 0
    return 1 if seen.low > 0 else -1 if seen.high < 0 else 0


def _sign_of(saved: float) -> int:
    """Timing on a machine is steady to a few percent."""
    return 1 if saved > 0.05 else -1 if saved < -0.05 else 0


def _signed(difference: Estimate, direction: float) -> str:
    """A difference with its interval, from the cascade's side."""
    seen = difference if direction > 0 else difference.negated()
    return seen.in_words(signed=True)


def _report(
    way: str,
    found: Mapping[str, Nested],
    films: ScoredFilms,
    scores: CascadeScores,
    settings: AblateSettings,
) -> WayReport:
    by_film = FilmEstimator(films.label, films.patient, settings.seed, settings.repeats)
    mine = per_film(found[way].outcome, films)
    base = per_film(found[CASCADE].outcome, films)
    figures = tuple(by_film.mean(name, value, over) for name, (value, over) in mine.items())
    differences = tuple(
        by_film.mean(name, value - base[name][0], over) for name, (value, over) in mine.items()
    )
    outcome = found[way].outcome
    cost = Cost(
        stage_one_seconds=float(np.median([film.seconds_stage_one for film in scores.films])),
        stage_two_seconds=float(np.median([film.seconds_stage_two for film in scores.films])),
        runs_stage_one=way in (CASCADE, SOFT),
        share_reaching_stage_two=float(outcome.suspected.mean()),
    )
    return WayReport(way, found[way].aim, figures, differences, cost, found[way])


def per_film(
    outcome: FilmOutcomes, films: ScoredFilms
) -> dict[str, tuple[NDArray[np.float64], NDArray[np.bool_] | None]]:
    """One value per film for every figure that is a mean, and the films it is taken over."""
    marked = outcome.marked.astype(np.float64)
    return {
        "lesion Dice": (outcome.dice, films.label),
        "SIIM mean Dice": (outcome.dice, None),
        "recall of the mask": (marked, films.label),
        "specificity of the mask": (1.0 - marked, ~films.label),
        FALSE_OUTLINES: (marked, ~films.label),
        "percent of a healthy film outlined": (100.0 * outcome.area / GRID_SIZE**2, ~films.label),
        "small lesions seen": (outcome.seen.astype(np.float64), films.small),
    }


def _content(
    reports: list[WayReport],
    verdicts: Mapping[Aim, str],
    films: ScoredFilms,
    scores: CascadeScores,
    cascade: Cascade,
    settings: AblateSettings,
) -> dict[str, Any]:
    """Everything of the report as plain values; the picture is drawn from this alone."""
    card = cascade.bundle.card
    label = films.label
    return {
        "bundle": f"{card.name} {card.version}",
        "n": int(label.size),
        "n_positive": int(label.sum()),
        "n_patients": len(set(films.patient.tolist())),
        "siim_mean_dice_of_empty_masks": float((~label).mean()),
        "constraint": asdict(settings.constraint),
        "folds": settings.folds,
        "seed": settings.seed,
        "repeats": settings.repeats,
        "timed_on": {
            "runtime": scores.about["runtime"],
            "precision": scores.about["precision"],
            "processors": os.cpu_count(),
            "classifier_size": card.classifier_size,
            "segmenter_size": card.segmenter_size,
        },
        "aims": {
            aim.value: {
                "verdict": verdicts[aim],
                "ways": {
                    r.way: {
                        "figures": {f.name: asdict(f) for f in r.figures},
                        "differences_from_cascade": {f.name: asdict(f) for f in r.differences},
                        "cost": asdict(r.cost) | {"seconds": r.cost.seconds},
                        "config": asdict(r.nested.final.config),
                        "fold_configs": [asdict(c.config) for c in r.nested.folds],
                    }
                    for r in reports
                    if r.aim is aim
                },
            }
            for aim in Aim
        },
    }
