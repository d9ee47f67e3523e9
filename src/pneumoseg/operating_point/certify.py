"""``pneumoseg certify``: the threshold whose recall may be claimed, and proof that the rule holds.

Of a run and its true masks only the probabilities and whether a film has a mask are used, so the
masks may lie on any grid. Writes ``certified.json`` and ``certified.png``; with ``--simulate`` also
``simulation.json`` and ``simulation.png``. Each picture is drawn from its JSON alone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pneumoseg import rle
from pneumoseg.errors import DataError, UsageError
from pneumoseg.evaluation.cases import one_operating_point, with_truth
from pneumoseg.evaluation.labelled_films import check_conditions, ids_meeting
from pneumoseg.metrics import CONFIDENCE
from pneumoseg.operating_point.certified_simulation import (
    CERTIFIED,
    FILMS_AS_UNITS,
    Shortfall,
    as_json,
    simulate_certificate,
)
from pneumoseg.plots import ACCENT, FAINT, INK, SECOND, add_axes, new_sheet, save_png
from pneumoseg.reading.predictions import read_predictions
from pneumoseg.reading.siim_csv import read_mask_rows, read_patients, read_table
from pneumoseg.settings import TARGET_RECALL
from pneumoseg.statistics.certified import (
    CertifiedRecall,
    JudgedRecall,
    certify_recall,
    judge_recall,
    lowest_positive,
)
from pneumoseg.statistics.proportions import clopper_pearson_lower
from pneumoseg.storage.whole_file import whole_file

CERTIFIED_FILE, SIMULATION_FILE = "certified.json", "simulation.json"


@dataclass(frozen=True)
class CertifySettings:
    """What ``pneumoseg certify`` is to do."""

    predictions: Path | None = None
    """Folder that pneumoseg predict wrote."""
    masks: Path | None = None
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
    simulate: int = 0
    """Also draw so many data sets of known recall and count how often the claim fails; 0: none."""
    seed: int = 0
    """Seed of the simulation."""

    def __post_init__(self) -> None:
        if (self.predictions is None) != (self.masks is None):
            raise UsageError("--predictions and --masks belong together; give both")
        if self.predictions is None and not self.simulate:
            raise UsageError("nothing to do: give --predictions with --masks, or --simulate 10000")
        check_conditions(self.where, self.table)
        for name in ("recall", "confidence"):
            if not 0.0 < getattr(self, name) < 1.0:
                raise UsageError(f"{name} must lie between 0 and 1, got {getattr(self, name)}")
        for name in ("simulate", "seed"):
            if getattr(self, name) < 0:
                raise UsageError(f"{name} must be 0 or more, got {getattr(self, name)}")

    @property
    def folder(self) -> Path:
        """Where the results go."""
        if self.out is not None:
            return self.out
        return (
            Path("outputs/certified")
            if self.predictions is None
            else self.predictions / "certified"
        )


@dataclass(frozen=True)
class Certification:
    """What was found; None where it was not wanted."""

    chosen: CertifiedRecall | None
    judged: JudgedRecall | None
    """At the threshold of the predictions, which must have been chosen on other films."""
    simulated: tuple[Shortfall, ...]
    folder: Path


def run_certify(settings: CertifySettings) -> Certification:
    """Certify the recall of a run, prove the rule by simulation, or both.

    Raises:
        UsageError: a file or folder is missing or cannot be written.
        DataError: predictions without truth (unless allowed), no positive image, a contradictory
            table, predictions of several bundles or thresholds.
    """
    chosen = judged = None
    written: dict[str, dict[str, Any]] = {}
    if settings.predictions is not None and settings.masks is not None:
        probability, label, patient, threshold, bundle = _read(
            settings.predictions, settings.masks, settings
        )
        aim = (settings.recall, settings.confidence)
        chosen = certify_recall(probability, label, patient, *aim)
        judged = judge_recall(probability, label, patient, threshold, *aim)
        written[CERTIFIED_FILE] = {
            "bundle": bundle,
            "chosen_here": chosen.as_dict(),
            "chosen_elsewhere": judged.as_dict(),
            "curve": _curve(probability, label, patient, settings.confidence),
        }
    simulated: tuple[Shortfall, ...] = ()
    if settings.simulate:
        rng = np.random.default_rng(settings.seed)
        simulated = simulate_certificate(
            settings.simulate, rng, target=settings.recall, confidence=settings.confidence
        )
        written[SIMULATION_FILE] = as_json(
            simulated, target=settings.recall, confidence=settings.confidence
        ) | {"seed": settings.seed}
    try:
        _write(written, settings.folder)
    except OSError as error:
        raise UsageError(f"cannot write to {settings.folder}: {error.strerror}") from error
    return Certification(chosen, judged, simulated, settings.folder)


def _read(
    predictions_folder: Path, masks: Path, settings: CertifySettings
) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.str_] | None, float, str]:
    """Probability, label, patient of each film, the run's threshold and its bundle."""
    predictions = read_predictions(predictions_folder)
    truth = read_mask_rows(masks)
    if settings.where and settings.table is not None:
        facts = read_table(settings.table)
        for condition in settings.where:
            ids = ids_meeting(condition, facts, settings.table)
            predictions = [p for p in predictions if p.image_id in ids]
        if not predictions:
            raise DataError(
                f"no image of {predictions_folder} is left by {' and '.join(settings.where)}; "
                "check the names"
            )
    kept = with_truth(predictions, truth, masks_path=masks, allow_missing=settings.allow_missing)
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


def _write(written: Mapping[str, dict[str, Any]], folder: Path) -> None:
    """Pictures first: a JSON file stands for a finished result."""
    folder.mkdir(parents=True, exist_ok=True)
    draw = {CERTIFIED_FILE: draw_certified, SIMULATION_FILE: draw_simulation}
    for name, content in written.items():
        draw[name](content, (folder / name).with_suffix(".png"))
        with whole_file(folder / name) as part:
            part.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n", "utf-8")


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


def draw_simulation(content: Mapping[str, Any], path: Path) -> None:
    """Draw ``simulation.json``: how often each rule falls short of what it promises."""
    rows = content["shortfalls"]
    sizes = sorted({row["patients"] for row in rows})
    figure = new_sheet(7.5, 4.6)
    title = (
        f"Share of {rows[0]['draws']:,} drawn data sets whose true recall falls short of "
        f"{content['target']:g}"
    )
    axes = add_axes(figure, (1, 1, 1), title)
    colours = {CERTIFIED: ACCENT, FILMS_AS_UNITS: SECOND}
    rules = list(dict.fromkeys(row["rule"] for row in rows))
    for place, rule in enumerate(rules):
        mine = {row["patients"]: row for row in rows if row["rule"] == rule}
        across = [k + 0.27 * (place - (len(rules) - 1) / 2) for k in range(len(sizes))]
        share = [mine[n]["share"] for n in sizes]
        ends = [
            [mine[n]["share"] - mine[n]["low"] for n in sizes],
            [mine[n]["high"] - mine[n]["share"] for n in sizes],
        ]
        axes.bar(across, share, 0.25, yerr=ends, color=colours.get(rule, FAINT), label=rule,
                 error_kw={"elinewidth": 1, "ecolor": INK, "capsize": 2})  # fmt: skip
        for x, value in zip(across, share, strict=True):
            axes.annotate(f"{value:.1%}", (x, value), (0, 6), textcoords="offset points",
                          ha="center", fontsize=7, color=INK)  # fmt: skip
    promised = 1.0 - content["confidence"]
    axes.axhline(promised, color=INK, linewidth=1, linestyle="--", label=f"promised {promised:.0%}")
    axes.set_yscale("log")
    axes.set_ylim(0.01, 1.5)
    axes.set_yticks([0.01, 0.05, 0.1, 0.5, 1.0], ["1%", "5%", "10%", "50%", "100%"])
    axes.set_xticks(range(len(sizes)), [str(n) for n in sizes])
    axes.set_xlabel("patients with a pneumothorax in a data set")
    axes.legend(frameon=False, fontsize=8, loc="upper left", ncols=2)
    save_png(figure, path)
