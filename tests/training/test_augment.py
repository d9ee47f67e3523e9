"""Film and mask move as one; what cannot be a chest X-ray does not come out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pneumoseg.preprocess import GRID_SIZE
from pneumoseg.training.augment import AugmentSettings, augment

_STILL = AugmentSettings(
    flip=0, rotate_degrees=0, scale=0, shift=0, contrast=0, brightness=0, gamma=0, noise=0, blur=0,
    recompress=0,
)  # fmt: skip


def _square() -> tuple[np.ndarray, np.ndarray]:
    """A bright square, off centre towards the upper left, and its mask."""
    mask = np.zeros((GRID_SIZE, GRID_SIZE), dtype=np.uint8)
    mask[140:220, 160:230] = 1
    return mask * np.uint8(200) + np.uint8(20), mask


def _centre(mask: np.ndarray) -> np.ndarray:
    return np.argwhere(mask).mean(axis=0)


@pytest.mark.parametrize("seed", range(25))
def test_the_mask_stays_on_its_lesion(seed: int) -> None:
    """A mask that moves other than its film teaches the segmenter a systematic shift."""
    film, mask = _square()
    settings = replace(AugmentSettings(), blur=0.0, noise=0.0, recompress=0.0)
    moved, moved_mask = augment(film, mask, settings, np.random.default_rng(seed))
    assert moved_mask is not None
    bright = moved > (float(moved.max()) + float(np.median(moved))) / 2
    overlap = (bright & (moved_mask == 1)).sum()
    dice = 2 * overlap / (bright.sum() + moved_mask.sum())
    assert dice > 0.97
    assert np.abs(_centre(bright) - _centre(moved_mask)).max() < 0.6


def test_shapes_types_and_values() -> None:
    film, mask = _square()
    moved, moved_mask = augment(film, mask, AugmentSettings(), np.random.default_rng(3))
    assert moved_mask is not None
    assert moved.shape == moved_mask.shape == (GRID_SIZE, GRID_SIZE)
    assert moved.dtype == moved_mask.dtype == np.uint8
    assert set(np.unique(moved_mask).tolist()) == {0, 1}


def test_inputs_stay_as_they_are() -> None:
    """Films come from a read-only memory map; a changed one would change the data set."""
    film, mask = _square()
    film.setflags(write=False)
    mask.setflags(write=False)
    for seed in range(5):
        augment(film, mask, AugmentSettings(), np.random.default_rng(seed))
    assert np.array_equal(film, _square()[0]) and np.array_equal(mask, _square()[1])


def test_the_same_seed_gives_the_same_film_and_another_another() -> None:
    film, mask = _square()
    first = augment(film, mask, AugmentSettings(), np.random.default_rng(11))
    again = augment(film, mask, AugmentSettings(), np.random.default_rng(11))
    other = augment(film, mask, AugmentSettings(), np.random.default_rng(12))
    assert np.array_equal(first[0], again[0])
    assert first[1] is not None and again[1] is not None
    assert np.array_equal(first[1], again[1])
    assert not np.array_equal(first[0], other[0])


def test_a_film_alone_is_moved_as_with_its_mask() -> None:
    film, mask = _square()
    alone, none = augment(film, None, AugmentSettings(), np.random.default_rng(5))
    with_mask, _ = augment(film, mask, AugmentSettings(), np.random.default_rng(5))
    assert none is None
    assert np.array_equal(alone, with_mask)


def test_nothing_asked_nothing_changed() -> None:
    film, mask = _square()
    moved, moved_mask = augment(film, mask, _STILL, np.random.default_rng(0))
    assert np.array_equal(moved, film)
    assert moved_mask is not None and np.array_equal(moved_mask, mask)


def test_a_flip_is_left_right_to_the_pixel() -> None:
    film, mask = _square()
    flipped, flipped_mask = augment(film, mask, replace(_STILL, flip=1), np.random.default_rng(0))
    assert np.array_equal(flipped, film[:, ::-1])
    assert flipped_mask is not None and np.array_equal(flipped_mask, mask[:, ::-1])


def test_never_upside_down() -> None:
    """What lies in the upper half stays there; left and right change places in half of all."""
    film, mask = _square()
    settings = replace(AugmentSettings(), blur=0.0, noise=0.0, recompress=0.0)
    sides = []
    for seed in range(60):
        _, moved = augment(film, mask, settings, np.random.default_rng(seed))
        assert moved is not None
        row, col = _centre(moved)
        assert row < 256
        sides.append(col < 256)
    assert 15 < sum(sides) < 45


def test_recompression_leaves_jpeg_traces() -> None:
    """A noisy film changes slightly, as in one more JPEG pass, and keeps its mean."""
    film = np.random.default_rng(0).integers(60, 200, (GRID_SIZE, GRID_SIZE), dtype=np.uint8)
    passed, _ = augment(film, None, replace(_STILL, recompress=1), np.random.default_rng(0))
    difference = passed.astype(int) - film
    assert 0 < np.abs(difference).mean() < 40
    assert abs(difference.mean()) < 1


@pytest.mark.parametrize("field", ["contrast", "brightness", "gamma"])
def test_tone_is_monotone(field: str) -> None:
    """Brighter tissue stays brighter: a tone curve that folds back would invent structure."""
    ramp = np.tile(np.repeat(np.arange(256, dtype=np.uint8), 2), (GRID_SIZE, 1))
    for seed in range(5):
        settings = replace(_STILL, **{field: getattr(AugmentSettings(), field)})
        toned, _ = augment(ramp, None, settings, np.random.default_rng(seed))
        assert (np.diff(toned[0].astype(int)) >= 0).all()


def test_the_flip_of_a_patient_lying_prone_turns_rows_alone() -> None:
    film, mask = _square()
    settings = replace(_STILL, flip_vertical=1.0)
    moved, moved_mask = augment(film, mask, settings, np.random.default_rng(0))
    assert np.array_equal(moved, film[::-1])
    assert moved_mask is not None
    assert np.array_equal(moved_mask, mask[::-1])
