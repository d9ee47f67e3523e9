"""Where the classifier looks: parts of a film are covered, and it predicts again.

The border and the text markers carry no disease; an answer that hangs on them is a shortcut (Zech
et al. 2018). The true region should carry it: covering it must cost more than covering as much of
the lung elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from zlib import crc32

import cv2
import numpy as np

from pneumoseg.audits.occlusion_regions import (
    Cover,
    Grid,
    Region,
    border,
    bright_text,
    corners,
    cover,
    lung_fields,
    places_elsewhere,
)
from pneumoseg.audits.page import CHANCE, Audit, Panel
from pneumoseg.audits.scores import (
    ORIGINAL,
    AuditSettings,
    FilmProgress,
    Scores,
    StageOne,
    score_films,
)
from pneumoseg.errors import UsageError
from pneumoseg.evaluation.labelled_films import LabelledFilm, read_labelled_films
from pneumoseg.preprocess import mask_to_grid, to_grid
from pneumoseg.settings import at_least
from pneumoseg.statistics.paired import FilmEstimator

AUDIT = "occlusion"
CORNERS, TEXT = "corners covered", "bright text covered"
REGION, MIRRORED, ELSEWHERE = "true region", "its mirror image", "elsewhere in the lungs"
_REGION_COVERS = (Cover.GREY, Cover.BLURRED)
_DILATE = 9
"""Grid pixels by which a region is widened, so that the pleural line at its edge is covered too."""


@dataclass(frozen=True)
class OcclusionAuditSettings(AuditSettings):
    """Settings of ``pneumoseg audit occlusion``."""

    widths: tuple[float, ...] = (0.025, 0.05, 0.1)
    """Widths of the border, as shares of the film, each covered by itself."""
    places: int = 4
    """Most places elsewhere in the lungs that the true region is compared with, drawn per film."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.widths or not all(0.0 < width < 0.5 for width in self.widths):
            raise UsageError(f"widths must lie between 0 and 0.5, got {self.widths}")
        at_least("places", self.places, 1)


def run_occlusion_audit(
    settings: OcclusionAuditSettings, on_progress: FilmProgress | None = None
) -> Audit:
    """Cover borders, markers, lesions and other places, and measure what the classifier says.

    Raises:
        BundleError: no such bundle.
        UsageError: a file is missing.
        DataError: films and truth do not fit, or are of one class.
    """
    stage_one = StageOne.load(settings.bundle, settings.threads)
    covers = _Covers(settings)
    scores = score_films(read_labelled_films(settings), stage_one, covers, on_progress)
    by_film = scores.estimator(settings.seed, settings.repeats)
    panels = (
        *_border_panels(settings, by_film, scores, np.array(covers.with_text)),
        *_region_panels(settings, by_film, scores, np.array(covers.with_region)),
    )
    facts = {
        "films": int(scores.label.size),
        "films_with_bright_text": int(sum(covers.with_text)),
        "positive_films_without_a_free_place": int(scores.label.sum() - sum(covers.with_region)),
        "widths": list(settings.widths),
        "places": settings.places,
        "where": list(settings.where),
        "seed": settings.seed,
        "repeats": settings.repeats,
    }
    return Audit(AUDIT, stage_one.title, panels, _sentences(panels), facts)


class _Covers:
    """Makes the covered copies of a film and keeps which films had what."""

    def __init__(self, settings: OcclusionAuditSettings) -> None:
        self.settings = settings
        self.with_text: list[bool] = []
        self.with_region: list[bool] = []

    def __call__(self, film: LabelledFilm) -> Mapping[str, Grid]:
        grid, placement = to_grid(film.image)
        copies = {}
        for width in self.settings.widths:
            edge = border(placement, width)
            copies[_border_name(width)] = cover(grid, edge, Cover.BLACK)
            copies[_only_border_name(width)] = cover(grid, ~edge, Cover.GREY)
        copies[CORNERS] = cover(grid, corners(placement), Cover.BLACK)
        text = bright_text(grid, placement)
        self.with_text.append(bool(text.any()))
        copies[TEXT] = cover(grid, text, Cover.PAINTED_OVER)
        copies.update(self._regions(film, grid))
        return copies

    def _regions(self, film: LabelledFilm, grid: Grid) -> Mapping[str, Grid]:
        """Covered truth, mirror image and other places; the film itself where there are none."""
        truth = mask_to_grid(film.truth)
        wide = cv2.dilate(truth, np.ones((_DILATE, _DILATE), dtype=np.uint8)) > 0
        # a film's own stream, so that leaving out another film moves nothing
        rng = np.random.default_rng([self.settings.seed, crc32(film.image_id.encode())])
        others = places_elsewhere(wide, lung_fields(grid), self.settings.places, rng)
        self.with_region.append(bool(others))
        copies = {}
        for how in _REGION_COVERS:
            copies[f"{REGION}, {how}"] = cover(grid, wide, how)
            copies[f"{MIRRORED}, {how}"] = cover(grid, wide[:, ::-1] & ~wide, how)
            for k in range(self.settings.places):
                # where fewer places are free than asked for, they are taken in turn
                place = others[k % len(others)] if others else np.zeros_like(wide)
                copies[f"{ELSEWHERE} {k}, {how}"] = cover(grid, place, how)
        return copies


def _border_name(width: float) -> str:
    return f"border of {width:.1%} covered"


def _only_border_name(width: float) -> str:
    return f"only a border of {width:.1%} left"


def _border_panels(
    settings: OcclusionAuditSettings, by_film: FilmEstimator, scores: Scores, text: Region
) -> tuple[Panel, ...]:
    covered = [*map(_border_name, settings.widths), CORNERS, TEXT]
    left = [_only_border_name(width) for width in settings.widths]
    before = scores.logit[ORIGINAL]
    changes = [
        by_film.mean(f"{name}, {kind}", scores.change(name), over & (text | (name != TEXT)))
        for name in covered
        for kind, over in (("positive", scores.label), ("negative", ~scores.label))
    ]
    return (
        Panel(
            "AUROC of pneumothorax",
            tuple(by_film.auroc(name, scores.logit[name]) for name in (ORIGINAL, *covered)),
        ),
        Panel(
            "change of AUROC",
            tuple(by_film.auroc_change(name, scores.logit[name], before) for name in covered),
            0.0,
        ),
        Panel(
            "AUROC of pneumothorax from what holds no lung",
            tuple(by_film.auroc(name, scores.logit[name]) for name in left),
            CHANCE,
        ),
        Panel("change of probability, mean", tuple(changes), 0.0),
    )


def _region_panels(
    settings: OcclusionAuditSettings, by_film: FilmEstimator, scores: Scores, usable: Region
) -> tuple[Panel, ...]:
    """Positive films with a free place: what covering the truth costs, and as much elsewhere."""
    over = scores.label & usable
    before = scores.logit[ORIGINAL]
    drops, gaps, shares = [], [], []
    for how in _REGION_COVERS:
        truth = before - scores.logit[f"{REGION}, {how}"]
        mirror = before - scores.logit[f"{MIRRORED}, {how}"]
        names = [f"{ELSEWHERE} {k}, {how}" for k in range(settings.places)]
        other = before - np.mean([scores.logit[name] for name in names], axis=0)
        for name, values in ((REGION, truth), (MIRRORED, mirror), (ELSEWHERE, other)):
            drops.append(by_film.mean(f"{name}, {how}", values, over))
        for name, values in ((MIRRORED, mirror), (ELSEWHERE, other)):
            gaps.append(by_film.mean(f"more than {name}, {how}", truth - values, over))
            won = (truth > values).astype(np.float64)
            shares.append(by_film.mean(f"more than {name}, {how}", won, over))
    return (
        Panel("fall of the logit when a region is covered, mean", tuple(drops), 0.0),
        Panel("the true region's fall less another's, mean", tuple(gaps), 0.0),
        Panel("share of films in which the true region's fall is larger", tuple(shares), CHANCE),
    )


def _sentences(panels: tuple[Panel, ...]) -> tuple[str, ...]:
    change, only, gaps = panels[1], panels[2], panels[5]
    lines = []
    for figure in change.figures:
        lines.append(f"{figure.name}: AUROC changes by {figure.with_n()}.")
    for figure in only.figures:
        known = figure.low is not None and figure.low > CHANCE
        verdict = "what lies there tells something" if known else "nothing shown to be told by it"
        lines.append(f"{figure.name}: AUROC {figure.with_n()}; {verdict}.")
    for figure in gaps.figures:
        looks = figure.low is not None and figure.low > 0
        verdict = "it looks where the disease is" if looks else "not shown to look there"
        lines.append(f"Covering the true region costs {figure.name} {figure.with_n()}: {verdict}.")
    return tuple(lines)
