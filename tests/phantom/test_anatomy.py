"""One person from a seed: borders of the lungs, and what posture and shift change."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from pneumoseg.phantom.anatomy import LungShape, Posture, draw_anatomy, side_sign
from pneumoseg.phantom.intervals import length
from pneumoseg.study import Side

LUNG = LungShape(
    Side.RIGHT,
    apex_z=0.0,
    apex_r=46.0,
    half_width=130.0,
    half_depth=80.0,
    medial_r=22.0,
    shift=0.0,
    dome_z=200.0,
    dome_r=65.0,
    dome_y=-10.0,
    dome_fall_r=30.0,
    dome_fall_y=36.0,
)


def at(*values: float) -> np.ndarray:
    return np.array(values, dtype=np.float32)


def test_the_lung_widens_from_apex_to_its_full_width() -> None:
    """190 mm below the apex it is as wide as it gets; 50 mm below, its inner border is reached."""
    assert LUNG.lateral_r(at(-5, 0, 190, 300)).tolist() == pytest.approx([46, 46, 130, 130])
    assert LUNG.medial_border_r(at(0, 50, 200)).tolist() == pytest.approx([46, 22, 22])
    assert (np.diff(LUNG.lateral_r(at(*range(0, 190, 10)))) > 0).all()


def test_depth_and_its_middle() -> None:
    assert LUNG.depth(at(0, 150, 300)).tolist() == pytest.approx([0, 80, 80], abs=1e-4)
    assert LUNG.centre_y(at(0, 75, 150)).tolist() == pytest.approx([12, 6, 0])


def test_the_hilum_lies_a_little_below_the_middle() -> None:
    assert LUNG.height == 200 and LUNG.hilum_z == pytest.approx(104)


def test_the_dome_falls_sideways_and_forwards() -> None:
    """36 mm below its top it is 2 · 60 / √36 · √36 = 120 mm deep; 60 mm aside it is 30 mm lower."""
    below = length(LUNG.dome(at(199, 236, 230), at(65, 125)))
    assert below[0].tolist() == [0, 0]
    assert below[1].tolist() == pytest.approx([120, 20 * np.sqrt(6)], rel=1e-4)
    assert below[2, 1] == pytest.approx(0, abs=0.1)


def test_a_shift_moves_the_inner_border_from_80_mm_on() -> None:
    shifted = dataclasses.replace(LUNG, shift=10.0)
    assert shifted.medial_border_r(at(0, 80, 150)).tolist() == pytest.approx([46, 32, 32])


def test_a_seed_is_one_person() -> None:
    one, same, other = draw_anatomy(1, Posture.UPRIGHT), draw_anatomy(1, Posture.UPRIGHT), 2
    assert one == same and one != draw_anatomy(other, Posture.UPRIGHT)


def test_lying_down_raises_the_diaphragm_of_the_same_person() -> None:
    for seed in range(10):
        up, down = (draw_anatomy(seed, posture) for posture in Posture)
        assert down.right.height < up.right.height
        assert (down.female, down.wall, down.right.half_width) == (
            up.female,
            up.wall,
            up.right.half_width,
        )


def test_a_shift_pushes_both_lungs_and_the_heart_one_way() -> None:
    """To the patient's left: toward the left lung, away from the right one."""
    still, moved = (draw_anatomy(3, Posture.UPRIGHT, shift) for shift in (0.0, 15.0))
    assert (moved.left.shift, moved.right.shift) == (15.0, -15.0)
    for before, after in zip(still.heart, moved.heart, strict=True):
        assert 0 < after.centre_zyx[2] - before.centre_zyx[2] <= 15.001
    assert side_sign(Side.LEFT) == 1 and side_sign(Side.RIGHT) == -1


def test_bullae_change_nothing_else_and_lie_in_their_lung() -> None:
    for seed in range(20):
        plain = draw_anatomy(seed, Posture.UPRIGHT)
        with_bullae = draw_anatomy(seed, Posture.UPRIGHT, bullae=True)
        assert plain.bullae == () and dataclasses.replace(with_bullae, bullae=()) == plain
        assert 1 <= len(with_bullae.bullae) <= 4
        for side, bulla in with_bullae.bullae:
            lung, r = with_bullae.lung(side), bulla.centre_zyx[2] * side_sign(side)
            assert 30 <= r < lung.lateral_r(at(bulla.centre_zyx[0]))[0]


def test_left_is_the_higher_diaphragm_s_other_side() -> None:
    """The liver holds the right dome up."""
    for seed in range(20):
        anatomy = draw_anatomy(seed, Posture.UPRIGHT)
        assert anatomy.left.dome_z > anatomy.right.dome_z
