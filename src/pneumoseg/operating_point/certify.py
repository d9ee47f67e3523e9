"""``pneumoseg certify``: the threshold whose recall may be claimed.

Of a run and its true masks only the probabilities and whether a film has a mask are used, so the
masks may lie on any grid. Writes ``certified.json`` and ``certified.png``, which is drawn from the
JSON alone. How often such a claim fails is counted by ``benchmarks/certified_recall.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pneumoseg import rle
from pneumoseg.errors import DataError
from pneumoseg.evaluation.cases import one_operating_point, with_truth
from pneumoseg.evaluation.labelled_films import check_conditions, ids_meeting
from pneumoseg.metrics import CONFIDENCE
from pneumoseg.plots import ACCENT, FAINT, INK, SECOND, add_axes, new_sheet, save_png
from pneumoseg.reading.predictions import read_predictions
from pneumoseg.reading.siim_csv import read_mask_rows, read_patients, read_table
from pneumoseg.settings import TARGET_RECALL, fraction
from pneumoseg.statistics.certified import (
    CertifiedRecall,
    JudgedRecall,
    certify_recall,
    judge_recall,
    lowest_positive,
)
from pneumoseg.statistics.proportions import clopper_pearson_lower
from pneumoseg.storage.result import write_result

CERTIFIED_FILE = "certified.json"


@dataclass(frozen=True)
class CertifySettings:
    """What ``pneumoseg certify`` is to do."""

    predictions: Path
    """Folder that pneumoseg predict wrote."""
    masks: Path
    """SIIM CSV of the true masks; an image with a mask is positive."""
    table: Path | None = None
    """CSV with the columns image_id and patient_id; without it each film counts as a patient."""
    where: tuple[str, ...] = ()
    """Only images whose row in the table says so: COLUMN=VALUE, or COLUMN=VALUE|VALUE."""
    out: Path | None = None
    """Folder for the results; by default the folder «certified» inside the predictions."""
    recall: float = TARGET_RECALL
    """Recall to certify."""
    confidence: float = CONFIDENCE
    """Confidence of the claim."""
    allow_missing: bool = False
    """Leave out predicted images that have no row in the masks CSV instead of refusing."""

    def __post_init__(self) -> None:
        check_conditions(self.where, self.table)
        for name in ("recall", "confidence"):
            fraction(name, getattr(self, name), ends=False)

    @property
    def folder(self) -> Path:
        """Where the results go."""
        return self.predictions / "certified" if self.out is None else self.out


@dataclass(frozen=True)
class Certification:
    """What may be claimed."""

    chosen: CertifiedRecall
    judged: JudgedRecall
    """At the threshold of the predictions, which must have been chosen on other films."""
    folder: Path


def run_certify(settings: CertifySettings) -> Certification:
    """Certify the recall of a run.

    Raises:
        UsageError: a file or folder is missing or cannot be written.
        DataError: predictions without truth (unless allowed), no positive image, a contradictory
            table, predictions of several bundles or thresholds.
    """
    probability, label, patient, threshold, bundle = _read(settings)
    wanted = (settings.recall, settings.confidence)
    chosen = certify_recall(probability, label, patient, *wanted)
    judged = judge_recall(probability, label, patient, threshold, *wanted)
    content = {
        "bundle": bundle,
        "chosen_here": chosen.as_dict(),
        "chosen_elsewhere": judged.as_dict(),
        "curve": _curve(probability, label, patient, settings.confidence),
    }
    write_result(settings.folder, CERTIFIED_FILE, content, draw_certified)
    return Certification(chosen, judged, settings.folder)


def _read(
    settings: CertifySettings,
) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.str_] | None, float, str]:
    """Probability, label, patient of each film, the run's threshold and its bundle."""
    predictions = read_predictions(settings.predictions)
    truth = read_mask_rows(settings.masks)
    if settings.where and settings.table is not None:
        facts = read_table(settings.table)
        for condition in settings.where:
            ids = ids_meeting(condition, facts, settings.table)
            predictions = [p for p in predictions if p.image_id in ids]
        if not predictions:
            raise DataError(
                f"no image of {settings.predictions} is left by {' and '.join(settings.where)}; "
                "check the names"
            )
    kept = with_truth(
        predictions, truth, masks_path=settings.masks, allow_missing=settings.allow_missing
    )
    threshold, bundle = one_operating_point(kept)
    patient = None
    if settings.table is not None:
        known = read_patients(settings.table)
        # Marked, so that an image's own id never meets a patient of that name.
        patient = np.array(
            [
                f"patient {known[p.image_id]}" if p.image_id in known else f"image {p.image_id}"
                for p in kept
            ]
        )
    label = np.array([any(not rle.is_empty(text) for text in truth[p.image_id]) for p in kept])
    return np.array([p.probability for p in kept]), label, patient, threshold, bundle


def _curve(
    probability: NDArray[np.float64],
    label: NDArray[np.bool_],
    patient: NDArray[np.str_] | None,
    confidence: float,
) -> dict[str, list[float]]:
    """Recall by patient, its lower bound and the specificity at every threshold that matters."""
    scores = np.sort(lowest_positive(probability, label, patient))
    n = scores.size
    thresholds = np.unique(scores)
    found = n - np.searchsorted(scores, thresholds, side="left")
    negatives = np.sort(probability[~label])
    below = np.searchsorted(negatives, thresholds, side="left") / max(1, negatives.size)
    return {
        "threshold": thresholds.tolist(),
        "recall": (found / n).tolist(),
        "lower_bound": [clopper_pearson_lower(int(f), n, confidence) for f in found],
        "specificity": below.tolist(),
    }


def draw_certified(content: Mapping[str, Any], path: Path) -> None:
    """Draw ``certified.json``: recall and its bound against the threshold, and what it costs."""
    chosen, curve = content["chosen_here"], content["curve"]
    unit = "patients" if chosen["unit"] == "patient" else "films"
    figure = new_sheet(7.5, 4.6)
    verdict = "certified" if chosen["certified"] else "NOT certified"
    title = (
        f"{verdict}: recall {chosen['target']:g}, confidence {chosen['confidence']:g}, "
        f"{chosen['n_units']} {unit} with a pneumothorax, {chosen['n_negative']} films without"
    )
    axes = add_axes(figure, (1, 1, 1), title)
    lines = (
        ("recall", f"recall measured, by {unit[:-1]}", ACCENT, "-"),
        ("lower_bound", f"lower bound, {chosen['confidence']:.0%} confidence", ACCENT, ":"),
        ("specificity", "specificity", SECOND, "-"),
    )
    for name, label, colour, style in lines:
        axes.step(curve["threshold"], curve[name], where="pre", color=colour, linestyle=style,
                  linewidth=1.8, label=label)  # fmt: skip
    axes.axhline(chosen["target"], color=FAINT, linewidth=1, linestyle="--")
    if chosen["threshold"] is not None:
        axes.axvline(chosen["threshold"], color=INK, linewidth=1.2,
                     label=f"certified threshold {chosen['threshold']:.4g}")  # fmt: skip
    run = content["chosen_elsewhere"]["threshold"]
    axes.axvline(run, color=FAINT, linewidth=1.2, label=f"threshold of the run {run:.4g}")
    axes.set_xscale("symlog", linthresh=0.01)
    axes.set_xlim(0.0, 1.0)
    axes.set_ylim(0.0, 1.02)
    axes.set_xticks([0, 0.01, 0.03, 0.1, 0.3, 1], ["0", "0.01", "0.03", "0.1", "0.3", "1"])
    axes.set_xlabel("classifier threshold on the probability")
    axes.legend(frameon=False, fontsize=8, loc="lower left")
    save_png(figure, path)
