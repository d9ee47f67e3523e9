"""The history audit: what it changes, its verdict, and its positive control."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from audit_films import SIDE, film_arguments, write_films

from pneumoseg.audits import history
from pneumoseg.audits.history import (
    HistoryAuditSettings,
    at_side,
    compress,
    resize,
    run_history_audit,
)
from pneumoseg.errors import UsageError
from pneumoseg.metrics import Estimate
from tiny_bundle import write_tiny_bundle


def test_a_flat_film_survives_every_history() -> None:
    flat = np.full((96, 64), 128, dtype=np.uint8)
    assert (compress(flat, 50) == 128).all()
    assert (resize(resize(flat, (48, 32)), (96, 64)) == 128).all()
    large = []
    back = at_side(flat, 192, lambda p: large.append(p.shape) or p)
    assert large == [(192, 128)], "the longer side is brought to the asked one, proportions kept"
    assert back.shape == (96, 64)


def test_compression_loses_more_at_lower_quality() -> None:
    film = np.random.default_rng(0).integers(0, 255, (64, 64), dtype=np.uint8)
    loss = [np.abs(compress(film, q).astype(int) - film).mean() for q in (30, 70, 95)]
    assert loss[0] > loss[1] > loss[2] > 0


def figure_of(value: float, low: float | None, high: float | None) -> Estimate:
    return Estimate("x", value, low, high, 9, 4, 9, "patient")


@pytest.mark.parametrize(
    ("figure", "message"),
    [
        (figure_of(0.5, 0.49, 0.51), "does not read"),
        (figure_of(0.508, 0.506, 0.511), "too little"),
        (figure_of(0.55, 0.49, 0.61), "do not rule it out"),
        (figure_of(0.7, 0.6, 0.8), "it reads the pass"),
        (figure_of(0.5, None, None), "nothing can be said"),
    ],
)
def test_the_verdict_follows_the_interval(figure: Estimate, message: str) -> None:
    assert message in history._verdict(figure)


def test_the_control_sees_what_a_brightness_reader_does_not(tmp_path: Path) -> None:
    """The tiny bundle reads mean brightness, which a compression hardly moves."""
    rng = np.random.default_rng(1)
    films = {}
    for k in range(8):
        smooth = np.clip(rng.normal(8, 4, (SIDE, SIDE)) + 6 * (k % 2), 0, 255)
        films[f"f{k}"] = (smooth.astype(np.uint8), bool(k % 2))
    write_films(tmp_path / "films", films)
    settings = HistoryAuditSettings(
        **film_arguments(tmp_path / "films"),  # type: ignore[arg-type]
        bundle=str(write_tiny_bundle(tmp_path / "tiny").folder),
        qualities=(75,),
        pass_side=256,
        repeats=50,
        threads=1,
    )
    audit = run_history_audit(settings)
    panels = {panel.title: panel.figures for panel in audit.panels}
    telling = panels["AUROC of telling films with the extra pass by the classifier"][0]
    control = panels["positive control: AUROC of telling them by a trace in the pixels"][0]
    assert telling.name == "JPEG 75 at 256"
    assert telling.value is not None
    assert abs(telling.value - 0.5) < 0.1
    assert control.value == 1.0
    assert panels["AUROC of pneumothorax"][0].value == 1.0
    assert audit.facts["films"] == 8


def test_settings_are_checked() -> None:
    with pytest.raises(UsageError, match="qualities"):
        HistoryAuditSettings(Path("i"), Path("m"), qualities=(0,))
    with pytest.raises(UsageError, match="pass_side"):
        HistoryAuditSettings(Path("i"), Path("m"), pass_side=8)
