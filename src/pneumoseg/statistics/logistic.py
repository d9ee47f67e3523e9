"""Logistic regression: a line within limits, a line near the identity, and ridge with weights.

All minimise one thing, the negative log likelihood of labels (or of targets between 0 and 1) given
log-odds; they differ in what holds the fit where the data alone do not.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

Floats = NDArray[np.float64]

_STEPS = 40
_LARGEST_STEP = 2.0
"""Of one coefficient in one step: keeps Newton's method on the road where classes are separable."""
_CONVERGED = 1e-10


def _losses(odds: Floats, target: ArrayLike) -> tuple[Floats, Floats]:
    """Negative log likelihood of each image and its derivative by the log-odds, (n,) each."""
    wanted = np.asarray(target, dtype=np.float64)
    return np.logaddexp(0.0, odds) - wanted * odds, special.expit(odds) - wanted


def fit_line(
    x: Floats, target: ArrayLike, slope_limits: tuple[float, float]
) -> tuple[float, float]:
    """Slope and bias of the likeliest log-odds ``slope * x + bias``, the slope within limits.

    Args:
        x: (n,) finite.
        target: (n,) in [0, 1].
        slope_limits: lowest and highest.
    """
    from scipy import optimize  # here: inference does without, and it takes a quarter of a second

    def loss(place: Floats) -> tuple[float, Floats]:
        losses, residual = _losses(place[0] * x + place[1], target)
        residual = residual / x.size
        return float(np.mean(losses)), np.array([residual @ x, residual.sum()])

    found = optimize.minimize(
        loss,
        np.array([1.0, 0.0]),
        jac=True,
        method="L-BFGS-B",
        bounds=[slope_limits, (None, None)],
        options={"ftol": 1e-14, "gtol": 1e-9, "maxiter": 1000},
    )
    return float(found.x[0]), float(found.x[1])


def fit_line_near_identity(
    x: Floats, target: ArrayLike, *, slope_spread: float, bias_spread: float
) -> tuple[float, float]:
    """Slope, positive, and bias under priors around 1 and 0: the maximum of the posterior.

    Args:
        x: (n,) finite.
        target: (n,) in [0, 1].
        slope_spread: standard deviation of ln slope.
        bias_spread: standard deviation of the bias.
    """
    from scipy import optimize

    def loss(place: Floats) -> tuple[float, Floats]:
        steep, bias = np.exp(place[0]), place[1]
        losses, residual = _losses(steep * x + bias, target)
        penalty = (place[0] / slope_spread) ** 2 / 2 + (bias / bias_spread) ** 2 / 2
        slope = steep * float(residual @ x) + place[0] / slope_spread**2
        gradient = np.array([slope, float(residual.sum()) + bias / bias_spread**2])
        return float(np.sum(losses) + penalty), gradient

    found = optimize.minimize(loss, np.zeros(2), jac=True, method="BFGS").x
    return float(np.exp(found[0])), float(found[1])


def fit_ridge(
    design: Floats, target: ArrayLike, ridge: Floats, weights: Floats | None = None
) -> Floats:
    """Ridge regression by Newton's method, for many sets of weights at once.

    Args:
        design: (n, k), a column of ones among them where there is to be a bias.
        target: (n,) in [0, 1].
        ridge: (k,) penalty on each squared coefficient; keeps separable classes finite.
        weights: (r, n) how often each image counts; once when None.

    Returns:
        (r, k) coefficients. Source: Hastie et al. 2009, section 4.4.1.
    """
    counted = np.ones((1, len(design))) if weights is None else weights
    found = np.zeros((len(counted), design.shape[1]))
    for _ in range(_STEPS):
        odds = found @ design.T  # (r, n)
        _, residual = _losses(odds, target)
        chance = special.expit(odds)
        slope = -(counted * residual) @ design - found * ridge
        bent = (counted * chance * (1.0 - chance))[..., None] * design  # (r, n, k)
        bend = np.einsum("rni,nj->rij", bent, design, optimize=True) + np.diag(ridge)
        step = np.linalg.solve(bend, slope[..., None])[..., 0]
        found += np.clip(step, -_LARGEST_STEP, _LARGEST_STEP)
        if float(np.abs(step).max()) < _CONVERGED:
            break
    return found
