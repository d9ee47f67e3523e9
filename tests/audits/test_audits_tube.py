"""The tube audit: phantoms that differ in a tube alone, painted tubes, labelled drains."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from audit_films import dim_film, film_arguments, write_films

from pneumoseg.audits.scores import ORIGINAL, Scores
from pneumoseg.audits.tube import (
    TubeAuditSettings,
    drain_panels,
    read_drains,
    run_tube_audit,
)
from pneumoseg.errors import DataError, UsageError
from pneumoseg.statistics.paired import FilmEstimator
from tiny_bundle import write_tiny_bundle


def test_drains_split_the_films() -> None:
    """Positives with a drain score high, all else alike: the drain does the work."""
    label = np.array([True, True, True, True, False, False, False, False])
    drain = np.array([True, True, False, False, True, False, False, False])
    logit = np.array([9.0, 8.0, 1.0, 3.0, 7.0, 0.0, 2.0, 4.0])
    patient = np.array(list("abcdefgh"))
    scores = Scores(patient, patient, label, {ORIGINAL: logit}, {ORIGINAL: logit / 10})
    auroc, mean, telling = drain_panels(FilmEstimator(label, patient, 0, 50), scores, drain)
    values = {figure.name: figure.value for figure in auroc.figures}
    assert values["films with a drain"] == 1.0
    assert values["films without a drain"] == 0.5  # 1 and 3 against 0, 2, 4
    assert values["positive with drain, negative without drain"] == 1.0
    assert values["positive without drain, negative with drain"] == 0.0
    assert values["positive without drain, all negative"] == 3 / 8
    assert {f.name: f.value for f in mean.figures}["positive, with drain"] == pytest.approx(0.85)
    assert telling.figures[0].value == 1.0
    assert telling.figures[0].n == 4


def drains_file(folder: Path, text: str) -> Path:
    path = folder / "drains.csv"
    path.write_text(text)
    return path


def test_drains_are_read_strictly(tmp_path: Path) -> None:
    found = read_drains(drains_file(tmp_path, "ImageId,drain\na.dcm,1\nb, no\n"))
    assert found == {"a": True, "b": False}
    with pytest.raises(DataError, match="0 or 1, got 'maybe'"):
        read_drains(drains_file(tmp_path, "image_id,drain\na,maybe\n"))
    with pytest.raises(DataError, match="twice"):
        read_drains(drains_file(tmp_path, "image_id,drain\na,1\na,0\n"))


def test_the_audit_runs_on_films_drains_and_phantoms(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    write_films(tmp_path / "films", {f"f{k}": (dim_film(rng), bool(k % 2)) for k in range(6)})
    rows = "".join(f"f{k},{int(k < 3)}\n" for k in range(6))
    settings = TubeAuditSettings(
        **film_arguments(tmp_path / "films"),  # type: ignore[arg-type]
        bundle=str(write_tiny_bundle(tmp_path / "tiny").folder),
        drains=drains_file(tmp_path, "image_id,drain\n" + rows),
        contrasts=(3.0,),
        phantoms=2,
        phantom_size=64,
        repeats=20,
        threads=1,
    )
    audit = run_tube_audit(settings)
    panels = {panel.title: {f.name: f for f in panel.figures} for panel in audit.panels}
    change = panels["painted on films: change of probability, mean"]
    # the tiny bundle reads brightness, and a tube is bright
    rise = change["chest tube painted, contrast ×3, positive"].value
    assert rise is not None
    assert rise > 0
    visible = panels["positive control: AUROC of telling them by a matched filter"]
    assert visible["chest tube painted, contrast ×3"].value == 1.0
    assert panels["phantoms: AUROC of pneumothorax"]["every film has a tube"].n == 4
    assert any("it speaks for pneumothorax" in sentence for sentence in audit.sentences)


def test_a_film_without_a_drain_label_is_an_error(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    write_films(tmp_path / "films", {f"f{k}": (dim_film(rng), bool(k % 2)) for k in range(3)})
    settings = TubeAuditSettings(
        **film_arguments(tmp_path / "films"),  # type: ignore[arg-type]
        out=tmp_path / "out",
        bundle=str(write_tiny_bundle(tmp_path / "tiny").folder),
        drains=drains_file(tmp_path, "image_id,drain\nf0,1\n"),
        phantoms=0,
        threads=1,
    )
    with pytest.raises(DataError, match="2 of the 3 films are not in .*the first is f1"):
        run_tube_audit(settings)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": Path("i")}, "images and masks"),
        ({"drains": Path("d")}, "images and masks as well"),
        ({"phantoms": 0}, "nothing to audit"),
        ({"phantoms": -1}, "0 or more"),
        ({"contrasts": (0.0,)}, "positive"),
    ],
)
def test_contradictory_settings_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        TubeAuditSettings(**changes)  # type: ignore[arg-type]
