"""What films say of an operating point that they had no part in choosing: figures and sizes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pneumoseg.metrics import Estimate
from pneumoseg.operating_point.detectable_size import SeenSizes, seen_sizes
from pneumoseg.operating_point.joint_search import FilmOutcomes, ScoredFilms
from pneumoseg.operating_point.scores import CascadeScores
from pneumoseg.statistics.paired import FilmEstimator


def film_percent(scores: CascadeScores, grid_area: NDArray[np.float64]) -> NDArray[np.float64]:
    """Areas on the grid as percent of each film's own area, (n,)."""
    whole = np.array([film.placement.height * film.placement.width for film in scores.films])
    return np.asarray(100.0 * grid_area / whole, dtype=np.float64)


def outcome_figures(
    outcome: FilmOutcomes, films: ScoredFilms, seed: int, repeats: int
) -> tuple[Estimate, ...]:
    """Figures of out-of-fold outcomes, each with n and an interval by patient."""
    by_film = FilmEstimator(films.label, films.patient, seed, repeats)
    positive, small = films.label, films.small
    return (
        by_film.mean("lesion Dice", outcome.dice, positive),
        by_film.mean("SIIM mean Dice", outcome.dice),
        by_film.mean("SIIM mean Dice of empty masks", np.where(positive, 0.0, 1.0)),
        _by_patient(by_film, outcome, films),
        by_film.mean("recall of stage one, by film", outcome.suspected.astype(float), positive),
        by_film.mean("recall of the mask", outcome.marked.astype(float), positive),
        by_film.mean("lesions seen", outcome.seen.astype(float), positive),
        by_film.mean("small lesions seen", outcome.seen.astype(float), small),
        by_film.mean("specificity of the mask", (~outcome.marked).astype(float), ~positive),
        by_film.mean("share reaching stage two", outcome.suspected.astype(float)),
    )


def _by_patient(by_film: FilmEstimator, outcome: FilmOutcomes, films: ScoredFilms) -> Estimate:
    """Share of positive patients whose every positive film is suspected: what is certified."""
    names, member = np.unique(films.patient, return_inverse=True)
    positives = np.bincount(member, weights=films.label, minlength=names.size)
    missed = np.bincount(member, weights=films.label & ~outcome.suspected, minlength=names.size)
    weight = np.divide(1.0, positives[member], out=np.zeros(member.size), where=films.label)
    found = weight * (missed[member] == 0)
    return by_film.ratio("recall of stage one, by patient", found, weight, films.label)


def outcome_sizes(
    outcome: FilmOutcomes, films: ScoredFilms, scores: CascadeScores, seed: int, repeats: int
) -> tuple[SeenSizes, ...]:
    """Seen sizes in pixels of the grid, percent of the film, and mm² where spacing is known."""
    area = films.tables.truth_area
    mm2 = np.array(
        [
            np.nan if film.spacing_mm is None
            else film.placement.source_pixels_per_grid_pixel * float(np.prod(film.spacing_mm))
            for film in scores.films
        ]
    )  # fmt: skip
    units = {
        "grid pixels": area,
        "percent of the film": film_percent(scores, area),
        "mm²": area * mm2,
    }
    found = []
    for unit, sizes in units.items():
        with_size = films.label & (area > 0) & np.isfinite(sizes)
        if with_size.any():
            rng = np.random.default_rng(seed)
            found.append(
                seen_sizes(
                    sizes[with_size], outcome.seen[with_size], films.patient[with_size], unit,
                    rng, repeats,
                )
            )  # fmt: skip
    return tuple(found)
