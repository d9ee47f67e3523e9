"""Does the classifier take the chest tube for the disease?

Patients who are treated have a drain, so drain and pneumothorax go together in every archive, and a
network may learn the easier of the two (Oakden-Rayner et al. 2020). Three ways to find out: films
whose drains are labelled; phantoms, in which tube and pneumothorax vary independently; and tubes
painted on real films, which change nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pneumoseg.audits.page import CHANCE, Audit, Panel
from pneumoseg.audits.scores import (
    ORIGINAL,
    FilmProgress,
    Scores,
    StageOne,
    check_draws,
    score_films,
)
from pneumoseg.audits.tube_films import (
    WITH_TUBE,
    Painter,
    phantom_films,
    phantom_with_tube,
)
from pneumoseg.errors import DataError, UsageError
from pneumoseg.evaluation.labelled_films import FilmSet, read_labelled_films
from pneumoseg.metrics import BOOTSTRAP_REPEATS, Estimate
from pneumoseg.phantom.distractors import CHEST_TUBE
from pneumoseg.reading.siim_csv import read_columns, strip_image_suffix
from pneumoseg.settings import at_least
from pneumoseg.statistics.paired import FilmEstimator

AUDIT = "tube"
AUROC_CHANGE = "change of AUROC against no tube"
_YES, _NO = ("1", "1.0", "true", "yes"), ("0", "0.0", "false", "no")


@dataclass(frozen=True)
class TubeAuditSettings:
    """Settings of ``pneumoseg audit tube``: phantoms, and films where there are some."""

    out: Path = Path("outputs/audit")
    """Folder for the JSON file and the picture."""
    bundle: str = "cxr"
    """Shipped bundle by name, or a bundle's folder."""
    images: Path | None = None
    """Folder of films to paint tubes on; without it only phantoms are used."""
    masks: Path | None = None
    """SIIM CSV of the films' true masks (columns ImageId and EncodedPixels)."""
    mask_grid: int | None = None
    """Side of the square grid the run lengths were written on, where it is not the films' own."""
    table: Path | None = None
    """CSV with image_id and, each optional, patient_id, view, age, sex."""
    where: tuple[str, ...] = ()
    """Only films whose row in the table says so: COLUMN=VALUE, or COLUMN=VALUE|VALUE for either."""
    drains: Path | None = None
    """CSV with the columns image_id and drain (0 or 1) that has every chosen film."""
    contrasts: tuple[float, ...] = (1.0, 3.0)
    """How bold tubes are painted, as multiples of the phantom's."""
    phantoms: int = 100
    """Phantom patients, each made with and without pneumothorax and tube; 0 for none."""
    first_seed: int = 30000
    """Seed of the first phantom."""
    phantom_size: int = 512
    """Rows and columns of the phantom films."""
    threads: int | None = None
    """Processor threads of the network; all cores when not given."""
    seed: int = 0
    """Seed of the painted tubes and of the bootstrap."""
    repeats: int = BOOTSTRAP_REPEATS
    """Number of bootstrap resamples."""

    def __post_init__(self) -> None:
        check_draws(self.seed, self.repeats)
        if (self.images is None) != (self.masks is None):
            raise UsageError("tubes are painted on films with known truth: give images and masks")
        if self.drains is not None and self.images is None:
            raise UsageError("drains says which films have a drain: give images and masks as well")
        if self.images is None and not self.phantoms:
            raise UsageError("nothing to audit: give images and masks, or phantoms above 0")
        at_least("phantoms", self.phantoms, 0)
        at_least("first_seed", self.first_seed, 0)
        if not self.contrasts or not all(contrast > 0 for contrast in self.contrasts):
            raise UsageError(f"contrasts must be positive, got {self.contrasts}")

    @property
    def films(self) -> FilmSet | None:
        """The films to paint on, None where there are none."""
        if self.images is None or self.masks is None:
            return None
        return FilmSet(self.images, self.masks, self.mask_grid, self.table, self.where)


def run_tube_audit(settings: TubeAuditSettings, on_progress: FilmProgress | None = None) -> Audit:
    """Measure what tubes do to the classifier's answer.

    Raises:
        BundleError: no such bundle.
        UsageError: a file is missing.
        DataError: films, truth and drains do not fit each other, or films are of one class.
    """
    drains = None if settings.drains is None else read_drains(settings.drains)
    stage_one = StageOne.load(settings.bundle, settings.threads)
    panels: list[Panel] = []
    if settings.films is not None:
        painter = Painter(settings.contrasts, settings.seed)
        films = read_labelled_films(settings.films)
        scores = score_films(films, stage_one, painter, on_progress)
        by_film = scores.estimator(settings.seed, settings.repeats)
        if drains is not None:
            panels += drain_panels(by_film, scores, _drains_of(scores, drains, settings.drains))
        panels += _painting_panels(by_film, scores, painter)
    if settings.phantoms:
        made = phantom_films(settings.phantoms, settings.first_seed, settings.phantom_size)
        scores = score_films(made, stage_one, phantom_with_tube, on_progress)
        panels += _phantom_panels(scores.estimator(settings.seed, settings.repeats), scores)
    facts = {
        "phantom_patients": settings.phantoms,
        "first_seed": settings.first_seed,
        "phantom_size": settings.phantom_size,
        "contrasts": list(settings.contrasts),
        "where": list(settings.where),
        "drains_labelled": drains is not None,
        "seed": settings.seed,
        "repeats": settings.repeats,
    }
    return Audit(AUDIT, stage_one.title, tuple(panels), _sentences(panels), facts)


def read_drains(path: Path) -> dict[str, bool]:
    """Read which films have a drain from a CSV with the columns ``image_id`` and ``drain``.

    Raises:
        UsageError: the file cannot be opened.
        DataError: a cell is neither 0 nor 1, or a film is listed twice.
    """
    drains: dict[str, bool] = {}
    for line, (name, cell) in read_columns(path, ("image_id", "drain")):
        image_id, word = strip_image_suffix(name), cell.strip().lower()
        if word not in _YES + _NO:
            raise DataError(f"{path}, line {line}: drain must be 0 or 1, got {cell.strip()!r}")
        if image_id in drains:
            raise DataError(f"{path}, line {line}: image {image_id} is listed twice; keep one row")
        drains[image_id] = word in _YES
    return drains


def _drains_of(scores: Scores, drains: dict[str, bool], path: Path | None) -> NDArray[np.bool_]:
    missing = [name for name in scores.image_id if name not in drains]
    if missing:
        raise DataError(
            f"{len(missing)} of the {scores.image_id.size} films are not in {path} (the first is "
            f"{missing[0]}); give a drain label for each, or choose films with --where"
        )
    return np.array([drains[name] for name in scores.image_id], dtype=np.bool_)


def drain_panels(by_film: FilmEstimator, scores: Scores, drain: NDArray[np.bool_]) -> list[Panel]:
    """Figures by labelled drain: bool (n,), one per film."""
    label, logit, probability = scores.label, scores.logit[ORIGINAL], scores.probability[ORIGINAL]
    groups = {
        "all films": np.ones_like(label),
        "films with a drain": drain,
        "films without a drain": ~drain,
        "positive without drain, all negative": ~label | ~drain,
        "positive with drain, all negative": ~label | drain,
        "positive without drain, negative with drain": label ^ drain,
        "positive with drain, negative without drain": ~(label ^ drain),
    }
    cells = {
        f"{disease}, {tube} drain": (label == positive) & (drain == tubed)
        for disease, positive in (("positive", True), ("negative", False))
        for tube, tubed in (("with", True), ("without", False))
    }
    drained = FilmEstimator(drain, by_film.patient, by_film.seed, by_film.repeats)
    return [
        Panel(
            "labelled drains: AUROC of pneumothorax",
            tuple(by_film.auroc(name, logit, over) for name, over in groups.items()),
        ),
        Panel(
            "labelled drains: probability, mean",
            tuple(by_film.mean(name, probability, over) for name, over in cells.items()),
        ),
        Panel(
            "labelled drains: AUROC of telling a drain by the classifier («positive»: drained)",
            (
                drained.auroc("among positive films", logit, label),
                drained.auroc("among negative films", logit, ~label),
            ),
            CHANCE,
        ),
    ]


def _painting_panels(by_film: FilmEstimator, scores: Scores, painter: Painter) -> list[Panel]:
    names = [painted.name for painted in painter.paintings]
    before = scores.logit[ORIGINAL]
    changes = tuple(
        by_film.mean(f"{name}, {kind}", scores.change(name), over)
        for name in names
        for kind, over in (("positive", scores.label), ("negative", ~scores.label))
    )
    mixed = {
        f"{name}, only into {into}": np.where(scores.label == positive, scores.logit[name], before)
        for name in names
        if name.startswith(CHEST_TUBE)
        for into, positive in (("positive films", True), ("negative films", False))
    }
    seen = {name: np.array(values) for name, values in painter.response.items()}
    visible = tuple(
        by_film.separability(name, seen[f"{name} with"], seen[f"{name} without"])
        for name in names
        if name.startswith(CHEST_TUBE)
    )
    separability = tuple(by_film.separability(name, scores.logit[name], before) for name in names)
    aurocs = {ORIGINAL: before, **{name: scores.logit[name] for name in names}, **mixed}
    return [
        Panel("painted on films: change of probability, mean", changes, 0.0),
        Panel(
            "painted on films: AUROC of pneumothorax",
            tuple(by_film.auroc(name, values) for name, values in aurocs.items()),
        ),
        Panel(
            f"painted on films: {AUROC_CHANGE}",
            tuple(
                by_film.auroc_change(name, values, before)
                for name, values in aurocs.items()
                if name != ORIGINAL
            ),
            0.0,
        ),
        Panel("AUROC of telling painted films by the classifier", separability, CHANCE),
        Panel("positive control: AUROC of telling them by a matched filter", visible, CHANCE),
    ]


def _phantom_panels(by_film: FilmEstimator, scores: Scores) -> list[Panel]:
    positive, bare, tubed = scores.label, scores.logit[ORIGINAL], scores.logit[WITH_TUBE]
    designs = {
        "no film has a tube": bare,
        "every film has a tube": tubed,
        "only the ill have a tube": np.where(positive, tubed, bare),
        "only the healthy have a tube": np.where(positive, bare, tubed),
    }
    change = scores.change(WITH_TUBE)
    return [
        Panel(
            "phantoms: AUROC of pneumothorax",
            tuple(by_film.auroc(name, values) for name, values in designs.items()),
        ),
        Panel(
            f"phantoms: {AUROC_CHANGE}",
            tuple(
                by_film.auroc_change(name, values, bare)
                for name, values in designs.items()
                if values is not bare
            ),
            0.0,
        ),
        Panel(
            "phantoms: change of probability by a tube, mean",
            (
                by_film.mean("ill", change, positive),
                by_film.mean("healthy", change, ~positive),
                by_film.mean("all", change),
            ),
            0.0,
        ),
        Panel(
            "phantoms: AUROC of telling films with a tube by the classifier",
            (by_film.separability("all", tubed, bare),),
            CHANCE,
        ),
    ]


def _sentences(panels: list[Panel]) -> tuple[str, ...]:
    """One sentence per change and per separability that was measured."""
    lines = []
    for panel in panels:
        if panel.neutral is None or panel.title.startswith("positive control"):
            continue
        for figure in panel.figures:
            verdict = _verdict(figure, panel)
            lines.append(f"{panel.title}, {figure.name}: {figure.with_n()}: {verdict}.")
    return tuple(lines)


def _verdict(figure: Estimate, panel: Panel) -> str:
    if figure.low is None or figure.high is None or panel.neutral is None:
        return "nothing can be said"
    if figure.low <= panel.neutral <= figure.high:
        return "no effect shown"
    up = figure.low > panel.neutral
    if AUROC_CHANGE in panel.title:
        return "it flatters the classifier" if up else "it costs the classifier"
    return f"it speaks {'for' if up else 'against'} pneumothorax"
