"""The types are checked once, when made; what they compute is compared with paper."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from pneumoseg.study import Detection, Finding, Image, Lesion, Mask, Provenance, Source, Units

_SOURCE = Source("a")
_PROVENANCE = Provenance("cxr", "1", "0.1.0", "openvino", "f32")


def _film(value: float = 0.5, spacing: tuple[float, ...] | None = None) -> Image:
    pixels = np.full((2, 3), value, dtype=np.float32)
    return Image(pixels, Units.UNIT_INTERVAL, spacing, _SOURCE)


def test_a_film_keeps_its_pixels_and_spacing() -> None:
    film = _film(spacing=(0.2, 0.1))
    assert film.shape == (2, 3)
    assert film.spacing_mm == (0.2, 0.1)


def test_images_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        _film().units = Units.HU  # type: ignore[misc]


def test_pixels_must_be_float32() -> None:
    with pytest.raises(TypeError, match="float32, not float64"):
        Image(np.zeros((2, 2)), Units.HU, None, _SOURCE)  # type: ignore[arg-type]


@pytest.mark.parametrize("shape", [(4,), (1, 2, 3, 4), (0, 3)])
def test_pixels_need_two_or_three_axes_with_something_in_them(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="rows, cols"):
        Image(np.zeros(shape, dtype=np.float32), Units.HU, None, _SOURCE)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_pixels_must_be_finite(bad: float) -> None:
    """A NaN would pass every comparison with a threshold in silence."""
    with pytest.raises(ValueError, match="finite"):
        _film(bad)


@pytest.mark.parametrize("bad", [-0.01, 1.01])
def test_unit_interval_pixels_stay_in_it(bad: float) -> None:
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        _film(bad)


def test_hu_may_be_anything_finite() -> None:
    pixels = np.full((2, 3, 4), -1024, dtype=np.float32)
    assert Image(pixels, Units.HU, (2.5, 0.7, 0.7), _SOURCE).shape == (2, 3, 4)


@pytest.mark.parametrize(
    ("spacing", "words"),
    [
        ((0.1,), "one spacing per axis: 2 axes, 1 spacings"),
        ((1.0, 1.0, 1.0), "2 axes, 3 spacings"),
        ((0.1, 0.0), "positive millimetres"),
        ((0.1, -0.1), "positive millimetres"),
        ((0.1, np.nan), "positive millimetres"),
    ],
)
def test_a_spacing_that_cannot_be_is_refused(spacing: tuple[float, ...], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        _film(spacing=spacing)


def test_a_detection_at_the_threshold_is_positive() -> None:
    assert Detection(0.0, 0.35, 0.35).positive
    assert not Detection(0.0, 0.3499, 0.35).positive


@pytest.mark.parametrize(("probability", "threshold"), [(1.1, 0.5), (-0.1, 0.5), (0.5, 2.0)])
def test_probabilities_lie_in_the_unit_interval(probability: float, threshold: float) -> None:
    with pytest.raises(ValueError, match="must lie in"):
        Detection(0.0, probability, threshold)


def test_a_detection_is_never_nan() -> None:
    with pytest.raises(ValueError, match="probability"):
        Detection(0.0, float("nan"), 0.5)


def test_area_by_hand() -> None:
    """Three pixels of 0.2 × 0.5 mm are 0.3 mm²; without a spacing mm² is unknown, never guessed."""
    pixels = np.array([[1, 1, 0], [0, 0, 1]], dtype=np.bool_)
    assert Mask(pixels).area_px == 3
    assert Mask(pixels, (0.2, 0.5)).area_mm2 == pytest.approx(0.3)
    assert Mask(pixels).area_mm2 is None
    assert Mask(pixels, (0.2, 0.5)).volume_ml is None


def test_volume_by_hand() -> None:
    """Eight voxels of 5 × 10 × 10 mm are 4 mL."""
    mask = Mask(np.ones((2, 2, 2), dtype=np.bool_), (5.0, 10.0, 10.0))
    assert mask.volume_ml == pytest.approx(4.0)
    assert mask.area_mm2 is None
    assert Mask(np.ones((2, 2, 2), dtype=np.bool_)).volume_ml is None


def test_masks_are_bool_with_a_spacing_per_axis() -> None:
    with pytest.raises(TypeError, match="bool, not uint8"):
        Mask(np.zeros((2, 2), dtype=np.uint8))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="one spacing per axis"):
        Mask(np.zeros((2, 2), dtype=np.bool_), (1.0,))


def _finding(mask: Mask | None, lesions: tuple[Lesion, ...] = ()) -> Finding:
    return Finding(_SOURCE, (2, 3), Detection(0.0, 0.5, 0.35), mask, lesions, _PROVENANCE)


def test_none_means_not_run_and_empty_means_found_nothing() -> None:
    assert _finding(None).mask is None
    empty = _finding(Mask(np.zeros((2, 3), dtype=np.bool_)))
    assert empty.mask is not None and empty.mask.area_px == 0


def test_a_finding_is_on_its_images_grid() -> None:
    with pytest.raises(ValueError, match="not on the image's grid"):
        _finding(Mask(np.zeros((3, 2), dtype=np.bool_)))


def test_lesions_without_a_mask_cannot_be() -> None:
    lesion = Lesion(Mask(np.ones((2, 3), dtype=np.bool_)), 0.9, None)
    with pytest.raises(ValueError, match="cannot have lesions"):
        _finding(None, (lesion,))
