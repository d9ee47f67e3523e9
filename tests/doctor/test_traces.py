"""Traces of a file's history: each has a name, none depends on where the middle lies."""

from __future__ import annotations

import numpy as np
from noise_films import noise_film

from pneumoseg.doctor.traces import TRACE_NAMES, measure_traces


def test_every_trace_has_a_name_and_is_finite() -> None:
    traces = measure_traces(noise_film(0, compressed=False), 5000)
    assert traces.shape == (len(TRACE_NAMES),)
    assert np.isfinite(traces).all()
    assert np.isfinite(measure_traces(np.zeros((64, 64), np.float32), 1)).all()


def test_blocks_keep_their_place_in_large_films() -> None:
    """The window of a large film begins at a multiple of 8, or the blocks would be missed."""
    film = np.tile(noise_film(3, compressed=True), (8, 8))[:760, :744]
    shifted = np.ascontiguousarray(film[3:, 5:])
    places = [i for i, name in enumerate(TRACE_NAMES) if name.startswith("share below 0.5")]
    aligned, moved = measure_traces(film, 1)[places], measure_traces(shifted, 1)[places]
    assert aligned.mean() > moved.mean() + 0.2
