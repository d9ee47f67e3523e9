"""``pneumoseg evaluate``: what the cascade's predictions are worth against the truth.

The truth is a SIIM CSV of masks; an image with a mask is positive. Masks are compared on each
image's own pixels, one image at a time. Every figure carries its n and a bootstrap 95 % interval,
by patient where a table names them. ``--report`` adds a page with everything else there is to say
(:mod:`pneumoseg.evaluation.report`).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pneumoseg import metrics, plots
from pneumoseg.errors import UsageError
from pneumoseg.evaluation.cases import one_operating_point, volumes_of, with_truth
from pneumoseg.evaluation.measured_films import Cases, measure_cases
from pneumoseg.evaluation.report import (
    REPORT_FILE,
    REPORT_FOLDER,
    REPORT_PAGE,
    ReportInput,
    write_report,
)
from pneumoseg.evaluation.report_figures import main_figures, measure_figures
from pneumoseg.metrics import ConfusionMatrix, Estimate
from pneumoseg.reading.predictions import count_failures, read_predictions
from pneumoseg.reading.siim_csv import read_mask_rows, read_patients, read_table
from pneumoseg.settings import CLASSIFIER_THRESHOLD, at_least
from pneumoseg.statistics.estimate import CELLS
from pneumoseg.statistics.resampling import resampler
from pneumoseg.storage.files import whole_folder
from pneumoseg.storage.result import write_json, writing_results

EVALUATION_FOLDER = "evaluation"
EVALUATION_FILE = "evaluation.json"
_PICTURES = ("confusion_default.png", "confusion_calibrated.png", "roc.png")
_WRITTEN = (EVALUATION_FILE, *_PICTURES, REPORT_PAGE, REPORT_FOLDER)


@dataclass(frozen=True)
class EvaluateSettings:
    """What to compare and where to write the result."""

    predictions: Path
    """Folder that pneumoseg predict wrote."""
    masks: Path
    """SIIM CSV of the true masks (columns ImageId and EncodedPixels)."""
    table: Path | None = None
    """CSV with image_id, patient_id: intervals by patient; the report splits by view, age, sex.
    Without it CT slices are taken by volume."""
    mask_grid: int | None = None
    """Side of the square grid the true masks were drawn on, where it is not the images' own."""
    report: bool = False
    """Also write report.html and a folder of its data and pictures."""
    films: Path | None = None
    """Folder the films lie in now, for the report's worst cases; by default where predicted."""
    out: Path | None = None
    """Folder for the results; by default the folder «evaluation» inside the predictions."""
    seed: int = 0
    """Seed of the bootstrap; the same seed gives the same intervals."""
    repeats: int = metrics.BOOTSTRAP_REPEATS
    """Number of bootstrap resamples."""
    allow_missing: bool = False
    """Leave out predicted images that have no row in the masks CSV instead of refusing."""

    def __post_init__(self) -> None:
        at_least("repeats", self.repeats, 1)
        at_least("seed", self.seed, 0)
        at_least("mask_grid", self.mask_grid, 1, "pixels")
        if self.films is not None and not self.report:
            raise UsageError("--films shows the report's worst cases; give --report as well")

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

    figures: tuple[Estimate, ...]
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
    both classes are there, ``roc.png`` into ``settings.folder``; with ``settings.report`` also
    ``report.html`` and the folder ``report``. All or nothing: they replace those of an earlier
    evaluation when everything is done.

    Raises:
        UsageError: a file or folder is missing or cannot be written.
        DataError: predictions without truth (unless allowed), no image in common, runs that do not
            fit an image or were drawn on another grid, predictions of several bundles or
            thresholds, a contradictory table or one of other images, films that are not those
            predicted.
    """
    predictions = read_predictions(settings.predictions)
    truth = read_mask_rows(settings.masks)
    kept = with_truth(
        predictions, truth, masks_path=settings.masks, allow_missing=settings.allow_missing
    )
    threshold, bundle = one_operating_point(kept)
    patients = volumes_of(kept) if settings.table is None else read_patients(settings.table)
    facts = read_table(settings.table) if settings.report and settings.table is not None else None
    _check_folder(settings.folder)
    cases = measure_cases(
        kept, truth, patients, mask_grid=settings.mask_grid, by_lesion=settings.report
    )
    draws = resampler(cases.patient, cases.label.size, seed=settings.seed, repeats=settings.repeats)
    evaluation = Evaluation(
        figures=tuple(figure for _, figure in measure_figures(main_figures(cases), cases, draws)),
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
    given = ReportInput(
        predictions=kept,
        truth=truth,
        facts=facts,
        films=settings.films,
        mask_grid=settings.mask_grid,
        thresholds={"default": CLASSIFIER_THRESHOLD, "calibrated": threshold},
        evaluation=evaluation.as_dict(),
    )
    with writing_results(settings.folder), whole_folder(settings.folder, _WRITTEN) as part:
        if settings.report:
            write_report(part, cases, draws, given)
        _write(evaluation, cases, part)
    return evaluation


def _check_folder(folder: Path) -> None:
    """Refuse a place where results would replace what no evaluation has written."""
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"cannot write to {folder}: it is a file; choose another --out")
    inside = folder / REPORT_FOLDER
    if inside.exists() and not (inside / REPORT_FILE).is_file():
        raise UsageError(
            f"{inside} is there and is not an evaluation's; choose another --out or move it"
        )


def evaluation_rows(evaluation: Evaluation) -> list[tuple[str, ...]]:
    """The figures as text cells, a header first: figure, value, interval, n, positive, patients."""
    header = ("figure", *CELLS)
    return [header, *((figure.name, *figure.cells()) for figure in evaluation.figures)]


def _write(evaluation: Evaluation, cases: Cases, folder: Path) -> None:
    """Write the seven figures, both confusion matrices and the ROC curve."""
    default, chosen = evaluation.default_threshold, evaluation.classifier_threshold
    drawn = [folder / name for name in _PICTURES]
    plots.draw_confusion(
        evaluation.confusion_default, drawn[0], title=f"Default threshold {default:.3g}"
    )
    plots.draw_confusion(
        evaluation.confusion, drawn[1], title=f"Threshold of the predictions {chosen:.3g}"
    )
    curve = metrics.roc_curve(cases.probability, cases.label)
    if curve is not None:
        points = {
            f"default {default:.3g}": evaluation.confusion_default,
            f"operating point {chosen:.3g}": evaluation.confusion,
        }
        plots.draw_roc(curve, drawn[2], evaluation.figures[0], points)
    write_json(folder / EVALUATION_FILE, evaluation.as_dict())
