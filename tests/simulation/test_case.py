"""One volume of a pair: what both share, what only one has, and what the truth says."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pytest
from chest_ct import chest_ct

from pneumoseg.simulation.acquisition import MORE_NOISE
from pneumoseg.simulation.anatomies import Anatomy
from pneumoseg.simulation.case import (
    BREATH,
    EFFUSION,
    HYDROPNEUMOTHORAX,
    ODDS,
    CaseSeeds,
    OpenAnatomy,
    Simulated,
    _draw_names,
    _widest_px,
    open_anatomy,
    simulate_case,
)
from pneumoseg.simulation.hard_negatives import AIRWAY, EMPHYSEMA, SUBCUTANEOUS_AIR
from pneumoseg.simulation.scan_noise import gaussian_noise
from pneumoseg.study import Side


@lru_cache(maxsize=1)
def opened() -> OpenAnatomy:
    hu, labels = chest_ct(3, noise_hu=5.0)
    noise = gaussian_noise(5.0, 0.5, 0.6)
    return open_anatomy(Anatomy("a", "made", hu, labels, noise, (5.0, 2.0, 2.0), np.eye(4)))


@lru_cache(maxsize=16)
def case(index: int) -> Simulated:
    return simulate_case(opened(), CaseSeeds(7, "a", index))


def test_both_sides_are_measured() -> None:
    assert set(opened().chests) == {Side.RIGHT, Side.LEFT}


def test_volumes_take_turns_and_a_pair_shares_its_streams() -> None:
    """What is drawn over a chest must say nothing of the disease."""
    positive, negative = CaseSeeds(7, "a", 4), CaseSeeds(7, "a", 5)
    assert positive.pneumothorax and not negative.pneumothorax
    assert positive.pair(3).random() == negative.pair(3).random()
    assert positive.own(3).random() != negative.own(3).random()
    other = [CaseSeeds(8, "a", 4), CaseSeeds(7, "b", 4), CaseSeeds(7, "a", 6)]
    assert len({one.pair(3).random() for one in [positive, *other]}) == 4
    assert _draw_names(positive, renew_noise=False) == _draw_names(negative, renew_noise=False)


def test_distractors_come_as_often_as_asked() -> None:
    """12 % of the pairs are left untouched; of the others each distractor has its odds."""
    drawn = [_draw_names(CaseSeeds(0, "a", 2 * k), renew_noise=False) for k in range(2000)]
    for name in (EMPHYSEMA, AIRWAY, SUBCUTANEOUS_AIR):
        share = sum(name in names for names in drawn) / len(drawn)
        assert share == pytest.approx(0.88 * ODDS[name], abs=0.03)
    assert sum(names == () for names in drawn) / len(drawn) == pytest.approx(0.2, abs=0.06)
    assert all(list(names) == [name for name in ODDS if name in names] for names in drawn)


def test_a_quietened_scan_mostly_gets_new_noise() -> None:
    drawn = [_draw_names(CaseSeeds(0, "a", 2 * k), renew_noise=True) for k in range(1000)]
    assert sum(MORE_NOISE in names for names in drawn) / len(drawn) > 0.8


@pytest.mark.parametrize("index", [0, 2, 4])
def test_a_positive_volume_has_air_on_its_sides_alone(index: int) -> None:
    found = case(index)
    assert found.hu.dtype == np.int16 and found.hu.shape == found.air.shape == (3, 128, 128)
    assert found.air.any() and found.sides and 0 < found.degree < 1
    for side, label in ((Side.RIGHT, 1), (Side.LEFT, 2)):
        inside = found.anatomy.lungs == label
        assert bool((found.air & inside).any()) == (side in found.sides)
    assert not (found.air & (found.anatomy.lungs == 0)).any()  # within the pleural cavities
    assert np.percentile(found.hu[found.air], 10) < -800  # a thin gap is blurred with the wall


@pytest.mark.parametrize("index", [1, 3, 5])
def test_a_well_volume_has_no_air_and_says_so(index: int) -> None:
    found = case(index)
    assert not found.air.any() and found.sides == () and found.degree == 0
    assert HYDROPNEUMOTHORAX not in found.distractors
    assert set(found.distractors) <= {*ODDS, BREATH, EFFUSION}


def test_the_same_seeds_give_the_same_volume() -> None:
    again = simulate_case(opened(), CaseSeeds(7, "a", 2))
    assert np.array_equal(again.hu, case(2).hu) and np.array_equal(again.air, case(2).air)
    assert again.distractors == case(2).distractors


def test_the_scan_itself_is_left_as_it_was() -> None:
    before = opened().anatomy.hu.copy()
    simulate_case(opened(), CaseSeeds(9, "a", 0))
    assert np.array_equal(opened().anatomy.hu, before)


def test_the_width_of_a_gap_is_measured_within_a_slice() -> None:
    """A bar 5 pixels wide, in one slice of two."""
    air = np.zeros((2, 40, 40), dtype=np.bool_)
    air[1, 10:30, 20:25] = True
    assert _widest_px(air) == pytest.approx(5, abs=0.2)
    assert _widest_px(np.zeros_like(air)) == 0
