"""What looks like a pneumothorax and is none is drawn where it belongs."""

from __future__ import annotations

import numpy as np
import pytest
from chest_ct import chest_ct

from pneumoseg.simulation.hard_negatives import IN_THE_LUNG, OUTSIDE_THE_LUNG
from pneumoseg.simulation.scan_noise import gaussian_noise
from pneumoseg.simulation.scene import Scene


@pytest.mark.parametrize("name", [*IN_THE_LUNG, *OUTSIDE_THE_LUNG])
def test_each_distractor_is_drawn_where_it_belongs(name: str) -> None:
    """Air drawn outside may not reach into a lung, where no mask knows of it, nor the reverse."""
    hu, labels = chest_ct(5, noise_hu=5.0)
    hu[:, 52:76, 58:70] -= 110  # fat between the lungs
    scene = Scene(hu, labels, gaussian_noise(5.0, 0.5, 0.6), (2.0, 1.0, 1.0))
    painter = {**IN_THE_LUNG, **OUTSIDE_THE_LUNG}[name]
    drawn = [painter(scene, np.random.default_rng(seed)) for seed in range(8)]
    done = [one for one in drawn if one is not None]
    assert done, "it never finds room"
    for one in done:
        assert one.dtype == np.float32 and one.shape == hu.shape
        changed = np.abs(one - hu) > 50
        wrong = labels == 0 if name in IN_THE_LUNG else labels > 0
        assert changed.sum() > 20
        assert (changed & wrong).sum() <= 0.03 * changed.sum()
