"""Local recalibration: the fit is held back, judged on unseen films, and says what it may."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from scipy import special

from pneumoseg.bundle import load_bundle
from pneumoseg.errors import BundleError, DataError, UsageError
from pneumoseg.operating_point.local_labels import LocalFilms, read_labels, read_local_films
from pneumoseg.operating_point.recalibration import RecalibrateSettings, run_recalibrate
from pneumoseg.operating_point.recalibration_fit import (
    LocalScores,
    cross_validate,
    fit_shrunk,
    local_threshold,
    refuse_too_few,
)
from tiny_bundle import write_tiny_bundle


def drawn(n: int, slope: float, shift: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Log-odds and labels whose true probability is expit(slope * odds + shift)."""
    rng = np.random.default_rng(seed)
    odds = rng.normal(0, 2, n)
    return odds, rng.random(n) < special.expit(slope * odds + shift)


def test_many_films_are_believed_and_few_are_held_back() -> None:
    slope, shift = fit_shrunk(*drawn(20000, 0.5, 1.5))
    assert (slope, shift) == (pytest.approx(0.5, abs=0.03), pytest.approx(1.5, abs=0.05))
    odds, label = drawn(30, 0.2, 3.0, seed=1)
    few = fit_shrunk(odds, label)
    more = fit_shrunk(np.tile(odds, 20), np.tile(label, 20))
    assert abs(np.log(few[0])) < abs(np.log(more[0])), "fewer films move the slope less"
    assert abs(few[1]) < abs(more[1]), "fewer films move the shift less"


def test_the_fit_is_the_maximum_of_the_posterior() -> None:
    odds, label = drawn(60, 0.5, 1.0, seed=2)

    def posterior(slope: float, shift: float) -> float:
        z = slope * odds + shift
        prior = (np.log(slope) / 0.5) ** 2 / 2 + (shift / 2.0) ** 2 / 2
        return float(np.sum(label * z - np.logaddexp(0, z)) - prior)

    slope, shift = fit_shrunk(odds, label)
    best = posterior(slope, shift)
    for step in (0.98, 1.02):
        assert posterior(slope * step, shift) < best
        assert posterior(slope, shift + step - 1) < best


def test_the_threshold_claims_what_few_patients_allow() -> None:
    names = np.array([f"p{k}" for k in range(72)])
    label = np.arange(72) < 12
    probability = np.where(label, 0.5 + np.arange(72) / 200, 0.2)
    few = local_threshold(probability, label, names, 0.95)
    assert few.lower_bound == pytest.approx(0.05 ** (1 / 12))
    assert few.threshold == pytest.approx((0.5 + 0.2) / 2)  # no miss is allowed
    label = np.arange(72) < 60
    many = local_threshold(np.where(label, 0.5 + np.arange(72) / 200, 0.2), label, names, 0.95)
    assert many.target == 0.95
    label = np.arange(72) < 40
    some = local_threshold(np.where(label, 0.5 + np.arange(72) / 200, 0.2), label, names, 0.95)
    assert some.allowed_misses == 2  # 5 % of 40


def scores(n: int = 40, seed: int = 0) -> LocalScores:
    odds, label = drawn(n, 1.0, 0.0, seed)
    return LocalScores(odds, label, np.array([f"p{k // 2}" for k in range(n)]))


def test_no_film_is_judged_by_a_fit_that_saw_its_patient() -> None:
    local = scores()
    held_out, suspected = cross_validate(local.logit, local, recall=0.95, seed=0)
    mine = local.patient == "p3"
    slope, shift = fit_shrunk(local.logit[~mine], local.label[~mine])
    fitted = special.expit(slope * local.logit + shift)
    assert held_out[mine] == pytest.approx(fitted[mine], abs=1e-6)
    rest = local_threshold(fitted[~mine], local.label[~mine], local.patient[~mine], 0.95)
    assert (suspected[mine] == (fitted[mine] >= rest.threshold)).all()


def test_too_few_patients_are_refused() -> None:
    label = np.arange(40) < 20
    patient = np.array([f"p{k}" for k in range(40)])
    refuse_too_few(LocalScores(np.zeros(40), label, patient))
    patient[:20] = [f"q{k % 9}" for k in range(20)]  # twenty films, but of nine patients
    with pytest.raises(DataError, match="in 9 patients and without in 20, are too few"):
        refuse_too_few(LocalScores(np.zeros(40), label, patient))


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """Films whose brightness overlaps between the classes, brighter than the parent expects."""
    (tmp_path / "images").mkdir()
    rng, lines = np.random.default_rng(5), ["image_id,label"]
    for k in range(30):
        positive = k % 2 == 0
        level = int(rng.integers(3, 8) + 3 * positive)
        film = rng.integers(level - 2, level + 3, (64, 64), dtype=np.uint8)
        cv2.imwrite(str(tmp_path / "images" / f"f{k}.png"), film)
        lines.append(f"f{k},{int(positive)}")
    (tmp_path / "labels.csv").write_text("\n".join(lines) + "\n")
    write_tiny_bundle(tmp_path / "parent")
    return tmp_path


def settings(site: Path, **changes: object) -> RecalibrateSettings:
    values: dict[str, object] = {
        "images": site / "images",
        "labels": site / "labels.csv",
        "bundle": str(site / "parent"),
        "out": site / "derived",
        "repeats": 50,
        "threads": 1,
    }
    return RecalibrateSettings(**{**values, **changes})  # type: ignore[arg-type]


def test_a_bundle_is_derived_with_its_report(site: Path) -> None:
    done = run_recalibrate(settings(site, origin="ward 3"))
    card = load_bundle(site / "derived").card
    assert card.parent.startswith("tiny 1.2 ")
    assert card.calibration.temperature == pytest.approx(1 / done.slope)
    assert card.calibration.bias == pytest.approx(done.shift)
    assert "ward 3: 30 films of 30 patients, 15 of them positive" in card.training.notes[-1]
    assert {f.name: f.n for f in card.figures if f.origin == "ward 3"} == {
        "AUROC": 30,
        "recall": 15,
        "specificity": 15,
    }
    report = json.loads((site / "derived" / "recalibration.json").read_text())
    assert report["facts"]["asked_recall"]["more_units_needed"] == 44  # 59 less 15
    assert any("44 more needed" in sentence for sentence in report["sentences"])
    assert (site / "derived" / "recalibration.png").is_file()
    gain = next(f for p in report["panels"] for f in p["figures"] if "fall by" in f["name"])
    assert gain["value"] > 0, "brighter films than the parent expects: a fit must pay"


def test_the_parents_decisions_can_be_kept(site: Path) -> None:
    run_recalibrate(settings(site, keep_threshold=True))
    parent, derived = (load_bundle(site / name).card for name in ("parent", "derived"))
    logits = np.linspace(-6, 6, 501)
    was = parent.calibration.apply(logits) >= parent.config.classifier_threshold
    now = derived.calibration.apply(logits) >= derived.config.classifier_threshold
    assert (was == now).all()


def test_chosen_films_are_brought_to_a_prevalence(site: Path) -> None:
    plain = run_recalibrate(settings(site))
    rare = run_recalibrate(settings(site, prevalence=0.1, out=site / "rare"))
    assert rare.slope == plain.slope
    assert rare.shift - plain.shift == pytest.approx(special.logit(0.1) - special.logit(0.5))


def test_too_few_films_leave_nothing_behind(site: Path) -> None:
    lines = (site / "labels.csv").read_text().splitlines()
    (site / "labels.csv").write_text("\n".join(lines[:13]) + "\n")
    with pytest.raises(DataError, match="label more"):
        run_recalibrate(settings(site))
    assert not (site / "derived").exists()
    with pytest.raises(BundleError, match="not a bundle"):
        run_recalibrate(settings(site, out=site / "images"))


def test_labels_come_from_masks_or_a_column(site: Path) -> None:
    masks = site / "masks.csv"
    masks.write_text("ImageId, EncodedPixels\nf1, -1\nf2, 3 4\nf2, 9 1\n")
    films = LocalFilms(site / "images", masks=masks)
    assert read_labels(films) == {"f1": False, "f2": True}
    assert [(f.label, f.patient_id) for f in read_local_films(films)] == [
        (False, "f1"),
        (True, "f2"),
    ]
    masks.write_text("ImageId, EncodedPixels\nf1, -1\nelsewhere, 3 4\n")
    with pytest.raises(DataError, match="1 of the 2 labelled films .*elsewhere"):
        list(read_local_films(films))
    (site / "labels.csv").write_text("image_id,label\nf1,2\n")
    with pytest.raises(DataError, match="0 or 1, got '2'"):
        read_labels(LocalFilms(site / "images", labels=site / "labels.csv"))
    table = site / "table.csv"
    table.write_text("image_id,patient_id,ward\nf1,p,3\nf2,q,4\n")
    masks.write_text("ImageId, EncodedPixels\nf1, -1\nf2, 3 4\n")
    chosen = LocalFilms(site / "images", masks=masks, table=table, where=("ward=4",))
    assert [f.patient_id for f in read_local_films(chosen)] == ["q"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"masks": Path("m")}, "either masks"),
        ({"labels": None}, "either masks"),
        ({"recall": 1.0}, "recall"),
        ({"prevalence": 0.0}, "prevalence"),
        ({"where": ("a=b",)}, "--table"),
    ],
)
def test_wrong_settings_are_refused(
    tmp_path: Path, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        settings(tmp_path, **changes)
