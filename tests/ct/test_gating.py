"""Which slices are suspected: logits smoothed, short runs dropped, outlines not cut."""

from __future__ import annotations

import numpy as np
import pytest
from hand_volumes import axial

from pneumoseg.ct.gating import SliceGate, with_margin


def test_a_slice_is_averaged_with_its_near_neighbours() -> None:
    gate = SliceGate.of(4, (5.0, 1.0, 1.0))
    assert gate.window == 1
    # (1+4)/2, (1+4+1)/3, (4+1+7)/3, (1+7)/2
    assert gate.smoothed(np.array([1.0, 4.0, 1.0, 7.0])).tolist() == [2.5, 2.0, 4.0, 4.0]


def test_slices_farther_apart_than_5_mm_do_not_vote_together() -> None:
    gate = SliceGate.of(3, (6.0, 1.0, 1.0))
    assert gate.smoothed(np.array([1.0, 4.0, 1.0])).tolist() == [1.0, 4.0, 1.0]


def test_a_missing_slice_parts_neighbours() -> None:
    """Breaks if the gap's two sides, other anatomy, are averaged."""
    geometry = axial((4.0, 1.0, 1.0), slice_offsets_mm=(0.0, 4.0, 12.0, 16.0))
    gate = SliceGate.of(4, (5.33, 1.0, 1.0), geometry)
    assert gate.near_next.tolist() == [True, False, True]


@pytest.mark.parametrize(
    ("spacing", "window"), [(5.0, 1), (2.5, 2), (2.4, 3), (1.0, 5), (0.5, 10), (10.0, 1)]
)
def test_a_run_must_span_5_mm(spacing: float, window: int) -> None:
    assert SliceGate.of(100, (spacing, 1.0, 1.0)).window == window


def test_runs_shorter_than_the_window_are_levelled_down() -> None:
    """Neighbours switched off, so that the opening is seen alone: three in a row must agree."""
    gate = SliceGate(np.zeros(9, np.bool_), 3)
    logits = np.array([0.0, 5, 5, 0, 0, 3, 4, 5, 0, 9])
    assert gate.smoothed(logits).tolist() == [0, 0, 0, 0, 0, 3, 3, 3, 0, 0]


def test_a_volume_thinner_than_the_window_and_a_picture_stand_for_themselves() -> None:
    assert SliceGate.of(2, (1.0, 1.0, 1.0)).window == 2
    gate = SliceGate.of(3, None)
    assert gate.smoothed(np.array([1.0, 4.0, 2.0])).tolist() == [1.0, 4.0, 2.0]
    assert SliceGate.of(1, (1.0, 1.0, 1.0)).smoothed(np.array([3.0])).tolist() == [3.0]


@pytest.mark.parametrize("spacing", [1.0, 2.5, 8.0])
def test_an_answer_is_final_when_reach_slices_follow(spacing: float) -> None:
    """Breaks if a slice is forgotten that a later one would have made suspected."""
    gate = SliceGate.of(60, (spacing, 1.0, 1.0))
    logits = np.random.default_rng(1).normal(size=60)
    final = with_margin(gate.smoothed(logits) > 0.3)
    for known in range(1, 61):
        so_far = with_margin(gate.smoothed(logits[:known]) > 0.3)
        decided = max(0, known - gate.reach)
        assert so_far[:decided].tolist() == final[:decided].tolist()


def test_the_margin_is_one_slice_to_either_side() -> None:
    suspected = np.array([0, 0, 1, 0, 0, 0, 1], np.bool_)
    assert with_margin(suspected).tolist() == [False, True, True, True, False, True, True]
