"""Weighted figures against scikit-learn, which takes the same weights, and against hand counts."""

from functools import partial

import numpy as np
import pytest
from sklearn import metrics as peers

from pneumoseg.statistics import weighted

RNG = np.random.default_rng(11)
LABEL = RNG.random(200) < 0.25
SCORE = np.round(np.clip(RNG.normal(0.3 + 0.25 * LABEL, 0.2), 0, 1), 2)  # many ties
WEIGHTS = RNG.integers(0, 4, size=(6, 200)).astype(float)
PREDICTED = SCORE >= 0.4


def _with_weights(peer, *arguments, **options) -> list[float]:
    return [float(peer(*arguments, sample_weight=row, **options)) for row in WEIGHTS]


def test_auroc_and_average_precision_are_scikit_learns() -> None:
    """Fails if ties or weights were counted otherwise than the field does."""
    auroc = weighted.auroc(SCORE, LABEL)(WEIGHTS)
    assert auroc == pytest.approx(_with_weights(peers.roc_auc_score, LABEL, SCORE))
    precision = weighted.average_precision(SCORE, LABEL)(WEIGHTS)
    assert precision == pytest.approx(_with_weights(peers.average_precision_score, LABEL, SCORE))


def test_decisions_are_scikit_learns() -> None:
    for statistic, peer in (
        (weighted.mean_over(PREDICTED, LABEL), peers.recall_score),
        (weighted.mean_over(LABEL, PREDICTED), peers.precision_score),
        (weighted.mean_over(~PREDICTED, ~LABEL), partial(peers.recall_score, pos_label=0)),
        (weighted.mean_over(~LABEL, ~PREDICTED), partial(peers.precision_score, pos_label=0)),
        (weighted.f_beta(PREDICTED, LABEL, 2.0), partial(peers.fbeta_score, beta=2.0)),
    ):
        assert statistic(WEIGHTS) == pytest.approx(_with_weights(peer, LABEL, PREDICTED))
    counted = peers.confusion_matrix(LABEL, PREDICTED)
    ours = [[(~LABEL & ~PREDICTED).sum(), (~LABEL & PREDICTED).sum()],
            [(LABEL & ~PREDICTED).sum(), (LABEL & PREDICTED).sum()]]  # fmt: skip
    assert counted.tolist() == np.array(ours).tolist()


def test_brier_and_calibration_error() -> None:
    everything = np.ones_like(LABEL)
    brier = weighted.mean_over((SCORE - LABEL) ** 2, everything)
    assert brier(WEIGHTS) == pytest.approx(_with_weights(peers.brier_score_loss, LABEL, SCORE))
    error = weighted.expected_calibration_error(SCORE, LABEL, 15)
    # Drawn films count as often as drawn.
    drawn = np.repeat(np.arange(200), WEIGHTS[0].astype(int))
    place = np.digitize(SCORE[drawn], np.arange(1, 15) / 15)
    gaps = [
        (place == k).mean() * abs(SCORE[drawn][place == k].mean() - LABEL[drawn][place == k].mean())
        for k in np.unique(place)
    ]
    assert error(WEIGHTS)[0] == pytest.approx(sum(gaps))


def test_calibration_error_by_hand() -> None:
    """Bins of a half: (0.1, 0.3 | one positive) and (0.8 | positive); 1.0 is in the last."""
    probabilities, labels = np.array([0.1, 0.3, 0.8]), np.array([False, True, True])
    brier = weighted.mean_over((probabilities - labels) ** 2, np.ones(3, dtype=bool))
    assert weighted.once(brier, 3) == pytest.approx((0.01 + 0.49 + 0.04) / 3)
    # |0.2 - 0.5| twice, |0.8 - 1| once
    error = weighted.expected_calibration_error(probabilities, labels, 2)
    assert weighted.once(error, 3) == pytest.approx(0.8 / 3)
    assert weighted.bin_of(np.array([0.0, 0.49, 0.5, 1.0]), 2).tolist() == [0, 0, 1, 1]


def test_by_hand_with_a_tie() -> None:
    """Scores .9+ .5+ .5- .1-: pairs won 3.5 of 4; precision 1 at recall 1/2, then 2/3."""
    score, label = np.array([0.9, 0.5, 0.5, 0.1]), np.array([True, True, False, False])
    ones = np.ones((1, 4))
    assert weighted.auroc(score, label)(ones)[0] == pytest.approx(3.5 / 4)
    assert weighted.average_precision(score, label)(ones)[0] == pytest.approx(0.5 + 0.5 * 2 / 3)
    # Only the last three films.
    over = np.array([False, True, True, True])
    assert weighted.auroc(score, label, over)(ones)[0] == pytest.approx(1.5 / 2)
    silent = weighted.difference(
        weighted.mean_over(score, label), weighted.mean_over(score, ~label)
    )
    assert silent(ones)[0] == pytest.approx(0.7 - 0.3)


def test_what_is_not_there_is_not_a_number() -> None:
    """Fails if a resample without positives counted as 0."""
    weights = np.array([[0.0, 1.0], [1.0, 1.0]])
    label = np.array([True, False])
    score = np.array([0.8, 0.2])
    for statistic in (
        weighted.auroc(score, label),
        weighted.average_precision(score, label),
        weighted.mean_over(score, label),
        weighted.f_beta(score > 0.5, label, 2.0),
    ):
        first, second = statistic(weights)
        assert np.isnan(first)
        assert not np.isnan(second)
    nobody = weighted.auroc(score, label, np.zeros(2, dtype=bool))
    assert np.isnan(nobody(weights)).all()


def test_scores_must_be_numbers() -> None:
    with pytest.raises(ValueError, match="finite"):
        weighted.auroc([0.1, np.nan], np.array([True, False]))
    with pytest.raises(ValueError, match="one score per label"):
        weighted.auroc([0.1], np.array([True, False]))
