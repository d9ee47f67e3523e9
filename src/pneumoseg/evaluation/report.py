"""The evaluation report: everything measured as one JSON file, its pictures, and a page of both.

``report.json`` holds the data of every table and of every picture; the pictures are drawn from it
(:func:`pneumoseg.evaluation.report_pictures.draw_report`), and the page is made of it and them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pneumoseg.evaluation import report_curves as curves
from pneumoseg.evaluation.measured_films import Cases
from pneumoseg.evaluation.report_figures import measure_figures, report_figures, stratum_figures
from pneumoseg.evaluation.report_page import write_report_page
from pneumoseg.evaluation.report_pictures import draw_report
from pneumoseg.evaluation.strata import Stratum, strata
from pneumoseg.evaluation.worst_cases import choose_worst, describe, draw_worst
from pneumoseg.reading.predictions import Prediction
from pneumoseg.statistics.certified import certify_recall, judge_recall
from pneumoseg.statistics.estimate import Estimate, Quantity
from pneumoseg.statistics.froc import FALSE_POSITIVE_RATES
from pneumoseg.statistics.resampling import Resampler
from pneumoseg.storage.result import write_json

FORMAT = 1
REPORT_FOLDER, REPORT_FILE, REPORT_PAGE = "report", "report.json", "report.html"
WORST_FOLDER = "worst_cases"
NOTES = (
    "n counts the images a figure is over: recall, lesion Dice, lesion size and side the positive "
    "ones, specificity the negative ones, PPV those suspected, NPV the others.",
    "Intervals: bootstrap percentile, 95 %, drawing patients with all their images where patients "
    "are known. A share of exactly 0 or 1 has the exact interval of its patients (Clopper-Pearson) "
    "instead, since every resample would give the same.",
    "Lesion Dice counts a missed pneumothorax as 0. SIIM mean Dice counts an empty pair as 1, so a "
    "submission that never outlines anything scores the share of negatives.",
    "By outline: an image counts as positive when anything is outlined, after the size filter.",
    "A lesion is a connected component. Hit rules: any overlap is one shared pixel; IoU ≥ 0.1 asks "
    "that overlap be a tenth of the union. The score is the outline's mean probability. Outlines "
    "exist only above the run's thresholds, so a FROC curve ends at the dot; beyond it, "
    "sensitivities at "
    + ", ".join(f"{rate:g}" for rate in FALSE_POSITIVE_RATES)
    + " false positives per image stay at that value.",
    "HD95 and average symmetric surface distance: in mm at the detector, over images with a "
    "lesion, an outline and a known spacing; a miss has no distance and is not in the mean.",
    "The expected calibration error is biased upwards, the more so the fewer images; so is its "
    "interval.",
    "Seconds are those the run recorded, reading not included. Stage one's are the mean of images "
    "that stopped there, stage two's the mean of the others minus it.",
    "Groups of lesion size and side hold positive images only; their AUROC is against all "
    "negatives. Many groups are looked at: some will differ by chance.",
)


@dataclass(frozen=True)
class ReportInput:
    """What the report is made of, beside the measured films.

    Attributes:
        predictions: in the order of the cases.
        truth: image id -> run lengths.
        facts: the table's rows by image id, None without a table.
        films: folder the films lie in now, None for where they were predicted.
        mask_grid: side of the square grid the truth was drawn on.
        thresholds: name -> classifier threshold: ``default`` and ``calibrated``.
        evaluation: what ``evaluation.json`` says.
    """

    predictions: list[Prediction]
    truth: Mapping[str, list[str]]
    facts: Mapping[str, Mapping[str, str]] | None
    films: Path | None
    mask_grid: int | None
    thresholds: dict[str, float]
    evaluation: Mapping[str, Any]


def write_report(folder: Path, cases: Cases, draws: Resampler, given: ReportInput) -> None:
    """Write ``report.html`` and the folder ``report`` with its JSON and pictures.

    Raises:
        DataError: a film to be shown is not the one that was predicted.
        OSError: the folder cannot be written to.
    """
    inside = folder / REPORT_FOLDER
    inside.mkdir(parents=True)
    report = make_report(cases, draws, given)
    chosen = choose_worst(cases)
    report["worst_cases"] = [describe(case, cases) for case in chosen]
    pictures = draw_worst(
        chosen,
        given.predictions,
        given.truth,
        inside / WORST_FOLDER,
        films=given.films,
        mask_grid=given.mask_grid,
    )
    for case, picture in zip(report["worst_cases"], pictures, strict=True):
        case["picture"] = None if picture is None else f"{WORST_FOLDER}/{picture}"
    record = inside / REPORT_FILE
    write_json(record, report, indent=1, ensure_ascii=False)
    drawn = draw_report(record, inside)
    plain = json.loads(record.read_text(encoding="utf-8"))
    write_report_page(folder / REPORT_PAGE, plain, inside, drawn)


def make_report(cases: Cases, draws: Resampler, given: ReportInput) -> dict[str, Any]:
    """Measure everything and put it into plain values for JSON, the worst cases left out."""
    split = strata(cases, given.facts)
    grouped = [(stratum, group) for stratum in split for group in stratum.groups]
    parts = [report_figures(cases, given.thresholds["default"])]
    parts += [stratum_figures(cases, stratum, group) for stratum, group in grouped]
    measured = _measured(parts, cases, draws)
    of_group = {id(group): found for (_, group), found in zip(grouped, measured[1:], strict=True)}
    decisions = {
        "default": cases.probability >= given.thresholds["default"],
        "calibrated": cases.positive,
    }
    return {
        "format": FORMAT,
        **{key: given.evaluation[key] for key in ("bundle", "coverage", "interval")},
        "seed": draws.seed,
        "repeats": draws.repeats,
        "drawn_by": draws.unit,
        "thresholds": given.thresholds,
        "mask_grid": given.mask_grid,
        "figures": [{"group": group} | asdict(figure) for group, figure in measured[0]],
        "operating_points": curves.operating_points(cases, given.thresholds, decisions),
        "certified_recall": _certified(cases, given.thresholds["calibrated"]),
        "strata": [_stratum(stratum, of_group) for stratum in split],
        "curves": {
            "roc": curves.roc_points(cases),
            "precision_recall": curves.precision_recall_points(cases),
            "froc": curves.froc_points(cases),
            "reliability": curves.reliability_bins(cases, draws),
            "size": curves.size_bins(cases, draws),
            "pass_and_cost": curves.pass_and_cost(cases),
        },
        "notes": list(NOTES),
    }


def _measured(
    parts: list[list[Quantity]], cases: Cases, draws: Resampler
) -> list[list[tuple[str, Estimate]]]:
    """Measure all parts on one draw and hand each its own figures."""
    found = iter(measure_figures([each for part in parts for each in part], cases, draws))
    return [[next(found) for _ in part] for part in parts]


def _stratum(
    stratum: Stratum, of_group: Mapping[int, list[tuple[str, Estimate]]]
) -> dict[str, Any]:
    return {
        "by": stratum.by,
        "definition": stratum.definition,
        "reason": stratum.reason,
        "groups": [
            {
                "name": group.name,
                "figures": [asdict(figure) for _, figure in of_group[id(group)]],
            }
            for group in stratum.groups
        ],
    }


def _certified(cases: Cases, threshold: float) -> dict[str, Any] | None:
    """What may be claimed of recall, at a threshold chosen here and at the run's own."""
    if not cases.label.any():
        return None
    films = (cases.probability, cases.label, cases.patient)
    return {
        "chosen_here": certify_recall(*films).as_dict(),
        "chosen_elsewhere": judge_recall(*films, threshold).as_dict(),
    }
