"""Film and mask move as one; what cannot be a chest X-ray does not come out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pneumoseg.errors import UsageError
from pneumoseg.preprocess import GRID_SIZE
from pneumoseg.training.augment import CUTOUT_SIDE, LESION_REACH, AugmentSettings, augment

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


_ZOOMED = replace(_STILL, lesion_zoom_share=1.0, lesion_zoom=(1.5, 1.5))


@pytest.mark.parametrize("corner", [(150, 190), (0, 0), (502, 300), (480, 502)])
@pytest.mark.parametrize("zoom", [1.1, 1.5, 2.0])
def test_an_enlarged_lesion_stays_in_the_film(corner: tuple[int, int], zoom: float) -> None:
    """A lesion of 10×10 pixels anywhere, cut off at no border: its area grows by zoom squared."""
    mask = np.zeros((GRID_SIZE, GRID_SIZE), dtype=np.uint8)
    row, col = corner
    mask[row : row + 10, col : col + 10] = 1
    settings = replace(_ZOOMED, lesion_zoom=(zoom, zoom))
    film = mask * np.uint8(255)
    for seed in range(10):
        moved, moved_mask = augment(film, mask, settings, np.random.default_rng(seed))
        assert moved_mask is not None
        assert int(moved_mask.sum()) == pytest.approx(100 * zoom**2, rel=0.12)
        assert np.array_equal(moved >= 128, moved_mask == 1)


def test_a_lesion_far_from_the_border_comes_near_the_centre() -> None:
    """Enlarged twice it lies at most 2 × 70 pixels and its own size from there; and not always at
    one place, or the network would look there alone.
    """
    film, mask = _square()
    settings = replace(_ZOOMED, lesion_zoom=(2.0, 2.0))
    centres = []
    for seed in range(30):
        _, moved = augment(film, mask, settings, np.random.default_rng(seed))
        assert moved is not None
        centres.append(_centre(moved) - (GRID_SIZE - 1) / 2)
    half_side = 40
    assert np.abs(centres).max() <= 2 * (LESION_REACH + half_side)
    assert np.std(centres, axis=0).min() > 20


def test_an_enlarged_film_shows_nothing_from_beyond_it() -> None:
    """A white film stays white: black borders would mark what was enlarged."""
    film = np.full((GRID_SIZE, GRID_SIZE), 255, dtype=np.uint8)
    lesions = (np.zeros_like(film), np.eye(GRID_SIZE, dtype=np.uint8))
    for seed, mask in enumerate(lesions * 10):
        moved, _ = augment(film, mask, _ZOOMED, np.random.default_rng(seed))
        assert moved.min() == 255


def test_as_many_films_are_enlarged_as_asked() -> None:
    """A quarter of 200, positive or negative: being enlarged must say nothing of the label."""
    film, mask = np.zeros((2, GRID_SIZE, GRID_SIZE), dtype=np.uint8)
    film[231:281, 231:281] = 255
    mask[250:260, 250:260] = 1
    settings = replace(_ZOOMED, lesion_zoom_share=0.25)
    for shown in (mask, np.zeros_like(mask)):
        enlarged = 0
        for seed in range(200):
            moved, _ = augment(film, shown, settings, np.random.default_rng(seed))
            enlarged += not np.array_equal(moved, film)
        assert 30 < enlarged < 70


def test_a_film_whose_lesion_nobody_drew_is_never_enlarged() -> None:
    """Its lesion could be cut off, and its label would then be wrong."""
    film, _ = _square()
    for seed in range(5):
        moved, _ = augment(film, None, _ZOOMED, np.random.default_rng(seed))
        assert np.array_equal(moved, film)


def test_a_stretched_lesion_keeps_its_area() -> None:
    """Along x by e^a, along y by e^-a: a lesion of 70×80 stays one of 5,600 pixels."""
    film, mask = _square()
    sides = []
    for seed in range(20):
        settings = replace(_STILL, anisotropy=0.2)
        moved, moved_mask = augment(film, mask, settings, np.random.default_rng(seed))
        assert moved_mask is not None
        assert int(moved_mask.sum()) == pytest.approx(70 * 80, rel=0.04)
        assert np.abs((moved > 120).astype(int) - moved_mask).sum() < 4
        sides.append(moved_mask.any(axis=0).sum() / 70)
    assert min(sides) < 0.9 and max(sides) > 1.1
    assert min(sides) > np.exp(-0.2) - 0.03 and max(sides) < np.exp(0.2) + 0.03


@pytest.mark.parametrize("seed", range(10))
def test_a_bend_moves_film_and_mask_alike(seed: int) -> None:
    """The film is the mask in grey: where it is bright, and there alone, is the bent mask."""
    film, mask = _square()
    settings = replace(_STILL, elastic=1.0)
    moved, moved_mask = augment(film, mask, settings, np.random.default_rng(seed))
    assert moved_mask is not None
    assert np.abs((moved >= 120).astype(int) - moved_mask).sum() <= 4
    assert not np.array_equal(moved_mask, mask)
    assert int(moved_mask.sum()) == pytest.approx(int(mask.sum()), rel=0.35)


def test_a_bend_is_as_strong_as_asked() -> None:
    """A ramp of one grey a pixel shows the shift along x, of a deviation of 2 to 8 as set."""
    ramp = np.tile(np.clip(np.arange(GRID_SIZE) - 128, 0, 255).astype(np.uint8), (GRID_SIZE, 1))
    inner = slice(200, 320)
    deviations = []
    for seed in range(40):
        settings = replace(_STILL, elastic=1.0, elastic_pixels=8.0)
        moved, _ = augment(ramp, None, settings, np.random.default_rng(seed))
        shift = moved[inner, inner].astype(int) - ramp[inner, inner]
        deviations.append(float(np.sqrt((shift**2).mean())))
    assert 2.0 < np.mean(deviations) < 8.0
    never = replace(_STILL, elastic=1.0, elastic_pixels=0.0)
    assert np.array_equal(augment(ramp, None, never, np.random.default_rng(0))[0], ramp)


def test_cutout_covers_the_film_and_never_the_mask() -> None:
    """What hides is still there: the mask stays, and the film changes in up to four rectangles."""
    film, mask = _square()
    settings = replace(_STILL, cutout=1.0)
    shares = []
    for seed in range(40):
        moved, moved_mask = augment(film, mask, settings, np.random.default_rng(seed))
        assert moved_mask is not None and np.array_equal(moved_mask, mask)
        covered = moved != film
        assert len(np.unique(moved[covered])) <= 4
        shares.append(covered.sum())
    assert max(shares) <= 4 * CUTOUT_SIDE[1] ** 2
    assert np.mean(shares) > CUTOUT_SIDE[0] ** 2
    assert np.array_equal(film, _square()[0])


def test_what_is_off_draws_nothing() -> None:
    """An old recipe gives the films it gave: the generator stands where it stood."""
    film, mask = _square()
    first, second = np.random.default_rng(4), np.random.default_rng(4)
    augment(film, mask, AugmentSettings(), first)
    augment(film, mask, replace(AugmentSettings(), lesion_zoom=(3.0, 4.0)), second)
    assert first.random() == second.random()
    expected = np.random.default_rng(4)
    expected.uniform(size=5)  # angle, scale, shift along x and y, flip
    expected.uniform(size=3)  # gamma, contrast, brightness
    quiet = replace(AugmentSettings(), noise=0.0, blur=0.0, recompress=0.0)
    third = np.random.default_rng(4)
    augment(film, mask, quiet, third)
    expected.uniform(size=3)  # blur, noise and JPEG are drawn and not met
    assert third.random() == expected.random()


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"lesion_zoom_share": 1.2}, r"lesion_zoom_share lies in \[0, 1\], got 1.2"),
        ({"elastic": -0.1}, r"elastic lies in \[0, 1\]"),
        ({"cutout": 2.0}, r"cutout lies in \[0, 1\]"),
        ({"flip": 1.5}, r"flip lies in \[0, 1\]"),
        ({"lesion_zoom": (2.0, 1.1)}, "a least and a largest factor"),
        ({"lesion_zoom": (0.5, 1.1)}, "a least and a largest factor"),
        ({"lesion_zoom": (1.5,)}, "a least and a largest factor"),
        ({"anisotropy": -0.1}, "anisotropy must be 0 or more"),
        ({"elastic_pixels": -1.0}, "elastic_pixels must be 0 or more"),
    ],
)
def test_an_augmentation_that_cannot_be(values: dict[str, float], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        AugmentSettings(**values)  # type: ignore[arg-type]
