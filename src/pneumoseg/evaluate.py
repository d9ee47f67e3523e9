"""``pneumoseg evaluate``: what the cascade's predictions are worth against the truth.

The truth is a SIIM CSV of masks; an image with a mask is positive. Masks are compared on each
image's own pixels, one image at a time. Every figure carries its n and a bootstrap 95 % interval,
by patient where a table names them.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pneumoseg import figures, metrics
from pneumoseg.errors import UsageError
from pneumoseg.evaluation_cases import Cases, measure_cases, one_operating_point, with_truth
from pneumoseg.metrics import ConfusionMatrix, Figure
from pneumoseg.reading.predictions import count_failures, read_predictions
from pneumoseg.reading.siim_csv import read_mask_rows, read_patients
from pneumoseg.settings import CLASSIFIER_THRESHOLD

EVALUATION_FOLDER = "evaluation"
EVALUATION_FILE = "evaluation.json"


@dataclass(frozen=True)
class EvaluateSettings:
    """What to compare and where to write the result."""

    predictions: Path
    """Folder that pneumoseg predict wrote."""
    masks: Path
    """SIIM CSV of the true masks (columns ImageId and EncodedPixels)."""
    table: Path | None = None
    """CSV with the columns image_id and patient_id: intervals are then taken by patient."""
    out: Path | None = None
    """Folder for the results; by default the folder «evaluation» inside the predictions."""
    seed: int = 0
    """Seed of the bootstrap; the same seed gives the same intervals."""
    repeats: int = metrics.BOOTSTRAP_REPEATS
    """Number of bootstrap resamples."""
    allow_missing: bool = False
    """Leave out predicted images that have no row in the masks CSV instead of refusing."""

    def __post_init__(self) -> None:
        if self.repeats < 1:
            raise UsageError(f"repeats must be 1 or more, got {self.repeats}")
        if self.seed < 0:
            raise UsageError(f"seed must be 0 or more, got {self.seed}")

    @property
    def folder(self) -> Path:
        """Where the results go."""
        return self.predictions / EVALUATION_FOLDER if self.out is None else self.out


@dataclass(frozen=True)
class Coverage:
    """How the predicted images and the truth met; what is left out is counted."""

    evaluated: int
    predictions_without_truth: int
    truth_without_prediction: int
    failures: int
    without_patient: int
    """Evaluated images that the table does not give a patient; each counts as its own."""


@dataclass(frozen=True)
class Evaluation:
    """The measured figures and all that is needed to trust them."""

    figures: tuple[Figure, ...]
    confusion: ConfusionMatrix
    """At the threshold the predictions were made with."""
    confusion_default: ConfusionMatrix
    """At the seed's default threshold, on the same calibrated probabilities."""
    classifier_threshold: float
    default_threshold: float
    bundle: str
    coverage: Coverage
    seed: int
    repeats: int
    folder: Path

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON; no path, so that the file can be compared between machines."""
        return {
            "bundle": self.bundle,
            "classifier_threshold": self.classifier_threshold,
            "default_threshold": self.default_threshold,
            "figures": {figure.name: asdict(figure) for figure in self.figures},
            "confusion_calibrated": self.confusion.as_dict(),
            "confusion_default": self.confusion_default.as_dict(),
            "coverage": asdict(self.coverage),
            "interval": "bootstrap percentile, 95 %",
            "seed": self.seed,
            "repeats": self.repeats,
        }


def run_evaluate(settings: EvaluateSettings) -> Evaluation:
    """Measure a folder of predictions and write figures, JSON and pictures.

    Writes ``evaluation.json``, ``confusion_default.png``, ``confusion_calibrated.png`` and, where
    both classes are there, ``roc.png`` into ``settings.folder``.

    Raises:
        UsageError: a file or folder is missing or cannot be written.
        DataError: predictions without truth (unless allowed), no image in common, runs that do not
            fit an image, predictions of several bundles or thresholds, a contradictory table.
    """
    predictions = read_predictions(settings.predictions)
    truth = read_mask_rows(settings.masks)
    kept = with_truth(
        predictions, truth, masks_path=settings.masks, allow_missing=settings.allow_missing
    )
    threshold, bundle = one_operating_point(kept)
    patients = None if settings.table is None else read_patients(settings.table)
    cases = measure_cases(kept, truth, patients)
    evaluation = Evaluation(
        figures=_figures(cases, settings),
        confusion=metrics.confusion(cases.positive, cases.label),
        confusion_default=metrics.confusion(cases.probability >= CLASSIFIER_THRESHOLD, cases.label),
        classifier_threshold=threshold,
        default_threshold=CLASSIFIER_THRESHOLD,
        bundle=bundle,
        coverage=Coverage(
            evaluated=len(kept),
            predictions_without_truth=len(predictions) - len(kept),
            truth_without_prediction=len(truth) - len(kept),
            failures=count_failures(settings.predictions),
            without_patient=cases.without_patient,
        ),
        seed=settings.seed,
        repeats=settings.repeats,
        folder=settings.folder,
    )
    try:
        _write(evaluation, cases)
    except OSError as error:
        raise UsageError(f"cannot write to {settings.folder}: {error.strerror}") from error
    return evaluation


def evaluation_rows(evaluation: Evaluation) -> list[tuple[str, ...]]:
    """The figures as text cells, a header first: figure, value, interval, n, positive, patients."""
    rows: list[tuple[str, ...]] = [
        ("figure", "value", "95 % interval", "n", "positive", "patients")
    ]
    for figure in evaluation.figures:
        value = figure.reason if figure.value is None else f"{figure.value:.3f}"
        unknown = figure.low is None or figure.high is None
        interval = "-" if unknown else f"{figure.low:.3f} to {figure.high:.3f}"
        patients = "unknown" if figure.n_patients is None else str(figure.n_patients)
        rows.append((figure.name, value, interval, str(figure.n), str(figure.n_positive), patients))
    return rows


def _figures(cases: Cases, settings: EvaluateSettings) -> tuple[Figure, ...]:
    """All figures, each with the same seed's resamples: one resample is one imagined data set."""
    label, everything = cases.label, np.ones_like(cases.label)
    matrix = metrics.confusion
    statistics: list[tuple[str, NDArray[np.bool_], metrics.Statistic, str]] = [
        ("AUROC", everything, lambda i: metrics.auroc(cases.probability[i], label[i]),
         "needs positive and negative images"),
        ("recall", label, lambda i: matrix(cases.positive[i], label[i]).recall,
         "no positive image"),
        ("specificity", ~label, lambda i: matrix(cases.positive[i], label[i]).specificity,
         "no negative image"),
        ("F2", everything, lambda i: metrics.f2(cases.positive[i], label[i]),
         "no positive image"),
        ("lesion Dice", label, lambda i: metrics.lesion_dice(cases.dice[i], label[i]),
         "no positive image"),
        ("SIIM mean Dice", everything, lambda i: metrics.siim_mean_dice(cases.dice[i]), ""),
        ("share reaching stage two", everything,
         lambda i: metrics.share_segmented(cases.segmented[i]), ""),
    ]  # fmt: skip
    return tuple(
        _figure(name, over, statistic, reason, cases, settings)
        for name, over, statistic, reason in statistics
    )


def _figure(
    name: str,
    over: NDArray[np.bool_],
    statistic: metrics.Statistic,
    reason: str,
    cases: Cases,
    settings: EvaluateSettings,
) -> Figure:
    """One figure over the images of ``over``, with its interval."""
    n = cases.label.size
    value = statistic(np.arange(n, dtype=np.int64))
    low = high = None
    if value is not None:
        rng = np.random.default_rng(settings.seed)
        interval = metrics.bootstrap_by_patient(
            statistic, cases.patient, rng, settings.repeats, n=n
        )
        low, high = interval.low, interval.high
    return Figure(
        name=name,
        value=value,
        low=low,
        high=high,
        n=int(over.sum()),
        n_positive=int((over & cases.label).sum()),
        n_patients=None if cases.patient is None else int(np.unique(cases.patient[over]).size),
        unit="image" if cases.patient is None else "patient",
        reason=reason if value is None else "",
    )


def _write(evaluation: Evaluation, cases: Cases) -> None:
    """Pictures first: the JSON file stands for a finished evaluation."""
    folder = evaluation.folder
    folder.mkdir(parents=True, exist_ok=True)
    default, chosen = evaluation.default_threshold, evaluation.classifier_threshold
    figures.draw_confusion(
        evaluation.confusion_default,
        folder / "confusion_default.png",
        title=f"Default threshold {default:.3g}",
    )
    figures.draw_confusion(
        evaluation.confusion,
        folder / "confusion_calibrated.png",
        title=f"Threshold of the predictions {chosen:.3g}",
    )
    curve = metrics.roc_curve(cases.probability, cases.label)
    if curve is not None:
        points = {
            f"default {default:.3g}": evaluation.confusion_default,
            f"operating point {chosen:.3g}": evaluation.confusion,
        }
        figures.draw_roc(curve, folder / "roc.png", evaluation.figures[0], points)
    else:
        (folder / "roc.png").unlink(missing_ok=True)  # of an earlier evaluation in this folder
    text = json.dumps(evaluation.as_dict(), indent=2, allow_nan=False) + "\n"
    (folder / EVALUATION_FILE).write_text(text, encoding="utf-8")
