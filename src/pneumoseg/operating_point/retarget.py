"""``pneumoseg retarget``: PPV and NPV at other prevalences, and a bundle that fits one of them.

The arithmetic is in :mod:`pneumoseg.statistics.prevalence`; here are the command, where recall and
specificity come from, the picture, and the derived bundle.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pneumoseg.bundle import Bundle, CardFigure, load_bundle
from pneumoseg.calibration import moved_probability, prior_shift, remapped
from pneumoseg.errors import DataError, UsageError
from pneumoseg.operating_point.derived_bundle import derive_bundle, refuse_folder
from pneumoseg.plots import ACCENT, INK, SECOND, new_sheet, save_png
from pneumoseg.settings import at_least, fraction
from pneumoseg.statistics.prevalence import AtPrevalence, Rate, predictive_values
from pneumoseg.storage.result import write_result

RETARGET_FILE = "retarget.json"
RECALL, SPECIFICITY = "recall", "specificity"
_CURVE = tuple(np.geomspace(0.001, 0.5, 60).tolist())


@dataclass(frozen=True)
class RetargetSettings:
    """Settings of ``pneumoseg retarget``."""

    bundle: str = "cxr"
    """Shipped bundle by name, or a bundle's folder: its card's recall and specificity are used."""
    evaluation: Path | None = None
    """evaluation.json of pneumoseg evaluate, to be used in place of the card's figures."""
    prevalences: tuple[float, ...] = (0.01, 0.05, 0.2)
    """Shares of films with pneumothorax to say PPV and NPV for."""
    out: Path = Path("outputs/retarget")
    """Folder for retarget.json and retarget.png."""
    measured_prevalence: float | None = None
    """Prevalence that the bundle's probabilities hold for; from the card's AUROC when not given."""
    derive: Path | None = None
    """Folder of a derived bundle whose probabilities hold for one prevalence."""
    seed: int = 0
    """Seed of the intervals."""

    def __post_init__(self) -> None:
        if not self.prevalences:
            raise UsageError("give one or more prevalences")
        measured = () if self.measured_prevalence is None else (self.measured_prevalence,)
        for prevalence in (*self.prevalences, *measured):
            fraction("a prevalence", prevalence, ends=False)
        if self.derive is not None and len(self.prevalences) != 1:
            raise UsageError(
                "a derived bundle holds for one prevalence; give exactly one, as in "
                "--prevalences 0.05"
            )
        at_least("seed", self.seed, 0)


@dataclass(frozen=True)
class Retarget:
    """What a classifier is worth at other prevalences."""

    bundle: str
    origin: str
    recall: Rate
    specificity: Rate
    rows: tuple[AtPrevalence, ...]
    curve: tuple[AtPrevalence, ...]
    seed: int
    derived: Bundle | None = None

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        rates = {
            name: asdict(rate) | dict(zip(("low", "high"), rate.interval, strict=True))
            for name, rate in ((RECALL, self.recall), (SPECIFICITY, self.specificity))
        }
        return {
            "bundle": self.bundle,
            "measured_on": self.origin,
            "interval": "Jeffreys, 95 %, each patient counted once where patients are known",
            "seed": self.seed,
            **rates,
            "prevalences": [asdict(row) for row in self.rows],
            "curve": [asdict(row) for row in self.curve],
        }


def run_retarget(settings: RetargetSettings) -> Retarget:
    """Work out PPV and NPV at other prevalences; derive a bundle for one of them on request.

    Writes ``retarget.json`` and, from it, ``retarget.png`` into ``settings.out``.

    Raises:
        BundleError: no such bundle, or the derived one cannot be there.
        DataError: recall, specificity or the measured prevalence are not known.
        UsageError: a file cannot be read or written.
    """
    bundle = load_bundle(settings.bundle)
    if settings.derive is not None:
        refuse_folder(bundle, settings.derive)
    recall, specificity, origin = (
        _from_card(bundle)
        if settings.evaluation is None
        else _from_evaluation(settings.evaluation, bundle)
    )
    found = Retarget(
        bundle=f"{bundle.card.name} {bundle.card.version}",
        origin=origin,
        recall=recall,
        specificity=specificity,
        rows=predictive_values(recall, specificity, settings.prevalences, settings.seed),
        curve=predictive_values(recall, specificity, _CURVE, settings.seed),
        seed=settings.seed,
    )
    measured = None
    if settings.derive is not None:
        measured = settings.measured_prevalence or _prevalence_of_card(bundle)
    write_result(settings.out, RETARGET_FILE, found.as_dict(), draw_retarget)
    if settings.derive is None or measured is None:
        return found
    derived = _derive(bundle, settings.derive, measured, found)
    return dataclasses.replace(found, derived=derived)


def retarget_rows(found: Retarget) -> list[tuple[str, ...]]:
    """The requested prevalences as text cells, a header first."""
    rows: list[tuple[str, ...]] = [
        ("prevalence", "PPV", "95 % interval", "NPV", "95 % interval", "suspected")
    ]
    for row in found.rows:
        rows.append(
            (
                f"{row.prevalence:.1%}",
                "not defined" if row.ppv is None else f"{row.ppv:.3f}",
                f"{row.ppv_low:.3f} to {row.ppv_high:.3f}",
                "not defined" if row.npv is None else f"{row.npv:.4f}",
                f"{row.npv_low:.4f} to {row.npv_high:.4f}",
                f"{row.suspected:.1%}",
            )
        )
    return rows


def _from_card(bundle: Bundle) -> tuple[Rate, Rate, str]:
    """Recall and specificity as the card has them."""
    figures = {figure.name: figure for figure in bundle.card.figures}
    rates = []
    for name in (RECALL, SPECIFICITY):
        figure = figures.get(name)
        if figure is None or figure.value is None or not figure.n:
            raise DataError(
                f"the card of {bundle.card.name!r} has no {name}; give an evaluation.json with "
                "--evaluation"
            )
        rates.append(Rate(figure.value, figure.n_patients or figure.n))
    first = figures[RECALL]
    return rates[0], rates[1], f"{first.origin}, {first.split}"


def _from_evaluation(path: Path, bundle: Bundle) -> tuple[Rate, Rate, str]:
    """Recall and specificity out of ``evaluation.json``."""
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
        rates = [
            Rate(float(figure["value"]), int(figure["n_patients"] or figure["n"]))
            for figure in (report["figures"][name] for name in (RECALL, SPECIFICITY))
        ]
        measured = str(report["bundle"])
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{path} has no recall and specificity; expected the evaluation.json that pneumoseg "
            "evaluate wrote for films of both kinds"
        ) from error
    if measured.split()[0:1] != [bundle.card.name]:
        raise DataError(
            f"{path} was measured with the bundle {measured}, not {bundle.card.name}; name that "
            "one with --bundle"
        )
    return rates[0], rates[1], path.name


def _prevalence_of_card(bundle: Bundle) -> float:
    # a derived bundle's probabilities may hold for another prevalence than it was measured at
    for figure in () if bundle.card.parent else bundle.card.figures:
        if figure.name == "AUROC" and 0 < figure.n_positive < figure.n:
            return figure.n_positive / figure.n
    raise DataError(
        f"the card of {bundle.card.name!r} does not say for which prevalence its probabilities "
        "hold; give --measured-prevalence"
    )


def _derive(bundle: Bundle, folder: Path, before: float, found: Retarget) -> Bundle:
    """Probabilities and threshold move together: what is suspected stays suspected.

    So the card's recall and specificity hold for the derived bundle as well.
    """
    row = found.rows[0]
    shift = prior_shift(before, row.prevalence)
    config = bundle.card.config
    threshold = moved_probability(config.classifier_threshold, 1.0, shift)
    kept = [figure for figure in bundle.card.figures if figure.name in (RECALL, SPECIFICITY)]
    n, positives = found.recall.n + found.specificity.n, found.recall.n
    figures = [
        CardFigure(
            name=f"{name} at prevalence {row.prevalence:g}",
            value=value,
            low=low,
            high=high,
            n=n,
            n_positive=positives,
            split="worked out from recall and specificity",
            origin=found.origin,
        )
        for name, value, low, high in (
            ("PPV", row.ppv, row.ppv_low, row.ppv_high),
            ("NPV", row.npv, row.npv_low, row.npv_high),
        )
    ]
    return derive_bundle(
        bundle,
        folder,
        config=dataclasses.replace(config, classifier_threshold=threshold),
        calibration=remapped(bundle.card.calibration, 1.0, shift),
        note=(
            f"Probabilities were shifted from a prevalence of {before:.3g} to {row.prevalence:.3g} "
            f"({shift:+.3f} in log-odds), the classifier threshold with them: the same films are "
            "suspected."
        ),
        figures=(*kept, *figures),
    )


def draw_retarget(report: Mapping[str, Any], path: Path) -> None:
    """Draw PPV and NPV over prevalence, with their intervals, from ``retarget.json``."""
    sheet = new_sheet(6.4, 4.6)
    axes = sheet.add_subplot(1, 1, 1)
    curve = report["curve"]
    across = [row["prevalence"] for row in curve]
    for name, colour in (("ppv", ACCENT), ("npv", SECOND)):
        low, high = ([row[f"{name}_{end}"] for row in curve] for end in ("low", "high"))
        axes.fill_between(across, low, high, color=colour, alpha=0.2, linewidth=0)
        values = [np.nan if row[name] is None else row[name] for row in curve]
        axes.plot(across, values, color=colour, linewidth=2, label=name.upper())
        for row in report["prevalences"]:
            if row[name] is not None:
                axes.plot([row["prevalence"]], [row[name]], "o", color=colour, markersize=5)
    axes.set_xscale("log")
    axes.set_ylim(-0.02, 1.02)
    axes.set_xlabel("prevalence")
    axes.set_ylabel("predictive value")
    recall, specificity = report[RECALL], report[SPECIFICITY]
    axes.set_title(
        f"{report['bundle']}: recall {recall['value']:.3f} (n = {recall['n']}), "
        f"specificity {specificity['value']:.3f} (n = {specificity['n']})",
        fontsize=10,
        color=INK,
    )
    axes.legend(frameon=False, loc="center left")
    save_png(sheet, path)
