"""Probabilities and operating points, against hand computation and scikit-learn."""

import logging

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import expit, logit
from sklearn.isotonic import IsotonicRegression

from pneumoseg import calibration
from pneumoseg.calibration import Calibration, threshold_for_recall
from pneumoseg.errors import DataError


def _sample(n: int, slope: float, bias: float, seed: int = 0) -> tuple[NDArray, NDArray]:
    """Logits z and labels with P(positive) = sigmoid(slope * z + bias)."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0.0, 2.0, size=n)
    return logits, rng.random(n) < expit(slope * logits + bias)


def test_none_is_the_sigmoid_and_temperature_its_stretch() -> None:
    assert Calibration().apply([0.0, np.log(3.0)]).tolist() == pytest.approx([0.5, 0.75])
    half = Calibration("temperature", temperature=2.0, bias=-1.0)
    # 2 / 2 - 1 = 0
    assert half.apply(np.float32([2.0])).tolist() == [0.5]
    assert half.apply(np.zeros((2, 3))).shape == (2, 3)
    assert half.apply([0.0]).dtype == np.float64
    assert Calibration().apply([-2000.0, 2000.0]).tolist() == [0.0, 1.0]


def test_isotonic_joins_its_knots_and_is_flat_beyond() -> None:
    steps = Calibration("isotonic", knots_logit=(0.0, 2.0), knots_probability=(0.1, 0.5))
    assert steps.apply([-9.0, 0.0, 1.0, 9.0]).tolist() == pytest.approx([0.1, 0.1, 0.3, 0.5])


@pytest.mark.parametrize(
    "wrong",
    [
        {"method": "magic"},
        {"method": "temperature", "temperature": 0.0},
        {"method": "temperature", "bias": float("nan")},
        {"method": "isotonic"},
        {"method": "isotonic", "knots_logit": (0.0, 0.0), "knots_probability": (0.1, 0.2)},
        {"method": "isotonic", "knots_logit": (0.0, 1.0), "knots_probability": (0.3, 0.2)},
        {"method": "isotonic", "knots_logit": (0.0,), "knots_probability": (float("nan"),)},
    ],
)
def test_a_damaged_calibration_is_refused(wrong: dict) -> None:
    """Fails if a card's calibration that is not monotone or not finite were used."""
    with pytest.raises(DataError):
        Calibration(**wrong)


def test_temperature_and_bias_are_recovered() -> None:
    """Fails if either parameter were not fitted: truth is slope 0.5 (temperature 2), bias -1."""
    fitted = calibration.fit_temperature(*_sample(20_000, 0.5, -1.0))
    assert fitted.method == "temperature"
    assert 1.0 / fitted.temperature == pytest.approx(0.5, abs=0.03)
    assert fitted.bias == pytest.approx(-1.0, abs=0.06)


def test_a_shifted_prior_is_undone() -> None:
    """Fails without the bias: the mean probability must equal the prevalence after the fit."""
    logits, labels = _sample(4000, 1.0, -2.5)
    fitted = calibration.fit_temperature(logits, labels)
    assert Calibration().apply(logits).mean() > labels.mean() + 0.25
    assert fitted.apply(logits).mean() == pytest.approx(labels.mean(), abs=0.002)


def test_platt_targets_keep_a_perfect_split_finite() -> None:
    """Fails if separable data drove the slope to its limit: two of each end at 3/4 and 1/4."""
    fitted = calibration.fit_temperature([-1.0, -1.0, 1.0, 1.0], [False, False, True, True])
    assert fitted.apply([-1.0, 1.0]).tolist() == pytest.approx([0.25, 0.75], abs=1e-4)
    assert 1.0 / fitted.temperature == pytest.approx(logit(0.75), abs=1e-3)


def test_logits_that_fall_with_the_label_stay_monotone(caplog: pytest.LogCaptureFixture) -> None:
    """Fails if a bad classifier were turned upside down in silence."""
    logits, labels = _sample(500, -1.0, 0.0)
    with caplog.at_level(logging.WARNING):
        fitted = calibration.fit_temperature(logits, labels)
    assert fitted.temperature == pytest.approx(100.0)
    assert "do not rise" in caplog.text


def test_isotonic_agrees_with_scikit_learn() -> None:
    """Fails if pooling, ties or the reduced knots were wrong."""
    logits, labels = _sample(400, 1.0, -0.5)
    logits = np.round(logits, 1)
    fitted = calibration.fit_isotonic(logits, labels)
    positives = int(labels.sum())
    low, high = 1 / (400 - positives + 2), (positives + 1) / (positives + 2)
    peer = IsotonicRegression(y_min=low, y_max=high, out_of_bounds="clip").fit(logits, labels)
    places = np.linspace(-9, 9, 500)
    np.testing.assert_allclose(fitted.apply(places), peer.predict(places), atol=1e-9)
    assert len(fitted.knots_logit) < np.unique(logits).size


def test_isotonic_by_hand() -> None:
    """0 1 0 1 pools the middle pair to one half; Platt's targets hold the ends at 1/4 and 3/4."""
    fitted = calibration.fit_isotonic([1.0, 2.0, 3.0, 4.0], [False, True, False, True])
    assert fitted.knots_logit == (1.0, 2.0, 3.0, 4.0)
    assert fitted.knots_probability == pytest.approx((0.25, 0.5, 0.5, 0.75))


@pytest.mark.parametrize("fit", [calibration.fit_temperature, calibration.fit_isotonic])
def test_one_class_cannot_be_calibrated(fit) -> None:
    with pytest.raises(DataError, match="positive and negative images, got 2 positive of 2"):
        fit([0.0, 1.0], [True, True])
    with pytest.raises(DataError, match="finite"):
        fit([np.inf, 1.0], [True, False])


def test_a_step_shaped_truth_chooses_isotonic_and_a_smooth_one_temperature() -> None:
    """Fails if the choice were not made by held-out log loss."""
    rng = np.random.default_rng(3)
    logits = rng.normal(0.0, 2.0, size=3000)
    steps = rng.random(3000) < np.where(np.abs(logits) < 2.0, 0.3, np.where(logits > 0, 0.6, 0.28))
    chosen, losses = calibration.choose_calibration(logits, steps, None, rng)
    assert chosen.method == "isotonic"
    assert losses["isotonic"] < losses["temperature"]
    chosen, losses = calibration.choose_calibration(*_sample(300, 1.0, -1.0), None, rng)
    assert chosen.method == "temperature"
    assert losses["temperature"] < losses["isotonic"]


def test_few_patients_choose_temperature() -> None:
    """Fails if folds were split by image: 40 images of 4 patients are too few for five folds."""
    logits, labels = _sample(40, 1.0, 0.0)
    chosen, losses = calibration.choose_calibration(
        logits, labels, np.arange(40) % 4, np.random.default_rng(0)
    )
    assert chosen == calibration.fit_temperature(logits, labels)
    assert losses == {}


def test_threshold_for_recall_by_hand() -> None:
    """Fails if the threshold were not the largest that keeps the recall, moved half a step down."""
    probabilities = [0.9, 0.8, 0.7, 0.2, 0.5, 0.1]
    labels = [True, True, True, True, False, False]
    assert threshold_for_recall(probabilities, labels, 0.75) == pytest.approx(0.6)
    assert threshold_for_recall(probabilities, labels, 0.76) == pytest.approx(0.15)
    assert threshold_for_recall(probabilities, labels, 0.1) == pytest.approx(0.85)
    assert threshold_for_recall([0.4], [True], 1.0) == pytest.approx(0.2)
    assert threshold_for_recall([0.0, 0.5], [True, False], 1.0) == 0.0


def test_ninety_five_percent_of_twenty_is_nineteen() -> None:
    """Fails if rounding in 0.95 * 20 asked for all twenty."""
    probabilities = np.linspace(0.05, 1.0, 20)
    assert threshold_for_recall(probabilities, np.ones(20, bool)) == pytest.approx(0.075)


def test_ties_at_the_threshold_are_all_suspected() -> None:
    probabilities, labels = np.array([0.6, 0.6, 0.6, 0.3]), np.array([True, True, False, False])
    threshold = threshold_for_recall(probabilities, labels, 0.5)
    assert threshold == pytest.approx(0.45)
    assert (probabilities >= threshold).tolist() == [True, True, True, False]


def test_a_recall_that_cannot_be_had_is_refused() -> None:
    with pytest.raises(DataError, match="no positive image"):
        threshold_for_recall([0.1], [False])
    with pytest.raises(DataError, match="above 0 and at most 1"):
        threshold_for_recall([0.1], [True], 1.5)


def test_log_loss_by_hand() -> None:
    assert calibration.log_loss([0.5, 0.25], [True, False]) == pytest.approx(
        (np.log(2) - np.log(0.75)) / 2
    )
    assert np.isfinite(calibration.log_loss([0.0], [True]))
