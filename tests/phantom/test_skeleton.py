"""Bones: how much water they add, and where they are."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from pneumoseg.phantom.anatomy import Posture, draw_anatomy
from pneumoseg.phantom.skeleton import CORTICAL_EXTRA, MARROW_EXTRA, _tube, bones

ANATOMY = draw_anatomy(1, Posture.UPRIGHT)
Z, X = (np.arange(first, 300 - 60 * k, 2.0, dtype=np.float32) for k, first in ((0, -60), (2, -180)))


def test_a_tube_is_cortex_around_marrow() -> None:
    """Half height 6 and thickness 6.5 mm, cortex 1.2 mm: in the middle 2.4 mm of it, 4.1 within."""
    distance = np.array([0.0, 5.5, 6.0, 9.0], dtype=np.float32)
    extra = _tube(distance, 6.0, 6.5)
    assert extra[0] == pytest.approx(2.4 * CORTICAL_EXTRA + 4.1 * MARROW_EXTRA, rel=1e-5)
    # 0.5 mm within its edge there is cortex alone: 6.5 · √(1 − (5.5 / 6)²) mm of it
    assert extra[1] == pytest.approx(6.5 * np.sqrt(1 - (5.5 / 6) ** 2) * CORTICAL_EXTRA, rel=1e-4)
    assert extra[2:].tolist() == pytest.approx([0, 0], abs=1e-3)


def test_no_bone_takes_anything_away() -> None:
    for bone in bones(ANATOMY, Z, X):
        assert bone.extra.shape == (Z.size, X.size) and bone.extra.dtype == np.float32
        assert bone.extra.min() >= 0 and np.isfinite(bone.extra).all() and bone.extra.max() > 1


def test_each_bone_has_depth_where_it_is() -> None:
    """The CT spreads a bone over its depth: mineral without depth would be lost in it."""
    for bone in bones(ANATOMY, Z, X):
        front, back = bone.depth
        assert (back > front)[bone.extra > 1e-2].all()


def test_ribs_lie_in_front_and_behind_and_the_spine_in_the_middle() -> None:
    back, front, spine = bones(ANATOMY, Z, X)[:3]
    for bone, sign in ((back, 1), (front, -1)):
        middle = np.add(*bone.depth)[bone.extra > 1].mean() / 2
        assert middle * sign > 20
    assert np.abs(X[spine.extra.max(axis=0) > 1]).max() < 60
    assert spine.extra[:, np.abs(X) < 10].mean() > 10 * spine.extra[:, np.abs(X) > 60].mean()


def test_mineral_content_scales_the_bones() -> None:
    """Osteoporosis at 0.6 of the healthy mineral."""
    healthy, poor = (dataclasses.replace(ANATOMY, bone=share) for share in (1.0, 0.6))
    for one, other in zip(bones(healthy, Z, X), bones(poor, Z, X), strict=True):
        assert other.extra.sum() == pytest.approx(0.6 * one.extra.sum(), rel=1e-3)
