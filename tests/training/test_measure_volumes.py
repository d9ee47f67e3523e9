"""Figures of CT on made results, worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from pneumoseg.training.measure_volumes import MeasuredVolume, correlation, source_figures


def _volume(
    name: str,
    anatomy: str,
    *,
    probability: list[float],
    positive: list[int],
    dice: float,
    predicted_ml: float | None,
    true_ml: float | None,
    unambiguous: list[int] | None = None,
) -> MeasuredVolume:
    scores = np.array(probability)
    return MeasuredVolume(
        source="made",
        anatomy=anatomy,
        volume_id=name,
        probability=scores,
        suspected=scores >= 0.5,
        positive=np.array(positive, dtype=np.bool_),
        unambiguous=np.array(
            unambiguous if unambiguous is not None else [1] * len(positive), dtype=np.bool_
        ),
        dice=dice,
        has_predicted_mask=bool(predicted_ml),
        has_air=any(positive),
        predicted_ml=predicted_ml,
        true_ml=true_ml,
    )


VOLUMES = (
    _volume(
        "a", "A", probability=[0.9, 0.8, 0.2], positive=[1, 1, 0], dice=0.8, predicted_ml=90,
        true_ml=100, unambiguous=[1, 1, 1],
    ),
    _volume(
        "b", "A", probability=[0.3, 0.6, 0.1], positive=[1, 0, 0], dice=0.0, predicted_ml=0,
        true_ml=20, unambiguous=[1, 0, 1],
    ),
    _volume(
        "c", "B", probability=[0.7, 0.6], positive=[1, 1], dice=0.6, predicted_ml=70, true_ml=40
    ),
    _volume("d", "B", probability=[0.1, 0.5], positive=[0, 0], dice=0.0, predicted_ml=4, true_ml=0),
    _volume("e", "C", probability=[0.1], positive=[0], dice=1.0, predicted_ml=0, true_ml=0),
)  # fmt: skip


def _figures(volumes: tuple[MeasuredVolume, ...]) -> dict[str, object]:
    return {figure.name: figure for figure in source_figures(volumes, origin="by hand", seed=1)}


def test_figures_of_slices_leave_out_ambiguous_slices() -> None:
    """Clear: positives .9 .8 .3 .7 .6; negatives .2 .1 .1 .5 .1; 0.3 lies below 0.5 alone."""
    figures = _figures(VOLUMES)
    area = figures["AUROC of slices (made)"]
    assert (area.n, area.n_positive, area.n_patients) == (10, 5, 3)
    assert area.value == pytest.approx(24 / 25)
    recall, specificity = (figures[f"{x} of slices (made)"] for x in ("recall", "specificity"))
    assert (recall.value, recall.n) == (pytest.approx(4 / 5), 5)
    assert (specificity.value, specificity.n) == (pytest.approx(4 / 5), 5)
    assert "interval by anatomy; 1 slices that are not clear left out" in area.split
    assert area.origin == "by hand, source made"


def test_figures_of_volumes() -> None:
    """Errors of the three with pneumothorax: -10, -20, +30 mL; of the two without 4 and 0 mL."""
    figures = _figures(VOLUMES)
    expected = {
        "Dice of volumes (made)": (1.4 / 3, 3),
        "recall of volumes (made)": (2 / 3, 3),
        "specificity of volumes (made)": (1 / 2, 2),
        "mean error in mL (made)": (0.0, 3),
        "mean absolute error in mL (made)": (20.0, 3),
        "mean mL outlined without pneumothorax (made)": (2.0, 2),
        # predicted 90, 0, 70 and true 100, 20, 40, about their means: 9800/3, 13400/3, 10400/3
        "correlation of mL (made)": (9800 / np.sqrt(13400 * 10400), 3),
    }
    for name, (value, n) in expected.items():
        assert figures[name].value == pytest.approx(value), name
        assert figures[name].n == n, name
        assert figures[name].low <= figures[name].value <= figures[name].high


def test_volumes_of_one_anatomy_are_resampled_themselves() -> None:
    """One group resampled would give an interval of no width."""
    figures = _figures(VOLUMES[:2] * 3)
    error = figures["mean absolute error in mL (made)"]
    assert "interval by volume, of one anatomy" in error.split
    assert error.n_patients == 1
    assert error.low < error.high


def test_pictures_have_no_volume_figures() -> None:
    pictures = tuple(
        _volume(str(k), str(k), probability=[k / 4], positive=[k % 2], dice=0.5, predicted_ml=None,
                true_ml=None)
        for k in range(4)
    )  # fmt: skip
    names = set(_figures(pictures))
    assert "Dice of volumes (made)" in names
    assert not any("mL" in name for name in names)


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ([1, 2, 3], [2, 4, 6], 1.0),
        ([1, 2, 3], [3, 2, 1], -1.0),
        ([1, 2], [1, 2], None),
        ([1, 1, 1], [1, 2, 3], None),
    ],
)
def test_correlation(first: list[float], second: list[float], expected: float | None) -> None:
    value = correlation(np.array(first, float), np.array(second, float))
    assert value == (None if expected is None else pytest.approx(expected))
