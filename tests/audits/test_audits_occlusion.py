"""The occlusion audit: regions of known size, and a shortcut at the border that it must find."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from audit_films import SIDE, dim_film, film_arguments, write_films

from pneumoseg.audits.occlusion import OcclusionAuditSettings, run_occlusion_audit
from pneumoseg.errors import UsageError
from tiny_bundle import write_tiny_bundle


def test_a_shortcut_at_the_border_is_found(tmp_path: Path) -> None:
    """Positive films are brighter at their border alone: covering it must cost everything."""
    rng, films = np.random.default_rng(2), {}
    for k in range(10):
        pixels = dim_film(rng)
        if k % 2:
            pixels[:4] = 30
        films[f"f{k}"] = (pixels, bool(k % 2))
    write_films(tmp_path / "films", films)
    settings = OcclusionAuditSettings(
        **film_arguments(tmp_path / "films"),  # type: ignore[arg-type]
        bundle=str(write_tiny_bundle(tmp_path / "tiny").folder),
        widths=(0.05,),
        places=1,
        repeats=50,
        threads=1,
    )
    audit = run_occlusion_audit(settings)
    panels = {panel.title: {f.name: f for f in panel.figures} for panel in audit.panels}
    auroc = panels["AUROC of pneumothorax"]
    assert auroc["as it is"].value == 1.0
    covered = auroc["border of 5.0% covered"].value
    assert covered is not None
    assert covered < 0.9
    only = panels["AUROC of pneumothorax from what holds no lung"]
    assert only["only a border of 5.0% left"].value == 1.0
    assert any("what lies there tells something" in sentence for sentence in audit.sentences)
    assert SIDE * 0.05 > 4, "the covered border must hold the shortcut"


def test_settings_are_checked() -> None:
    with pytest.raises(UsageError, match="widths"):
        OcclusionAuditSettings(Path("i"), Path("m"), widths=(0.5,))
    with pytest.raises(UsageError, match="places"):
        OcclusionAuditSettings(Path("i"), Path("m"), places=0)
