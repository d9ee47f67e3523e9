"""PPV, NPV and shifted probabilities by hand; the command and the bundle it derives."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy import special, stats

from pneumoseg.bundle import Bundle, CardFigure
from pneumoseg.calibration import Calibration, moved_probability, prior_shift, remapped
from pneumoseg.errors import BundleError, DataError, UsageError
from pneumoseg.operating_point.retarget import RetargetSettings, retarget_rows, run_retarget
from pneumoseg.settings import PipelineConfig
from pneumoseg.statistics.prevalence import Rate, predictive_values
from tiny_bundle import write_tiny_bundle

ISOTONIC = Calibration("isotonic", knots_logit=(-1.0, 0.0, 2.0), knots_probability=(0.0, 0.5, 0.9))


def test_predictive_values_by_hand() -> None:
    (row,) = predictive_values(Rate(0.9, 100), Rate(0.8, 200), (0.1,))
    assert row.ppv == pytest.approx(0.09 / 0.27)
    assert row.npv == pytest.approx(0.72 / 0.73)
    assert row.suspected == pytest.approx(0.27)
    assert row.ppv_low < 1 / 3 < row.ppv_high
    (rare,) = predictive_values(Rate(0.9, 100), Rate(0.8, 200), (0.01,))
    assert rare.ppv == pytest.approx(0.009 / 0.207)


def test_nothing_suspected_has_no_ppv() -> None:
    (row,) = predictive_values(Rate(0.0, 10), Rate(1.0, 10), (0.2,))
    assert row.ppv is None
    assert row.npv == pytest.approx(0.8)


def test_the_interval_of_a_rate() -> None:
    low, high = Rate(1.0, 10).interval
    assert low == pytest.approx(stats.beta.ppf(0.025, 10.5, 0.5))
    assert high == 1.0
    assert Rate(0.0, 10).interval[0] == 0.0


def test_the_interval_covers_the_truth() -> None:
    """95 % intervals of the PPV must hold the true one about 95 times of 100."""
    rng, held = np.random.default_rng(0), 0
    true = 0.1 * 0.9 / (0.1 * 0.9 + 0.9 * 0.2)
    for k in range(200):
        rates = Rate(rng.binomial(60, 0.9) / 60, 60), Rate(rng.binomial(200, 0.8) / 200, 200)
        (row,) = predictive_values(*rates, (0.1,), seed=k)
        held += row.ppv_low <= true <= row.ppv_high
    assert 0.91 <= held / 200 <= 0.99


@pytest.mark.parametrize(
    "calibration", [Calibration(), Calibration("temperature", 2.0, -1.0), ISOTONIC]
)
def test_log_odds_are_remapped(calibration: Calibration) -> None:
    logits = np.array([-1.0, 0.0, 2.0])
    before = calibration.apply(logits)
    after = remapped(calibration, 1.5, -0.7).apply(logits)
    inner = (before > 0) & (before < 1)
    expected = special.expit(1.5 * special.logit(before[inner]) - 0.7)
    assert after[inner] == pytest.approx(expected)
    assert moved_probability(float(before[1]), 1.5, -0.7) == pytest.approx(after[1])
    assert (moved_probability(0.0, 1.5, 1.0), moved_probability(1.0, 1.5, 1.0)) == (0.0, 1.0)


def test_a_shift_brings_the_mean_probability_to_the_new_prevalence() -> None:
    """Bayes: a calibrated probability at 0.5, moved to 0.2, is calibrated at 0.2."""
    rng = np.random.default_rng(0)
    score = np.concatenate([rng.normal(1, 1, 40000), rng.normal(-1, 1, 160000)])
    at_half = special.expit(2 * score)  # exact for these two normals at equal numbers
    moved = special.expit(special.logit(at_half) + prior_shift(0.5, 0.2))
    assert moved.mean() == pytest.approx(0.2, abs=0.003)


def figure(name: str, value: float, n: int, positive: int, patients: int | None) -> CardFigure:
    return CardFigure(
        name=name, value=value, n=n, n_positive=positive, n_patients=patients, split="test",
        origin="here",
    )  # fmt: skip


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return write_tiny_bundle(
        tmp_path / "parent",
        config=PipelineConfig(0.3),
        figures=(
            figure("AUROC", 0.9, 100, 20, 90),
            figure("recall", 0.95, 20, 20, 18),
            figure("specificity", 0.5, 80, 0, None),
        ),
    )


def test_the_card_is_retargeted(bundle: Bundle, tmp_path: Path) -> None:
    done = run_retarget(
        RetargetSettings(bundle=str(bundle.folder), prevalences=(0.2, 0.01), out=tmp_path / "out")
    )
    assert (done.recall.n, done.specificity.n) == (18, 80), "patients where they are known"
    assert done.rows[0].ppv == pytest.approx(0.19 / 0.59)
    report = json.loads((tmp_path / "out" / "retarget.json").read_text())
    assert report["recall"]["value"] == 0.95
    assert len(report["curve"]) == 60
    assert (tmp_path / "out" / "retarget.png").is_file()
    assert retarget_rows(done)[1][:2] == ("20.0%", "0.322")


def test_a_derived_bundle_suspects_the_same_films(bundle: Bundle, tmp_path: Path) -> None:
    done = run_retarget(
        RetargetSettings(
            bundle=str(bundle.folder), prevalences=(0.01,), out=tmp_path / "out",
            derive=tmp_path / "rare",
        )
    )  # fmt: skip
    assert done.derived is not None
    before, after = bundle.card, done.derived.card
    logits = np.linspace(-9, 9, 1001)
    was = before.calibration.apply(logits) >= before.config.classifier_threshold
    now = after.calibration.apply(logits) >= after.config.classifier_threshold
    assert (was == now).all()
    # 20 of 100 is where the card was measured
    assert after.calibration.bias == pytest.approx(special.logit(0.01) - special.logit(0.2))
    assert [f.name for f in after.figures][1:] == [
        "recall",  # the decisions are the parent's, and so are these two
        "specificity",
        "PPV at prevalence 0.01",
        "NPV at prevalence 0.01",
    ]
    again = RetargetSettings(
        bundle=str(tmp_path / "rare"), prevalences=(0.1,), derive=tmp_path / "x", out=tmp_path / "o"
    )
    with pytest.raises(DataError, match="--measured-prevalence"):
        run_retarget(again)


def test_the_measured_prevalence_of_a_derived_bundle_is_not_guessed(
    bundle: Bundle, tmp_path: Path
) -> None:
    child = write_tiny_bundle(tmp_path / "child", figures=bundle.card.figures, parent="p 1 0")
    settings = RetargetSettings(
        bundle=str(child.folder), prevalences=(0.1,), derive=tmp_path / "x", out=tmp_path / "out"
    )
    with pytest.raises(DataError, match="--measured-prevalence"):
        run_retarget(settings)
    assert not (tmp_path / "out").exists(), "nothing is written when the call is wrong"
    with pytest.raises(BundleError, match="parent bundle itself"):
        run_retarget(
            RetargetSettings(bundle=str(child.folder), prevalences=(0.1,), derive=child.folder)
        )


def test_an_evaluation_takes_the_cards_place(bundle: Bundle, tmp_path: Path) -> None:
    path = tmp_path / "evaluation.json"
    rates = {
        "recall": {"value": 0.5, "n": 10, "n_patients": None},
        "specificity": {"value": 1.0, "n": 40, "n_patients": 30},
    }
    path.write_text(json.dumps({"bundle": "tiny 1.2", "figures": rates}))
    settings = {"bundle": str(bundle.folder), "evaluation": path, "out": tmp_path / "out"}
    done = run_retarget(RetargetSettings(**settings))  # type: ignore[arg-type]
    assert (done.recall, done.specificity) == (Rate(0.5, 10), Rate(1.0, 30))
    path.write_text(json.dumps({"bundle": "other 1", "figures": rates}))
    with pytest.raises(DataError, match="measured with the bundle other 1"):
        run_retarget(RetargetSettings(**settings))  # type: ignore[arg-type]
    path.write_text("{}")
    with pytest.raises(DataError, match="no recall and specificity"):
        run_retarget(RetargetSettings(**settings))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"prevalences": ()}, "one or more"),
        ({"prevalences": (1.0,)}, "above 0 and below 1"),
        ({"measured_prevalence": 0.0}, "above 0 and below 1"),
        ({"derive": Path("x")}, "exactly one"),
    ],
)
def test_wrong_settings_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        RetargetSettings(**changes)  # type: ignore[arg-type]
