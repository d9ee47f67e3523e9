"""Whole films."""

from __future__ import annotations

import numpy as np
import pytest

from pneumoseg.phantom import (
    Collapse,
    Exposure,
    make_body,
    make_film,
    project,
)
from pneumoseg.phantom.film import draw_truth
from pneumoseg.study import Side, Units

SIZE = 160


def exposure(field_mm: float = 360.0) -> Exposure:
    return Exposure(field_mm=field_mm, centre_mm=(100.0, 0.0))


def test_films_repeat_to_the_bit() -> None:
    first, second = make_film(11, size=SIZE), make_film(11, size=SIZE)
    assert np.array_equal(first.image.pixels, second.image.pixels)
    assert np.array_equal(first.mask.pixels, second.mask.pixels)
    assert first.truth == second.truth
    assert not np.array_equal(first.image.pixels, make_film(12, size=SIZE).image.pixels)


@pytest.mark.parametrize("seed", range(20, 26))
@pytest.mark.parametrize("pneumothorax", [True, False])
def test_the_mask_is_empty_exactly_without_pneumothorax(seed: int, pneumothorax: bool) -> None:
    film = make_film(seed, pneumothorax=pneumothorax, size=SIZE)
    assert film.mask.pixels.any() == pneumothorax == film.truth.pneumothorax


def test_about_half_the_films_are_positive() -> None:
    share = np.mean([draw_truth(seed).pneumothorax for seed in range(400)])
    assert 0.42 < share < 0.58


def test_a_film_is_a_unit_interval_image_with_its_spacing() -> None:
    film = make_film(3, size=SIZE)
    assert film.image.units is Units.UNIT_INTERVAL and film.image.shape == (SIZE, SIZE)
    assert film.image.spacing_mm == film.mask.spacing_mm == (film.spacing_mm, film.spacing_mm)
    assert 270 <= film.spacing_mm * SIZE <= 430  # a chest on a detector
    assert film.image.pixels.std() > 0.1


def test_disease_changes_neither_patient_nor_distractors() -> None:
    """A network must not learn the drain, the posture or the habitus for the disease."""
    for seed in range(30, 36):
        positive, negative = (make_film(seed, pneumothorax=p, size=64) for p in (True, False))
        assert positive.truth.distractors == negative.truth.distractors
        assert (positive.truth.posture, positive.truth.view) == (
            negative.truth.posture,
            negative.truth.view,
        )
        assert positive.spacing_mm == negative.spacing_mm
        assert positive.body.anatomy.wall == negative.body.anatomy.wall


def test_a_larger_collapse_gives_a_larger_mask() -> None:
    areas = []
    for degree in (0.03, 0.1, 0.3, 0.7):
        body = make_body(4, collapse=Collapse(Side.LEFT, degree))
        rng = np.random.default_rng(0)
        areas.append(project(body, "PA", rng, size=SIZE, exposure=exposure())[1].sum())
    assert areas == sorted(areas) and areas[0] < areas[-1] / 3


def test_pleural_air_is_darker_than_the_lung_it_replaces_but_not_black() -> None:
    rng = np.random.default_rng
    negative = project(make_body(4), "PA", rng(0), size=SIZE, exposure=exposure())[0]
    body = make_body(4, collapse=Collapse(Side.LEFT, 0.3))
    positive, mask, _ = project(body, "PA", rng(0), size=SIZE, exposure=exposure())
    assert 0.02 < positive[mask].mean() < negative[mask].mean()


def test_lungs_are_dark_and_the_spine_bright() -> None:
    film = project(make_body(4), "PA", np.random.default_rng(0), size=SIZE, exposure=exposure())[0]
    lung = film[60:90, 35:55].mean()
    spine = film[90:120, 76:84].mean()
    assert lung + 0.25 < spine


@pytest.mark.parametrize(("view", "size"), [("LL", 64), ("PA", 8)])
def test_what_is_no_film_is_refused(view: str, size: int) -> None:
    with pytest.raises(ValueError, match="must be"):
        project(make_body(1), view, np.random.default_rng(0), size=size)


def test_a_negative_seed_is_refused() -> None:
    with pytest.raises(ValueError, match="seed must be 0 or more"):
        make_film(-1)
