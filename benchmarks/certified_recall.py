"""Does the certificate of ``pneumoseg certify`` hold? Many drawn data sets of known recall.

    python -P benchmarks/certified_recall.py [--draws 10000] [--seed 0] [--out FOLDER]

Patients with a pneumothorax are drawn with one film or several; a film's score is its patient's
level plus the film's own deviation, both normal, so films of one patient are alike. The true recall
of any threshold is then known to quadrature, and the share of the draws in which it falls short of
the target can be counted. Three ways to choose the threshold on the drawn films are compared:

- ``certified``: :func:`pneumoseg.statistics.certified.certify_recall`'s rule, patients as units;
- ``films as units``: the same rule with every film counted as if it were a patient;
- ``measured``: the threshold whose recall on the drawn films is the target, nothing added.

The first promises the share of patients all of whose films are found; the other two speak of films.
Each is held against what it speaks of.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from pneumoseg.errors import UsageError
from pneumoseg.metrics import CONFIDENCE
from pneumoseg.plots import ACCENT, FAINT, INK, SECOND, add_axes, new_sheet, save_png
from pneumoseg.settings import TARGET_RECALL
from pneumoseg.statistics.proportions import clopper_pearson
from pneumoseg.statistics.recall_bounds import allowed_misses
from pneumoseg.storage.result import write_result

RESULTS = Path(__file__).parent / "results" / "certified_recall"
RESULT = "simulation.json"

FILMS_PER_PATIENT = (0.75, 0.15, 0.06, 0.04)
"""Share of patients with one, two, three, four positive films; like the SIIM-ACR films at hand."""
BETWEEN_PATIENTS, WITHIN_PATIENT = 1.0, 0.5
"""Standard deviations of the patients' levels and of a patient's films: films of one are alike."""
PATIENTS = (59, 93, 160, 534)
"""How many patients with a pneumothorax are drawn: the fewest for no miss and for one, and more."""
CERTIFIED, FILMS_AS_UNITS, MEASURED = "certified", "films as units", "measured"
_AT_ONCE = 1000
"""Draws held in memory together."""
_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(80)


@dataclass(frozen=True)
class Shortfall:
    """How often a way to choose the threshold falls short of what it promises.

    ``low`` and ``high`` bound the share with 95 % confidence (Clopper-Pearson over the draws);
    ``mean_recall`` is the true recall on average.
    """

    rule: str
    patients: int
    draws: int
    share: float
    low: float
    high: float
    mean_recall: float


def simulate_certificate(
    draws: int,
    rng: np.random.Generator,
    *,
    patients: tuple[int, ...] = PATIENTS,
    target: float = TARGET_RECALL,
    confidence: float = CONFIDENCE,
) -> tuple[Shortfall, ...]:
    """Draw data sets, choose thresholds, count how often the true recall falls short.

    Args:
        draws: data sets drawn for each number of patients.
        rng: source of the draws.
        patients: numbers of patients with a pneumothorax in a data set.
        target: recall promised.
        confidence: of the promise.

    Raises:
        UsageError: no draws, or a number of patients that can certify nothing.
    """
    if draws < 1:
        raise UsageError(f"expected 1 draw or more, got {draws}")
    found = []
    for n in patients:
        k = allowed_misses(n, target, confidence)
        if k is None:
            raise UsageError(f"{n} patients certify nothing at recall {target:g}; draw more")
        recalls: dict[str, list[NDArray[np.float64]]] = {}
        for start in range(0, draws, _AT_ONCE):
            scores = draw_scores(min(_AT_ONCE, draws - start), n, rng)
            lowest = np.sort(scores.min(axis=2), axis=1)  # (draws, patients)
            films = np.sort(scores.reshape(len(scores), -1), axis=1)  # (draws, films), inf last
            count = np.isfinite(films).sum(axis=1)
            counted = {
                CERTIFIED: patient_recall(lowest[:, k]),
                FILMS_AS_UNITS: film_recall(_pick(films, _allowed(count, target, confidence))),
                MEASURED: film_recall(_pick(films, count - _needed(count, target))),
            }
            for rule, recall in counted.items():
                recalls.setdefault(rule, []).append(recall)
        found += [_shortfall(rule, n, np.concatenate(r), target) for rule, r in recalls.items()]
    return tuple(found)


def draw_scores(draws: int, patients: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Scores (draws, patients, films), infinite where a patient has fewer films than the most."""
    most = len(FILMS_PER_PATIENT)
    films = rng.choice(most, size=(draws, patients), p=FILMS_PER_PATIENT) + 1
    level = rng.normal(0.0, BETWEEN_PATIENTS, (draws, patients, 1))
    scores = level + rng.normal(0.0, WITHIN_PATIENT, (draws, patients, most))
    return np.where(np.arange(most) < films[..., None], scores, np.inf)


def patient_recall(threshold: NDArray[np.float64]) -> NDArray[np.float64]:
    """True share of patients all of whose films reach a threshold, (n,) to (n,).

    The integral over the patients' levels is taken by Gauss-Hermite quadrature.
    """
    above = (BETWEEN_PATIENTS * _NODES[None, :] - threshold[:, None]) / WITHIN_PATIENT
    reach = special.ndtr(above)  # (n, nodes): one film of a patient of that level
    every = sum(share * reach**m for m, share in enumerate(FILMS_PER_PATIENT, start=1))
    return np.asarray(every @ _WEIGHTS / _WEIGHTS.sum(), dtype=np.float64)


def film_recall(threshold: NDArray[np.float64]) -> NDArray[np.float64]:
    """True share of films that reach a threshold, (n,) to (n,)."""
    spread = np.hypot(BETWEEN_PATIENTS, WITHIN_PATIENT)
    return np.asarray(special.ndtr(-threshold / spread), dtype=np.float64)


def as_json(found: tuple[Shortfall, ...], *, target: float, confidence: float) -> dict[str, Any]:
    """The result with what was drawn, as plain values."""
    return {
        "target": target,
        "confidence": confidence,
        "films_per_patient": list(FILMS_PER_PATIENT),
        "deviation_between_patients": BETWEEN_PATIENTS,
        "deviation_within_patient": WITHIN_PATIENT,
        "shortfalls": [asdict(row) for row in found],
    }


def _allowed(count: NDArray[np.int64], target: float, confidence: float) -> NDArray[np.int64]:
    """Allowed misses for each number of films."""
    table = {int(n): allowed_misses(int(n), target, confidence) or 0 for n in np.unique(count)}
    return np.array([table[int(n)] for n in count], dtype=np.int64)


def _needed(count: NDArray[np.int64], target: float) -> NDArray[np.int64]:
    """Fewest films to find for the measured recall to be the target."""
    return np.asarray(np.ceil(target * count - 1e-9), dtype=np.int64)


def _pick(ascending: NDArray[np.float64], place: NDArray[np.int64]) -> NDArray[np.float64]:
    """Of each row the value at its place."""
    return np.asarray(np.take_along_axis(ascending, place[:, None], axis=1)[:, 0])


def _shortfall(rule: str, patients: int, recall: NDArray[np.float64], target: float) -> Shortfall:
    draws = recall.size
    short = int(np.count_nonzero(recall < target))
    low, high = clopper_pearson(short, draws)
    return Shortfall(
        rule=rule,
        patients=patients,
        draws=draws,
        share=short / draws,
        low=low,
        high=high,
        mean_recall=float(recall.mean()),
    )


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


def main(words: Sequence[str] | None = None) -> None:
    """Draw, count, write the JSON and its picture, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--draws", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=RESULTS)
    given = parser.parse_args(words)
    found = simulate_certificate(given.draws, np.random.default_rng(given.seed))
    document = as_json(found, target=TARGET_RECALL, confidence=CONFIDENCE) | {"seed": given.seed}
    write_result(given.out, RESULT, document, draw_simulation)
    for row in found:
        print(
            f"{row.rule:14}  {row.patients:3} patients  falls short {row.share:6.2%} "
            f"({row.low:.2%} to {row.high:.2%})  mean recall {row.mean_recall:.3f}"
        )


if __name__ == "__main__":
    main()
