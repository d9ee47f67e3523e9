"""Many figures on one draw of patients: the same intervals as one figure after the other."""

import numpy as np
import pytest

from pneumoseg import metrics
from pneumoseg.statistics import resampling, weighted
from pneumoseg.statistics.resampling import resampler
from pneumoseg.statistics.weighted import once


def _films() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    patient = rng.integers(60, size=150)
    label = rng.random(150) < 0.3
    score = np.round(np.clip(rng.normal(0.3 + 0.3 * label, 0.2), 0, 1), 2)  # with ties
    return patient, label, score


@pytest.mark.parametrize("known", [True, False])
def test_the_same_seed_gives_the_intervals_of_the_slow_bootstrap(known: bool) -> None:
    """Fails if figures of a report and of a card were drawn differently."""
    patient, label, score = _films()
    groups = patient if known else None
    predicted, dice = score >= 0.4, score * label
    draws = resampler(groups, 150, seed=5, repeats=200)
    fast = draws.intervals(
        {
            "auroc": weighted.auroc(score, label),
            "recall": weighted.mean_over(predicted, label),
            "f2": weighted.f_beta(predicted, label, 2.0),
            "dice": weighted.mean_over(dice, label),
        }
    )
    slow = {
        "auroc": lambda i: metrics.auroc(score[i], label[i]),
        "recall": lambda i: metrics.confusion(predicted[i], label[i]).recall,
        "f2": lambda i: metrics.f2(predicted[i], label[i]),
        "dice": lambda i: metrics.lesion_dice(dice[i], label[i]),
    }
    member = np.unique(groups, return_inverse=True)[1] if known else np.arange(150)
    for name, statistic in slow.items():
        rng, values = np.random.default_rng(5), []
        for _ in range(200):  # as it is written in a textbook
            units = member.max() + 1
            drawn = rng.integers(units, size=units)
            values.append(statistic(np.concatenate([np.flatnonzero(member == k) for k in drawn])))
        low, high = np.quantile([v for v in values if v is not None], [0.025, 0.975])
        assert fast[name].low == pytest.approx(low, abs=1e-12)
        assert fast[name].high == pytest.approx(high, abs=1e-12)
        assert fast[name].unit == ("patient" if known else "image")


def test_how_many_are_computed_together_does_not_matter(monkeypatch) -> None:
    """Fails if intervals depended on the memory that is used."""
    patient, label, score = _films()
    draws = resampler(patient, 150, repeats=50)
    statistic = {"auroc": weighted.auroc(score, label)}
    together = draws.intervals(statistic)
    monkeypatch.setattr(resampling, "CHUNK_BYTES", 8 * 150 * 7)
    assert [len(chunk) for chunk in draws.chunks()] == [7] * 7 + [1]
    assert draws.intervals(statistic) == together


def test_a_patient_comes_with_all_images() -> None:
    weights = next(resampler(np.array([4, 9, 9]), 3, repeats=30).chunks())
    assert (weights[:, 1] == weights[:, 2]).all()
    assert (weights[:, 0] + weights[:, 1] == 2).all()


def test_a_figure_that_most_resamples_lack_has_no_interval() -> None:
    label = np.zeros(40, dtype=bool)
    statistic = weighted.mean_over(label, label)
    interval = resampler(None, 40, repeats=20).intervals({"recall": statistic})["recall"]
    assert interval == metrics.Interval(None, None, "image")
    assert once(statistic, 40) is None


def test_nothing_to_draw_is_refused() -> None:
    with pytest.raises(ValueError, match="nothing to resample"):
        resampler(None, 0)
    with pytest.raises(ValueError, match="nothing to resample"):
        resampler(None, 3, repeats=0)
    with pytest.raises(ValueError, match="one patient for each"):
        resampler(np.array([1, 2]), 3)
