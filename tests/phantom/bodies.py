"""Bodies and their scans, each made once."""

from __future__ import annotations

from functools import lru_cache

from pneumoseg.phantom import Body, Collapse, CtVolume, Posture, make_body, make_ct
from pneumoseg.study import Side

SPACING = (4.0, 4.0, 4.0)


@lru_cache(maxsize=16)
def body(seed: int, degree: float = 0.0, posture: Posture = Posture.UPRIGHT) -> Body:
    collapse = Collapse(Side.RIGHT, degree) if degree else None
    return make_body(seed, collapse=collapse, posture=posture)


@lru_cache(maxsize=16)
def scan(seed: int, degree: float = 0.0, posture: Posture = Posture.UPRIGHT) -> CtVolume:
    return make_ct(body(seed, degree, posture), spacing_mm=SPACING, noise_hu=0)
