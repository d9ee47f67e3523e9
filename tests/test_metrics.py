"""The measured numbers, against hand computation and scikit-learn."""

import numpy as np
import pytest
from sklearn import metrics as peer

from pneumoseg import metrics
from pneumoseg.metrics import ConfusionMatrix


def test_auroc_by_hand_with_a_tie() -> None:
    """Fails if a tied pair were not counted half: pairs 1, 1, 0.5, 1 of 4 give 0.875."""
    assert metrics.auroc([0.9, 0.5, 0.5, 0.1], [True, True, False, False]) == 0.875


@pytest.mark.parametrize("seed", range(5))
def test_auroc_and_curve_agree_with_scikit_learn(seed: int) -> None:
    """Fails if ranks or the order of the curve were wrong on heavily tied scores."""
    rng = np.random.default_rng(seed)
    labels = rng.random(200) < 0.3
    scores = np.round(rng.normal(size=200) + labels, 1)
    assert metrics.auroc(scores, labels) == pytest.approx(peer.roc_auc_score(labels, scores))
    curve = metrics.roc_curve(scores, labels)
    assert curve is not None
    expected = peer.roc_curve(labels, scores, drop_intermediate=False)
    np.testing.assert_allclose(curve.false_positive_rate, expected[0])
    np.testing.assert_allclose(curve.true_positive_rate, expected[1])
    np.testing.assert_allclose(curve.thresholds, expected[2])


@pytest.mark.parametrize("labels", [[True, True], [False, False]])
def test_one_class_has_no_auroc(labels: list[bool]) -> None:
    """Fails if an undefined AUROC came out as a number or a crash."""
    assert metrics.auroc([0.1, 0.2], labels) is None
    assert metrics.roc_curve([0.1, 0.2], labels) is None


def test_scores_that_are_not_numbers_or_do_not_match_are_refused() -> None:
    with pytest.raises(ValueError, match="finite"):
        metrics.auroc([np.nan, 0.2], [True, False])
    with pytest.raises(ValueError, match="one score per label"):
        metrics.auroc([0.1, 0.2, 0.3], [True, False])
    with pytest.raises(ValueError, match="one decision per label"):
        metrics.confusion([True], [True, False])


def test_confusion_by_hand() -> None:
    """Fails if a cell were swapped: 2 found, 1 alarm, 2 missed, 5 left alone."""
    predicted = [True, True, True] + [False] * 7
    true = [True, True, False, True, True] + [False] * 5
    matrix = metrics.confusion(predicted, true)
    assert matrix == ConfusionMatrix(2, 1, 2, 5)
    assert matrix.recall == 0.5
    assert matrix.specificity == pytest.approx(5 / 6)
    assert matrix.ppv == pytest.approx(2 / 3)
    assert matrix.npv == pytest.approx(5 / 7)
    assert matrix.accuracy == 0.7
    # (1 + 4) * 2 / (5 * 2 + 4 * 2 + 1)
    assert metrics.f2(predicted, true) == pytest.approx(10 / 19)
    assert metrics.f2(predicted, true) == pytest.approx(peer.fbeta_score(true, predicted, beta=2))
    assert matrix.as_dict()["f2"] == pytest.approx(10 / 19)


def test_ratios_over_nothing_are_none() -> None:
    """Fails if an empty class gave a division error or a made-up 0."""
    nothing = ConfusionMatrix(0, 0, 0, 3)
    assert nothing.recall is None
    assert nothing.ppv is None
    assert nothing.f_beta() is None
    assert nothing.specificity == 1.0
    assert ConfusionMatrix(0, 0, 3, 0).f_beta() == 0.0


def test_dice_by_hand() -> None:
    """Fails if the overlap were counted once, or an empty pair were not 1."""
    mask, truth = np.zeros((2, 4), dtype=bool), np.zeros((2, 4), dtype=bool)
    assert metrics.dice(mask, truth) == 1.0
    mask[0, :3] = True
    assert metrics.dice(mask, truth) == 0.0
    truth[0, 1:4] = True
    truth[1, 0] = True
    assert metrics.dice(mask, truth) == pytest.approx(2 * 2 / (3 + 4))
    with pytest.raises(ValueError, match="one shape"):
        metrics.dice(mask, truth[:1])
    with pytest.raises(ValueError, match="bool"):
        metrics.dice(mask.astype(np.uint8), truth)  # type: ignore[arg-type]


def test_mean_dices_by_hand() -> None:
    """Fails if negatives leaked into lesion Dice or misses were left out of it."""
    dices, labels = [0.8, 0.0, 1.0, 0.0], [True, True, False, False]
    assert metrics.lesion_dice(dices, labels) == pytest.approx(0.4)
    assert metrics.siim_mean_dice(dices) == pytest.approx(0.45)
    assert metrics.lesion_dice([1.0], [False]) is None
    assert metrics.siim_mean_dice([]) is None
    assert metrics.share_segmented([True, False, False, False]) == 0.25
    assert metrics.share_segmented([]) is None


def test_bootstrap_is_reproducible_and_brackets_the_mean() -> None:
    values = np.random.default_rng(1).normal(10.0, 2.0, size=400)
    intervals = [
        metrics.bootstrap_by_patient(
            lambda i: float(values[i].mean()), None, np.random.default_rng(7), 500, n=400
        )
        for _ in range(2)
    ]
    assert intervals[0] == intervals[1]
    assert intervals[0].unit == "image"
    low, high = intervals[0].low, intervals[0].high
    assert low is not None
    assert high is not None
    # The mean's standard error is 2 / sqrt(400) = 0.1: the interval is about 0.39 wide.
    assert low < values.mean() < high
    assert 0.33 < high - low < 0.46


def test_bootstrap_draws_whole_patients() -> None:
    """Fails if images of a patient were drawn apart.

    Two patients, one with 50 zeros, one with 50 ones: a resample of patients has mean 0, 0.5 or 1,
    so the interval is all of [0, 1]; a resample of images stays near one half.
    """
    values, patients = np.repeat([0.0, 1.0], 50), np.repeat(["a", "b"], 50)
    seen = set()

    def mean(indices: np.ndarray) -> float:
        seen.add(float(values[indices].mean()))
        return float(values[indices].mean())

    rng = np.random.default_rng(0)
    by_patient = metrics.bootstrap_by_patient(mean, patients, rng, 200)
    assert by_patient == metrics.Interval(0.0, 1.0, "patient")
    assert seen == {0.0, 0.5, 1.0}
    by_image = metrics.bootstrap_by_patient(mean, None, rng, 200, n=100)
    assert by_image.low is not None
    assert by_image.low > 0.35


def test_patients_of_uneven_size_keep_all_their_images() -> None:
    """Fails if a drawn patient brought only one image, or images of another."""
    patients = np.array([5, 9, 9, 9])

    def whole(indices: np.ndarray) -> float:
        times = np.bincount(indices, minlength=4)
        assert times[1] == times[2] == times[3]
        assert times[0] + times[1] == 2  # two patients drawn
        return 0.0

    metrics.bootstrap_by_patient(whole, patients, np.random.default_rng(0), 50)


def test_an_undefined_figure_has_no_interval() -> None:
    """Fails if resamples without the figure were counted as numbers."""
    rng = np.random.default_rng(0)
    interval = metrics.bootstrap_by_patient(lambda i: None, None, rng, 20, n=5)
    assert interval == metrics.Interval(None, None, "image")


def test_bootstrap_refuses_nothing() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="nothing to resample"):
        metrics.bootstrap_by_patient(lambda i: 0.0, [], rng)
    with pytest.raises(ValueError, match="give the patients"):
        metrics.bootstrap_by_patient(lambda i: 0.0, None, rng)
