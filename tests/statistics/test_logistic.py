"""The three logistic fits against what defines them: a gradient of zero, and scikit-learn."""

import numpy as np
import pytest
from scipy.special import expit
from sklearn.linear_model import LogisticRegression

from pneumoseg.statistics.logistic import fit_line, fit_line_near_identity, fit_ridge

RNG = np.random.default_rng(5)
X = RNG.normal(size=(300, 3))
LABEL = RNG.random(300) < expit(X @ [1.0, -0.5, 0.0] - 0.3)


def test_ridge_is_scikit_learns() -> None:
    design = np.column_stack((np.ones(300), X))
    found = fit_ridge(design, LABEL, np.array([1e-9, 2.0, 2.0, 2.0]))[0]
    peer = LogisticRegression(C=0.5, tol=1e-10, max_iter=1000).fit(X, LABEL)
    assert found[0] == pytest.approx(peer.intercept_[0], abs=1e-6)
    assert found[1:] == pytest.approx(peer.coef_[0], abs=1e-6)


def test_a_weight_of_two_is_the_image_twice() -> None:
    design, ridge = np.column_stack((np.ones(300), X)), np.full(4, 0.1)
    weights = RNG.integers(0, 3, size=(2, 300)).astype(float)
    for row, found in zip(weights, fit_ridge(design, LABEL, ridge, weights), strict=True):
        drawn = np.repeat(np.arange(300), row.astype(int))
        assert found == pytest.approx(fit_ridge(design[drawn], LABEL[drawn], ridge)[0], abs=1e-9)


def test_separable_classes_stay_finite() -> None:
    x = np.linspace(-1, 1, 40)
    found = fit_ridge(np.column_stack((np.ones(40), x)), x > 0, np.array([1e-9, 0.01]))[0]
    assert np.isfinite(found).all()
    assert found[1] > 10


def test_a_line_agrees_with_ridge_without_a_penalty() -> None:
    x = X[:, 0]
    slope, bias = fit_line(x, LABEL, (0.01, 100.0))
    exact = fit_ridge(np.column_stack((np.ones(300), x)), LABEL, np.full(2, 1e-12))[0]
    assert (bias, slope) == pytest.approx(exact, abs=1e-6)
    assert fit_line(-x, LABEL, (0.01, 100.0))[0] == pytest.approx(0.01), "held to its limit"
    wide = fit_line_near_identity(x, LABEL, slope_spread=1e4, bias_spread=1e4)
    assert wide == pytest.approx((slope, bias), abs=1e-4)
    tight = fit_line_near_identity(x, LABEL, slope_spread=1e-4, bias_spread=1e-4)
    assert tight == pytest.approx((1.0, 0.0), abs=1e-3)
