"""What lies over a film and is not the disease."""

from __future__ import annotations

import numpy as np
import pytest

from pneumoseg.phantom import (
    DistractorOdds,
    make_body,
)
from pneumoseg.phantom.distractors import CHEST_TUBE, MARKER, distractor_water


def test_distractors_come_as_often_as_asked() -> None:
    odds = DistractorOdds(chest_tube=0.25, marker=1.0, bullae=0.0)
    drawn = [odds.draw(np.random.default_rng(seed)) for seed in range(800)]
    assert np.mean([CHEST_TUBE in d for d in drawn]) == pytest.approx(0.25, abs=0.05)
    assert all(MARKER in d for d in drawn)
    assert not any("bullae" in d for d in drawn)
    with pytest.raises(ValueError, match="odds of chest_tube"):
        DistractorOdds(chest_tube=1.5)


def test_one_distractor_does_not_move_another() -> None:
    line = np.arange(-150, 250, 2.0, dtype=np.float32)
    anatomy = make_body(1).anatomy
    waters = [
        distractor_water(names, anatomy, np.random.default_rng(5), line, line)
        for names in (("ECG leads",), (CHEST_TUBE,), (CHEST_TUBE, "ECG leads"), ())
    ]
    assert np.allclose(waters[0] + waters[1], waters[2], atol=1e-4)
    assert waters[0].max() > 5 and waters[1].max() > 2 and not waters[3].any()
