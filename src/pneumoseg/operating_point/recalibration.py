"""``pneumoseg recalibrate``: a bundle fitted to a site from about fifty labelled films of its own.

Probability and threshold are fitted (:mod:`pneumoseg.operating_point.recalibration_fit`); the
ranking stays the parent's, so the AUROC needs no refitting. What is claimed of the fitted
probability and threshold is cross-validated by patient: no film is judged by numbers that it helped
to fit. What is claimed of the recall is a bound that holds however few the films are.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pneumoseg.audits.page import Audit, Panel, write_audit
from pneumoseg.audits.scores import (
    LARGEST_BATCH,
    FilmProgress,
    StageOne,
    check_draws,
)
from pneumoseg.bundle import Bundle, CardFigure
from pneumoseg.calibration import LOG_LOSS_FLOOR, moved_probability, prior_shift, remapped
from pneumoseg.metrics import BOOTSTRAP_REPEATS, Estimate
from pneumoseg.operating_point.derived_bundle import derive_bundle, refuse_folder
from pneumoseg.operating_point.local_labels import LocalFilms, read_local_films
from pneumoseg.operating_point.recalibration_fit import (
    SHIFT_PRIOR,
    SLOPE_PRIOR,
    Flags,
    LocalScores,
    Values,
    cross_validate,
    fit_shrunk,
    local_threshold,
    log_odds,
    refuse_too_few,
)
from pneumoseg.preprocess import to_grid
from pneumoseg.settings import TARGET_RECALL, fraction
from pneumoseg.statistics.certified import (
    CertifiedRecall,
    JudgedRecall,
    certify_recall,
    judge_recall,
)
from pneumoseg.statistics.paired import FilmEstimator
from pneumoseg.statistics.prevalence import Rate

REPORT = "recalibration"
PARENT, LOCAL = "parent", "local, cross-validated"


@dataclass(frozen=True)
class RecalibrateSettings(LocalFilms):
    """Settings of ``pneumoseg recalibrate``."""

    out: Path = Path("bundles/local")
    """Folder of the derived bundle, which takes its name; an earlier bundle there is replaced."""
    bundle: str = "cxr"
    """Parent: shipped bundle by name, or a bundle's folder; it is left as it is."""
    recall: float = TARGET_RECALL
    """Recall that the threshold aims at."""
    prevalence: float | None = None
    """Prevalence the probabilities shall hold for, where the films were chosen, not taken as they
    came; that of the films when not given."""
    keep_threshold: bool = False
    """Fit the probability alone and go on suspecting the films that the parent suspects."""
    origin: str = "local films"
    """Where the films come from, for the card."""
    threads: int | None = None
    """Processor threads of the network; all cores when not given."""
    seed: int = 0
    """Seed of folds and bootstrap."""
    repeats: int = BOOTSTRAP_REPEATS
    """Number of bootstrap resamples."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_draws(self.seed, self.repeats)
        for name, value in (("recall", self.recall), ("prevalence", self.prevalence)):
            fraction(name, value, ends=False)


@dataclass(frozen=True)
class Recalibrated:
    """The derived bundle and what may be claimed of it."""

    bundle: Bundle
    report: Audit
    slope: float
    shift: float


@dataclass(frozen=True)
class Claims:
    """What may be claimed of recall with so few films.

    Attributes:
        parent: the parent's threshold, chosen without these films.
        target: whether a threshold for the recall aimed at can be certified on these films.
        local: the threshold that is taken, and the recall that it certifies.
    """

    parent: JudgedRecall
    target: CertifiedRecall
    local: CertifiedRecall


def run_recalibrate(
    settings: RecalibrateSettings, on_progress: FilmProgress | None = None
) -> Recalibrated:
    """Fit threshold and probability to local films and write a derived bundle with a report.

    Into the new bundle's folder go ``recalibration.json`` and the picture made from it.

    Raises:
        BundleError: no such parent, or the derived bundle cannot be there.
        UsageError: a file is missing or cannot be written.
        DataError: films and labels do not fit, or fewer than ``FEWEST`` patients of a kind.
    """
    stage_one = StageOne.load(settings.bundle, settings.threads)
    refuse_folder(stage_one.bundle, settings.out)
    local = score_local(settings, stage_one, on_progress)
    refuse_too_few(local)
    parent = stage_one.bundle
    odds = log_odds(parent.card.calibration, local.logit)
    slope, shift = fit_shrunk(odds, local.label)
    if settings.prevalence is not None:
        shift += prior_shift(float(local.label.mean()), settings.prevalence)
    held_out, suspected = cross_validate(odds, local, settings.recall, settings.seed)
    claims = _claims(parent, local, odds, (slope, shift), settings.recall)
    report = _report(settings, stage_one, local, held_out, suspected, claims)
    report = dataclasses.replace(
        report, facts={**report.facts, "slope": slope, "shift_log_odds": shift}
    )
    bundle = _derive(settings, parent, claims, (slope, shift), report)
    write_audit(report, bundle.folder)
    return Recalibrated(bundle, report, slope, shift)


def score_local(
    settings: LocalFilms, stage_one: StageOne, on_progress: FilmProgress | None = None
) -> LocalScores:
    """Run stage one on the labelled films, a batch in memory at a time."""
    logits: list[float] = []
    names: list[tuple[bool, str]] = []
    waiting = []
    for film in read_local_films(settings):
        waiting.append(to_grid(film.image)[0])
        names.append((film.label, film.patient_id))
        if len(waiting) == LARGEST_BATCH:
            logits += stage_one.logits(waiting).tolist()
            waiting = []
        if on_progress is not None:
            on_progress(len(names))
    if waiting:
        logits += stage_one.logits(waiting).tolist()
    label, patient = zip(*names, strict=True)
    return LocalScores(np.array(logits), np.array(label, dtype=np.bool_), np.array(patient))


def _claims(
    parent: Bundle,
    local: LocalScores,
    odds: Values,
    fit: tuple[float, float],
    recall: float,
) -> Claims:
    card = parent.card
    before = card.calibration.apply(local.logit)
    after = remapped(card.calibration, *fit).apply(local.logit)
    return Claims(
        parent=judge_recall(
            before, local.label, local.patient, card.config.classifier_threshold, recall
        ),
        target=certify_recall(after, local.label, local.patient, recall),
        local=local_threshold(after, local.label, local.patient, recall),
    )


def _report(
    settings: RecalibrateSettings,
    stage_one: StageOne,
    local: LocalScores,
    held_out: Values,
    suspected: Flags,
    claims: Claims,
) -> Audit:
    card = stage_one.bundle.card
    before = card.calibration.apply(local.logit)
    by_film = FilmEstimator(local.label, local.patient, settings.seed, settings.repeats)
    loss_before, loss_after = _losses(before, local.label), _losses(held_out, local.label)
    gain = by_film.mean("log loss, fall by the local fit", loss_before - loss_after)
    parent_decides = before >= card.config.classifier_threshold
    decided = ((PARENT, parent_decides), (LOCAL, suspected))
    rates = [
        _rate(f"{what}, {name}", right, over, local)
        for name, suspected_films in decided
        for what, right, over in (
            ("recall", suspected_films, local.label),
            ("specificity", ~suspected_films, ~local.label),
        )
    ]
    bias = [
        by_film.mean(f"{name}: mean probability less share of positives", values - local.label)
        for name, values in ((PARENT, before), (LOCAL, held_out))
    ]
    panels = (
        Panel("ranking, the parent's and unchanged", (by_film.auroc("AUROC", local.logit),), 0.5),
        Panel("decisions", tuple(rates)),
        Panel(
            "log loss",
            (
                by_film.mean(PARENT, loss_before),
                by_film.mean(LOCAL, loss_after),
            ),
        ),
        Panel("probability", (gain, *bias), 0.0),
    )
    facts = {
        "films": int(local.label.size),
        "positive": int(local.label.sum()),
        "patients": int(np.unique(local.patient).size),
        "patients_with_pneumothorax": int(np.unique(local.patient[local.label]).size),
        "recall_and_specificity": "intervals: Jeffreys, each patient counted once",
        "parent_threshold": claims.parent.as_dict(),
        "asked_recall": claims.target.as_dict(),
        "local_threshold": claims.local.as_dict(),
        "slope_prior": SLOPE_PRIOR,
        "shift_prior": SHIFT_PRIOR,
        "seed": settings.seed,
        "repeats": settings.repeats,
    }
    sentences = _sentences(settings, local, claims, gain)
    return Audit(REPORT, stage_one.title, panels, sentences, facts)


def _losses(probability: Values, label: Flags) -> Values:
    """Log loss of each film in nats."""
    given = np.where(label, probability, 1.0 - probability)
    return np.asarray(-np.log(np.maximum(given, LOG_LOSS_FLOOR)), dtype=np.float64)


def _rate(name: str, right: Flags, over: Flags, local: LocalScores) -> Estimate:
    """A share with an interval that stays honest where all, or none, of few films are right."""
    value = float(right[over].mean())
    patients = int(np.unique(local.patient[over]).size)
    low, high = Rate(value, patients).interval
    positives = int(local.label[over].sum())
    return Estimate(name, value, low, high, int(over.sum()), positives, patients, "patient")


def _sentences(
    settings: RecalibrateSettings, local: LocalScores, claims: Claims, gain: Estimate
) -> tuple[str, ...]:
    share = float(local.label.mean())
    better = gain.low is not None and gain.low > 0
    worse = gain.high is not None and gain.high < 0
    verdict = (
        "the local probabilities are better"
        if better
        else "the parent's probabilities are better: keep the parent"
        if worse
        else "not shown to be better than the parent's"
    )
    holds = (
        f"The probabilities hold for the share of positives of these films, {share:.3f}; if the "
        "films were chosen, give --prevalence."
        if settings.prevalence is None
        else f"The probabilities were shifted from the films' share of positives, {share:.3f}, to "
        f"a prevalence of {settings.prevalence:g}."
    )
    taken = "not taken" if settings.keep_threshold else "taken"
    lines = [
        f"{local.label.size} films of {np.unique(local.patient).size} patients, "
        f"{int(local.label.sum())} of them positive.",
        f"Parent's threshold, chosen on other films: {claims.parent.claim}",
        f"Local threshold, {taken}: {claims.local.claim}",
        f"Log loss falls by {gain.with_n()}, cross-validated by patient: {verdict}.",
        holds,
    ]
    if not claims.target.certified:
        lines.insert(3, f"Asked recall: {claims.target.claim}")
    return tuple(lines)


def _derive(
    settings: RecalibrateSettings,
    parent: Bundle,
    claims: Claims,
    fit: tuple[float, float],
    report: Audit,
) -> Bundle:
    config = parent.card.config
    threshold = (
        moved_probability(config.classifier_threshold, *fit)
        if settings.keep_threshold or claims.local.threshold is None
        else claims.local.threshold
    )
    about_threshold = (
        "the parent's threshold was moved with the probabilities"
        if settings.keep_threshold
        else "the threshold was chosen on them"
    )
    figures = {figure.name: figure for panel in report.panels for figure in panel.figures}
    decided = PARENT if settings.keep_threshold else LOCAL
    shown = {
        "AUROC": "AUROC",
        "recall": f"recall, {decided}",
        "specificity": f"specificity, {decided}",
    }
    return derive_bundle(
        parent,
        settings.out,
        config=dataclasses.replace(config, classifier_threshold=threshold),
        calibration=remapped(parent.card.calibration, *fit),
        note=(
            f"Recalibrated on {settings.origin}: {report.sentences[0]} Log-odds times {fit[0]:.3f} "
            f"plus {fit[1]:+.3f}; {about_threshold}. {claims.local.claim}"
        ),
        figures=[
            CardFigure.of(
                figures[where],
                name=name,
                split="the films it was recalibrated on, cross-validated by patient",
                origin=settings.origin,
            )
            for name, where in shown.items()
        ],
    )
