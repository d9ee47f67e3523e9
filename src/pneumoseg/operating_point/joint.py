"""``pneumoseg operating-point``: all thresholds chosen together, for two aims, and reported fairly.

Every film is scored once (:mod:`pneumoseg.operating_point.scoring`); the search is nested by
patient (:mod:`pneumoseg.operating_point.joint_search`). The figures are of films that had no part
in choosing the point they were judged at. Masks are compared on the 512×512 grid. Writes
``operating_point.json``, then the picture from it; with ``--out-bundle`` also a derived bundle.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pneumoseg.audits.scores import check_draws
from pneumoseg.bundle import Bundle, CardFigure
from pneumoseg.errors import UsageError
from pneumoseg.metrics import BOOTSTRAP_REPEATS, Estimate
from pneumoseg.operating_point.derived_bundle import derive_bundle
from pneumoseg.operating_point.detectable_size import (
    SeenSizes,
    removed_by_size,
    removed_by_triplet_rule,
)
from pneumoseg.operating_point.joint_picture import draw_operating_point
from pneumoseg.operating_point.joint_search import (
    DICE_TOLERANCE,
    FOLDS,
    SEEN_DICE,
    SMALL_KEPT,
    Aim,
    Constraint,
    Nested,
    ScoredFilms,
    nested_search,
    outer_folds,
)
from pneumoseg.operating_point.out_of_fold import film_percent, outcome_figures, outcome_sizes
from pneumoseg.operating_point.outline_tables import MIN_PIXELS, outline_tables
from pneumoseg.operating_point.scores import CascadeScores
from pneumoseg.operating_point.scoring import ScoreSettings, score_films
from pneumoseg.pipeline_inference import Cascade
from pneumoseg.preprocess import GRID_SIZE
from pneumoseg.settings import TARGET_RECALL, PipelineConfig
from pneumoseg.storage.result import write_result

OPERATING_POINT_FILE = "operating_point.json"
SMALL_PERCENT = 1.0
SearchProgress = Callable[[str, int], None]
"""Called with what is being done and the number of films done."""


@dataclass(frozen=True)
class SearchSettings(ScoreSettings):
    """What the search for an operating point takes, whichever the command."""

    folds: int = FOLDS
    """Folds by patient: each reports on what the others chose."""
    seed: int = 0
    """Seed of the folds and of the bootstrap."""
    repeats: int = BOOTSTRAP_REPEATS
    """Number of bootstrap resamples."""
    recall: float = TARGET_RECALL
    """Recall of stage one by patient that every operating point must have."""
    certified: bool = True
    """Whether that recall must hold with 95 % confidence, rather than on the films at hand."""
    small_percent: float = SMALL_PERCENT
    """A pneumothorax below this share of the film, in percent, is a small one."""
    small_kept: float = SMALL_KEPT
    """Clinical aim: share of the small lesions seen without filters that the filters must leave."""
    dice_tolerance: float = DICE_TOLERANCE
    """Clinical aim: lesion Dice within this of the best is equal, and fewer false outlines win."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_draws(self.seed, self.repeats)
        if self.folds < 3:
            raise UsageError(f"folds must be 3 or more (the inner ones need two), got {self.folds}")
        if not 0.0 < self.small_percent <= 100.0:
            raise UsageError(f"small_percent must lie above 0, up to 100, got {self.small_percent}")
        _ = self.constraint

    @property
    def constraint(self) -> Constraint:
        """What every operating point must meet."""
        return Constraint(self.recall, self.certified, self.small_kept, self.dice_tolerance)


@dataclass(frozen=True)
class OperatingPointSettings(SearchSettings):
    """What ``pneumoseg operating-point`` is to do."""

    out: Path = Path("outputs/operating_point")
    """Folder for the JSON file and the picture."""
    out_bundle: Path | None = None
    """Also write a bundle with the chosen operating point, its card naming its parent."""
    aim: Aim = Aim.CLINICAL
    """The aim whose operating point the bundle gets: clinical or leaderboard."""


@dataclass(frozen=True)
class AimReport:
    """One aim: the point chosen on all films, those of the folds, and out-of-fold figures."""

    aim: Aim
    config: PipelineConfig
    fold_configs: tuple[PipelineConfig, ...]
    figures: tuple[Estimate, ...]
    sizes: tuple[SeenSizes, ...]

    @property
    def flags(self) -> str:
        """What to give ``pneumoseg predict`` to use this point."""
        c = self.config
        return (
            f"--classifier-threshold {c.classifier_threshold:.6g} "
            f"--segmenter-threshold {c.segmenter_threshold:g} --min-pixels {c.min_pixels} "
            f"--top-threshold {c.top_threshold:g} --top-min-pixels {c.top_min_pixels}"
        )

    def sentences(self, content: dict[str, Any]) -> list[str]:
        """What is seen and what the filters cost, from the report's content."""
        mine = content["aims"][self.aim.value]
        lesions, films = mine["removed_by_min_pixels"], mine["removed_by_top_rule"]
        sentences = [_size_sentence(size) for size in self.sizes]
        score, empty = (
            next(figure.value for figure in self.figures if figure.name == name)
            for name in ("SIIM mean Dice", "SIIM mean Dice of empty masks")
        )
        if score is not None and empty is not None and score <= empty:
            sentences.insert(0, f"SIIM mean Dice {score:.3f}: empty masks would score {empty:.3f}")
        sentences.append(
            f"the size filter alone ({lesions['smallest_kept']} px) would remove "
            f"{lesions['lesions']} of {lesions['of_lesions']} true lesions and with them all of "
            f"{lesions['films']} of {lesions['of_films']} positive films, were the masks perfect"
        )
        if films["smallest_kept"]:
            sentences.append(
                f"the triplet rule's area ({films['smallest_kept']} px) is more than the whole "
                f"pneumothorax of {films['films']} of {films['of_films']} positive films"
            )
        return sentences


@dataclass(frozen=True)
class OperatingPointReport:
    """Both aims, the films' facts, and where it was written."""

    aims: tuple[AimReport, ...]
    content: dict[str, Any]
    bundle: Bundle | None
    folder: Path


def _size_sentence(size: SeenSizes) -> str:
    """The smallest seen and the limits, in one unit."""
    smallest = (
        "none seen" if size.smallest_seen is None else f"smallest seen {size.smallest_seen:.3g}"
    )
    limits = "; ".join(
        f"{limit.recall:.0%} are seen from "
        + (f"{limit.area:.3g}" if limit.area is not None else f"no size known ({limit.reason})")
        for limit in size.limits
    )
    return f"in {size.unit}: {smallest}; {limits}"


def run_operating_point(
    settings: OperatingPointSettings, *, on_film: SearchProgress | None = None
) -> OperatingPointReport:
    """Choose the operating point for both aims and report it.

    Raises:
        UsageError: a file or folder is missing or cannot be written.
        DataError: the films and their masks do not fit, or are too few for folds or certificate.
    """
    cascade = Cascade.load(settings.bundle, threads=settings.threads)
    scores, films = scored_films(cascade, settings, on_film)
    rng = np.random.default_rng(settings.seed)
    fold = outer_folds(films.label, films.patient, rng, settings.folds)
    aims, nested = [], []
    for aim in Aim:
        found = nested_search(films, fold, aim, settings.constraint)
        nested.append(found)
        aims.append(_report(found, films, scores, settings))
    content = _content(tuple(aims), nested, films, cascade.bundle, settings)
    write_result(settings.out, OPERATING_POINT_FILE, content, draw_operating_point)
    bundle = None
    if settings.out_bundle is not None:
        chosen = next(report for report in aims if report.aim is settings.aim)
        bundle = _derive(cascade.bundle, settings.out_bundle, chosen, films, settings)
    return OperatingPointReport(tuple(aims), content, bundle, settings.out)


def scored_films(
    cascade: Cascade, settings: SearchSettings, on_film: SearchProgress | None
) -> tuple[CascadeScores, ScoredFilms]:
    """Score the films of the settings and measure their masks at every setting."""

    def progress(what: str) -> Callable[[int], None] | None:
        return None if on_film is None else lambda done: on_film(what, done)

    scores = score_films(cascade, settings, on_film=progress("running the networks"))
    tables = outline_tables(scores, on_film=progress("measuring masks"))
    small = scores.label & (film_percent(scores, tables.truth_area) < settings.small_percent)
    probability = cascade.bundle.card.calibration.apply(scores.logit)
    return scores, ScoredFilms(tables, probability, scores.label, scores.patient, small)


def _report(
    found: Nested, films: ScoredFilms, scores: CascadeScores, settings: SearchSettings
) -> AimReport:
    return AimReport(
        aim=found.aim,
        config=found.final.config,
        fold_configs=tuple(choice.config for choice in found.folds),
        figures=outcome_figures(found.outcome, films, settings.seed, settings.repeats),
        sizes=outcome_sizes(found.outcome, films, scores, settings.seed, settings.repeats),
    )


def _content(
    aims: tuple[AimReport, ...],
    nested: list[Nested],
    films: ScoredFilms,
    bundle: Bundle,
    settings: OperatingPointSettings,
) -> dict[str, Any]:
    """Everything of the report as plain values; the picture is drawn from this alone."""
    label = films.label
    lesions = [a for a, positive in zip(films.tables.true_lesions, label, strict=True) if positive]
    return {
        "bundle": f"{bundle.card.name} {bundle.card.version}",
        "grid_pixels": GRID_SIZE * GRID_SIZE,
        "n": int(label.size),
        "n_positive": int(label.sum()),
        "n_small": int(films.small.sum()),
        "n_patients": len(set(films.patient.tolist())),
        "n_positive_patients": len(set(films.patient[label].tolist())),
        "small_percent": settings.small_percent,
        "constraint": asdict(settings.constraint),
        "folds": settings.folds,
        "seed": settings.seed,
        "repeats": settings.repeats,
        "spacing_known": any(size.unit == "mm²" for size in aims[0].sizes),
        "aims": {
            report.aim.value: {
                "config": asdict(report.config),
                "flags": report.flags,
                "fold_configs": [asdict(config) for config in report.fold_configs],
                "figures": {figure.name: asdict(figure) for figure in report.figures},
                "sizes": [asdict(size) for size in report.sizes],
                "removed_by_min_pixels": asdict(removed_by_size(lesions, report.config.min_pixels)),
                "removed_by_top_rule": asdict(
                    removed_by_triplet_rule(lesions, report.config.top_min_pixels)
                ),
                "seen": found.outcome.seen[label].tolist(),
            }
            for report, found in zip(aims, nested, strict=True)
        },
        "seen_from_dice": SEEN_DICE,
        "true_area": films.tables.truth_area[label].tolist(),
        "true_lesions": [list(areas) for areas in lesions],
        "size_filter": [asdict(removed_by_size(lesions, pixels)) for pixels in MIN_PIXELS],
    }


def _derive(
    parent: Bundle, folder: Path, report: AimReport, films: ScoredFilms, settings: SearchSettings
) -> Bundle:
    """The parent with the chosen point; its figures are the out-of-fold ones."""
    rule = "certified" if settings.certified else "measured"
    note = (
        f"Operating point chosen by pneumoseg operating-point, aim {report.aim.value}, recall of "
        f"stage one {settings.recall:g} by patient ({rule}), on {films.label.size} films with "
        f"{int(films.label.sum())} positive; its figures are out of fold."
    )
    figures = tuple(
        CardFigure.of(
            figure,
            split=f"out of fold, nested cross-validation, {settings.folds} folds by patient",
            origin=f"{settings.masks.name} on {settings.images.name}",
        )
        for figure in report.figures
    )
    return derive_bundle(parent, folder, config=report.config, note=note, figures=figures)
