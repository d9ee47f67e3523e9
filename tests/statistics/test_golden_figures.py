"""Every seeded figure, as it was recorded: a change of method may not move a digit unseen.

``golden_figures.json`` holds full float64 values. Record it anew, knowing why, with
``python tests/statistics/test_golden_figures.py``.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any
from unittest import mock

import numpy as np
import pytest

if __name__ == "__main__":
    sys.path[:0] = [str(Path(__file__).parents[1] / name) for name in (".", "evaluation")]

from pneumoseg import calibration, metrics
from pneumoseg.bundle import load_bundle
from pneumoseg.doctor.origin import TracedFilm, trace_figures
from pneumoseg.evaluation.run import EvaluateSettings, run_evaluate
from pneumoseg.operating_point import recalibration
from pneumoseg.operating_point.detectable_size import seen_sizes
from pneumoseg.operating_point.joint_search import FilmOutcomes, outer_folds
from pneumoseg.operating_point.out_of_fold import outcome_figures
from pneumoseg.operating_point.recalibration_fit import (
    LocalScores,
    cross_validate,
    fit_shrunk,
    local_threshold,
)
from pneumoseg.preprocess import GRID_SIZE
from pneumoseg.statistics import prevalence, recall_bounds
from pneumoseg.statistics.paired import FilmEstimator
from pneumoseg.statistics.proportions import clopper_pearson_lower, wilson
from pneumoseg.statistics.surface_distance import surface_distance
from pneumoseg.training import measure_films, measure_volumes
from pneumoseg.training.measure_volumes import MeasuredVolume

sys.path.append(str(Path(__file__).parents[1] / "evaluation"))
from report_run import box, write_run  # noqa: E402

from tiny_bundle import write_tiny_bundle  # noqa: E402

RECORD = Path(__file__).with_name("golden_figures.json")
N = 120
FITTED = 1e-9
"""Of what an optimiser found: another machine's linear algebra may take another step."""
EXACT = 1e-12


class _Made:
    """Seeded films: 70 patients, heavily tied scores, about a third positive."""

    def __init__(self) -> None:
        rng = np.random.default_rng(11)
        self.patient = np.array([f"p{k}" for k in rng.integers(0, 70, N)])
        self.label = rng.random(N) < 0.35
        self.logit = np.round(rng.normal(-1.0, 1.0, N) + 1.5 * self.label, 1)
        self.other = np.round(self.logit + rng.normal(0.1, 0.5, N), 2)
        self.score = 1 / (1 + np.exp(-self.logit))
        self.predicted = self.score >= 0.4
        self.dice = np.where(self.label, rng.random(N) * self.predicted, ~self.predicted)


def _metrics() -> dict[str, Any]:
    films = _Made()
    curve = metrics.roc_curve(films.score, films.label)
    assert curve is not None
    statistics: dict[str, Callable[[np.ndarray], float | None]] = {
        "auroc": lambda i: metrics.auroc(films.score[i], films.label[i]),
        "f2": lambda i: metrics.f2(films.predicted[i], films.label[i]),
        "lesion Dice": lambda i: metrics.lesion_dice(films.dice[i], films.label[i]),
        "SIIM mean Dice": lambda i: metrics.siim_mean_dice(films.dice[i]),
    }
    found: dict[str, Any] = {
        "confusion": metrics.confusion(films.predicted, films.label).as_dict(),
        "roc": [curve.false_positive_rate.sum(), curve.true_positive_rate.sum()],
    }
    for name, statistic in statistics.items():
        rng = np.random.default_rng(5)
        patients = metrics.bootstrap_by_patient(statistic, films.patient, rng, 60)
        images = metrics.bootstrap_by_patient(statistic, None, rng, 60, n=N)
        found[name] = [statistic(np.arange(N)), asdict(patients), asdict(images)]
    apart = surface_distance(box(8, 40, 20, 10), box(10, 38, 25, 9), (0.5, 0.7))
    assert apart is not None
    return found | {"surface": asdict(apart)}


def _proportions() -> dict[str, Any]:
    pairs = [(0, 7), (1, 7), (7, 7), (52, 60), (311, 400)]
    values = prevalence.predictive_values(
        prevalence.Rate(0.93, 57), prevalence.Rate(1.0, 80), [0.01, 0.2]
    )
    return {
        "wilson": [wilson(*pair) for pair in pairs],
        "Jeffreys": [prevalence.Rate(found / n, n).interval for found, n in pairs],
        "Clopper-Pearson": [clopper_pearson_lower(*pair) for pair in pairs],
        "misses": [recall_bounds.allowed_misses(n) for n in (58, 59, 93, 534)],
        "positives": [recall_bounds.fewest_positives(k) for k in (0, 1, 7)],
        "predictive": [asdict(row) for row in values],
    }


def _fits() -> dict[str, Any]:
    films = _Made()
    rng = np.random.default_rng(3)
    chosen, losses = calibration.choose_calibration(films.logit, films.label, films.patient, rng)
    local = LocalScores(films.logit, films.label, films.patient)
    held_out, suspected = cross_validate(films.logit, local, 0.9, seed=2)
    area = np.exp(rng.normal(5, 1, N))
    seen = rng.random(N) < 1 / (1 + np.exp(-(np.log(area) - 5)))
    sizes = seen_sizes(area, seen, films.patient, "px", np.random.default_rng(1), 50)
    return {
        "temperature": asdict(calibration.fit_temperature(films.logit, films.label)),
        "isotonic": asdict(calibration.fit_isotonic(films.logit, films.label)),
        "chosen": [asdict(chosen), losses],
        "threshold": calibration.threshold_for_recall(films.score, films.label, 0.9),
        "shrunk": fit_shrunk(films.logit, films.label),
        "cross-validated": [held_out.tolist(), suspected.tolist()],
        "local": local_threshold(films.score, films.label, films.patient, 0.9).as_dict(),
        "sizes": asdict(sizes),
        "folds": np.asarray(
            outer_folds(films.label, films.patient, np.random.default_rng(4), 4)
        ).tolist(),
    }


def _doctor() -> list[dict[str, Any]]:
    rng = np.random.default_rng(8)
    label, side = rng.random(220) < 0.5, rng.random(220) < 0.5
    traces = rng.normal(size=(220, 6)) + 0.5 * side[:, None] * (np.arange(6) < 2)
    films = [
        TracedFilm(traces[k], f"p{k // 2}", bool(label[k]), "old" if side[k] else "new")
        for k in range(220)
    ]
    return [figure.as_dict() for figure in trace_figures(films, ("old", "new"), seed=6)]


def _audits() -> list[dict[str, Any]]:
    films = _Made()
    by_film = FilmEstimator(films.label, films.patient, seed=9, repeats=60)
    figures = [
        by_film.mean("mean", films.logit),
        by_film.mean("mean of positives", films.other - films.logit, films.label),
        by_film.mean("nothing", films.logit, np.zeros(N, dtype=bool)),
        by_film.auroc("auroc", films.logit),
        by_film.auroc("auroc of some", films.logit, films.other > -1),
        by_film.auroc_change("change", films.other, films.logit),
        by_film.separability("telling", films.other, films.logit),
    ]
    return [asdict(figure) for figure in figures]


def _out_of_fold() -> list[dict[str, Any]]:
    films = _Made()
    seen = films.dice > 0.3
    outcome = FilmOutcomes(films.predicted, films.predicted, seen, films.dice, films.dice * 900)
    about = SimpleNamespace(
        label=films.label, patient=films.patient, small=films.label & (films.dice > 0.5)
    )
    return [asdict(figure) for figure in outcome_figures(outcome, about, 3, 60)]  # type: ignore[arg-type]


def _evaluation(folder: Path) -> dict[str, Any]:
    made = write_run(folder, spacing_mm=[0.5, 0.7])
    settings = EvaluateSettings(**made, report=True, repeats=60)
    run_evaluate(settings)
    report = settings.folder / "report" / "report.json"
    return {
        "evaluation": json.loads((settings.folder / "evaluation.json").read_text("utf-8")),
        "report": json.loads(report.read_text("utf-8")),
    }


def _recalibration(folder: Path) -> dict[str, Any]:
    films = _Made()
    parent = write_tiny_bundle(folder / "parent")
    settings = recalibration.RecalibrateSettings(
        images=folder, labels=folder, bundle=str(parent.folder), out=folder / "new", repeats=60
    )
    local = LocalScores(films.logit, films.label, films.patient)
    with mock.patch.object(recalibration, "score_local", lambda *_: local):
        done = recalibration.run_recalibrate(settings)
    card = load_bundle(done.bundle.folder).card
    return done.report.as_dict() | {"card": [asdict(figure) for figure in card.figures]}


def _films() -> list[dict[str, Any]]:
    """The card's figures of films, with made answers instead of two cascades."""
    films, rng = _Made(), np.random.default_rng(2)
    truth = np.zeros((N, 8, 8), dtype=np.bool_)
    truth[:, 2:5, 2:5] = films.label[:, None, None]
    masks = truth & (rng.random(truth.shape) < 0.8) & films.predicted[:, None, None]
    reference = masks | ((rng.random(truth.shape) < 0.01) & films.predicted[:, None, None])
    whole = np.zeros((N, GRID_SIZE, GRID_SIZE), dtype=np.bool_)
    whole[:, :8, :8] = truth
    for k in range(N):  # lesions of all sizes
        whole[k, :8, : 8 + 2 * k] |= bool(films.label[k])
    cache = SimpleNamespace(
        part=lambda _: np.arange(N),
        labels=films.label.astype(int),
        masks=whole,
        patients=films.patient,
        rows=[SimpleNamespace(view=("PA", "AP", "")[k % 3], rows=512, cols=400) for k in range(N)],
    )
    answers = iter(
        [
            (films.score, films.predicted, _padded(masks)),
            (films.score, films.predicted, _padded(masks)),  # at the leaderboard point
            (films.score, films.other >= -0.4, _padded(reference)),
        ]
    )
    with (
        mock.patch.object(measure_films, "_predict", lambda *_: next(answers)),
        mock.patch.object(measure_films.Cascade, "load"),
    ):
        figures = measure_films.measure(
            Path(),
            Path(),
            cache,
            origin="made",
            seed=4,  # type: ignore[arg-type]
        )
    later = {"SIIM mean Dice, leaderboard point", "SIIM mean Dice of an all-empty submission"}
    assert later <= {figure.name for figure in figures}
    return [asdict(figure) for figure in figures if figure.name not in later]


def _padded(masks: np.ndarray) -> np.ndarray:
    whole = np.zeros((len(masks), GRID_SIZE, GRID_SIZE), dtype=np.bool_)
    whole[:, :8, :8] = masks
    return whole


def _volumes() -> list[dict[str, Any]]:
    rng, volumes = np.random.default_rng(7), []
    for k in range(14):
        positive = np.repeat([bool(k % 2), False], 5)
        probability = np.round(np.clip(rng.normal(0.3 + 0.3 * positive, 0.2), 0, 1), 2)
        true = float(k % 2 * rng.integers(20, 200))
        outlined = bool(probability.max() > 0.5)
        # by place: the names of the fields are not what is recorded
        volumes.append(
            MeasuredVolume(
                "made", f"a{k // 2}", f"v{k}", probability, probability >= 0.5, positive,
                rng.random(10) < 0.9, float(rng.random()) if k % 2 else float(not outlined),
                outlined, bool(k % 2), true * 0.9 + 3 if outlined else 0.0, true,
            )
        )  # fmt: skip
    figures = measure_volumes.source_figures(volumes, origin="made", seed=5)
    return [asdict(figure) for figure in figures]


def compute(folder: Path) -> dict[str, Any]:
    """All figures as plain values."""
    found = {
        "metrics": _metrics(),
        "proportions": _proportions(),
        "fits": _fits(),
        "doctor": _doctor(),
        "audits": _audits(),
        "out of fold": _out_of_fold(),
        "evaluation": _evaluation(folder / "evaluation"),
        "recalibration": _recalibration(folder / "recalibration"),
        "films": _films(),
        "volumes": _volumes(),
    }
    plain: dict[str, Any] = json.loads(json.dumps(found, default=float))
    return plain


def flat(value: Any, place: str = "") -> dict[str, Any]:
    """Every leaf by its place."""
    if isinstance(value, Mapping):
        inside = value.items()
    elif isinstance(value, list):
        inside = enumerate(value)
    else:
        return {place: value}
    return {k: v for key, each in inside for k, v in flat(each, f"{place}/{key}").items()}


@pytest.fixture(scope="module")
def computed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return compute(tmp_path_factory.mktemp("golden"))


RECORDED = json.loads(RECORD.read_text("utf-8")) if RECORD.is_file() else {}


@pytest.mark.parametrize("what", list(RECORDED))
def test_no_seeded_figure_moves(what: str, computed: dict[str, Any]) -> None:
    """Fails if a card, a report or an interval would say something else for the same seed."""
    found, recorded = flat(computed[what]), flat(RECORDED[what])
    assert found.keys() == recorded.keys()
    near = FITTED if what in ("fits", "recalibration") else EXACT
    moved = {
        place: (value, found[place])
        for place, value in recorded.items()
        if found[place] != (pytest.approx(value, rel=near, abs=near) if _is_float(value) else value)
    }
    assert moved == {}


def _is_float(value: Any) -> bool:
    return isinstance(value, float)


def test_the_record_is_not_empty() -> None:
    values = [value for value in flat(RECORDED).values() if _is_float(value)]
    assert len(RECORDED) == 10 and len(values) > 900


if __name__ == "__main__":
    with TemporaryDirectory() as temporary:
        result = compute(Path(temporary))
    RECORD.write_text(json.dumps(result, indent=0, ensure_ascii=False) + "\n", "utf-8")
