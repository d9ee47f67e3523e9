"""The constancy check passes on its record, and tells a changed phantom from changed networks."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from pneumoseg.bundle import Bundle
from pneumoseg.calibration import Calibration
from pneumoseg.errors import BundleError
from pneumoseg.installation import check
from pneumoseg.installation.check import (
    CheckResult,
    CheckSettings,
    read_record,
    record_check,
    run_check,
)
from pneumoseg.phantom import PhantomFilm
from pneumoseg.preprocess import Window
from pneumoseg.settings import PipelineConfig
from pneumoseg.study import Image, Mask, Source, Units
from tiny_bundle import write_tiny_bundle, write_tiny_ct_bundle


@dataclasses.dataclass(frozen=True)
class FakeFilm:
    """The two parts of a phantom film that the check looks at."""

    image: Image
    mask: Mask


def fake_film(seed: int, *, pneumothorax: bool, size: int, grey: float = 0.0) -> FakeFilm:
    """Black, or with one white square that is its own truth: see tiny_bundle for the answers."""
    pixels = np.full((size, size), grey, np.float32)
    square = (slice(200, 300), slice(100 + seed % 10, 200 + seed % 10))
    mask = np.zeros(pixels.shape, np.bool_)
    if pneumothorax:
        pixels[square] = 1.0
        mask[square] = True
    image = Image(pixels, Units.UNIT_INTERVAL, (0.2, 0.2), Source(str(seed)))
    return FakeFilm(image, Mask(mask, (0.2, 0.2)))


@pytest.fixture(autouse=True)
def fake_phantom(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check, "make_film", fake_film)


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    made = write_tiny_bundle(tmp_path / "tiny", config=PipelineConfig(0.3, 0.5, 200))
    record_check(made)
    return made


def settings_for(bundle: Bundle, **changes: object) -> CheckSettings:
    return CheckSettings(bundle=str(bundle.folder), **changes)


def test_what_was_recorded_passes(bundle: Bundle) -> None:
    seen: list[tuple[int, int]] = []
    report = run_check(settings_for(bundle), lambda done, total: seen.append((done, total)))
    assert report.passed
    assert "All 12 films" in report.summary
    assert seen == [(k, 12) for k in range(1, 13)]
    assert (report.bundle, report.bundle_version, report.runtime) == ("tiny", "1.2", "openvino")


def test_the_record_holds_the_answers(bundle: Bundle) -> None:
    """An even seed is positive and segmented; an odd one is black, unsuspected and without Dice."""
    film_9001, film_9002 = read_record(bundle).films[:2]
    assert (film_9001.seed, film_9001.positive, film_9001.area_px) == (9001, False, 0)
    assert film_9001.dice is None
    assert film_9001.probability == pytest.approx(0.1192, abs=1e-4)  # the sigmoid of -2
    assert film_9001.grid_blocks == (0.0,) * 16
    assert film_9002.positive
    assert film_9002.area_px == pytest.approx(10_000, abs=250)
    assert film_9002.dice == pytest.approx(1.0, abs=0.02)
    # 100×100 white pixels of 1024² lie in the upper left of 4×4 fields of 256×256 but for rows
    # from 256 on: 56 × 100 of 65536, times 255.
    assert film_9002.grid_blocks[0] == pytest.approx(255 * 56 * 100 / 65536, abs=0.3)


@pytest.mark.parametrize("runtime", ["onnxruntime"])
def test_another_runtime_gives_the_recorded_results(runtime: str, bundle: Bundle) -> None:
    assert run_check(settings_for(bundle, runtime=runtime)).passed


def test_another_calibration_is_found(bundle: Bundle, tmp_path: Path) -> None:
    """The same films, but a probability off by more than 0.02: the networks are to blame."""
    other = write_tiny_bundle(
        tmp_path / "other",
        config=PipelineConfig(0.3, 0.5, 200),
        calibration=Calibration("temperature", 1.0, 0.5),
    )
    (other.folder / check.RECORD_FILE).write_bytes((bundle.folder / check.RECORD_FILE).read_bytes())
    report = run_check(settings_for(other))
    assert not report.passed
    assert all(row.same_phantom for row in report.rows)
    assert report.rows[0].problem == "probability 0.182, recorded 0.119"
    assert "networks answer differently" in report.summary


def test_another_phantom_is_not_blamed_on_the_networks(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(check, "make_film", lambda seed, **how: fake_film(seed, **how, grey=0.05))
    report = run_check(settings_for(bundle))
    assert not report.passed
    assert not any(row.same_phantom for row in report.rows)
    assert "phantom films differ" in report.summary


def test_a_rounding_of_the_phantom_is_forgiven(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A few pixels one grey level off give another SHA-256, but not another film."""

    def nearly(seed: int, *, pneumothorax: bool, size: int) -> FakeFilm:
        film = fake_film(seed, pneumothorax=pneumothorax, size=size)
        pixels = film.image.pixels.copy()
        pixels[-8:, -8:] = 1 / 255
        return dataclasses.replace(film, image=dataclasses.replace(film.image, pixels=pixels))

    monkeypatch.setattr(check, "make_film", nearly)
    report = run_check(settings_for(bundle))
    assert report.passed
    assert report.rows[0].found.grid_sha256 != report.rows[0].expected.grid_sha256


RECORDED = CheckResult(1, "0" * 64, (0.0,) * 16, 0.8, True, 20_000, 0.9)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({}, ""),
        ({"probability": 0.819}, ""),
        ({"probability": 0.825}, "probability 0.825, recorded 0.800"),
        ({"area_px": 21_900}, ""),  # 5 % of 20,000 and 1,000 more are allowed
        ({"area_px": 22_100}, "area 22100 px, recorded 20000 px"),
        ({"dice": 0.84}, "Dice 0.840, recorded 0.900"),
        ({"dice": 0.86}, ""),
        ({"positive": False, "area_px": 0}, "decision False, recorded True"),
    ],
)
def test_tolerances(changes: dict, problem: str) -> None:
    row = check._compare(RECORDED, dataclasses.replace(RECORDED, **changes), threshold=0.35)
    assert row.problem == problem


def test_a_film_recorded_at_the_threshold_may_fall_on_either_side() -> None:
    edge = dataclasses.replace(RECORDED, probability=0.355)
    found = dataclasses.replace(edge, probability=0.349, positive=False, area_px=0, dice=0.0)
    assert check._compare(edge, found, threshold=0.35).passed


def test_a_bundle_without_a_record_says_how_to_make_one(tmp_path: Path) -> None:
    made = write_tiny_bundle(tmp_path / "tiny")
    with pytest.raises(BundleError, match="pneumoseg check --record"):
        run_check(settings_for(made))
    assert run_check(settings_for(made, record=True)).passed
    assert run_check(settings_for(made)).passed


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('bundle_version = "1.2"', 'bundle_version = "1.1"', "recorded with version 1.1"),
        ("seed = 9001", "seed = 8", "other phantom films"),
        ("seed = 9001", "sed = 9001", "unknown key"),
    ],
)
def test_a_record_of_something_else_is_refused(
    old: str, new: str, words: str, bundle: Bundle
) -> None:
    path = bundle.folder / check.RECORD_FILE
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(BundleError, match=words):
        run_check(settings_for(bundle))


def test_the_phantom_has_what_the_check_reads() -> None:
    """The fake above must not outlive a change of the real phantom film."""
    names = {field.name for field in dataclasses.fields(PhantomFilm)}
    assert {"image", "mask"} <= names


@pytest.fixture
def ct_bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bundle:
    """Two coarse phantom volumes instead of four."""
    monkeypatch.setattr(check, "CT_SEEDS", (9021, 9022))
    monkeypatch.setattr(check, "CT_SPACING_MM", (30.0, 4.0, 4.0))
    made = write_tiny_ct_bundle(tmp_path / "tiny_ct", window=Window())
    record_check(made)
    return made


def test_a_ct_bundle_is_checked_on_volumes(ct_bundle: Bundle) -> None:
    report = run_check(settings_for(ct_bundle))
    assert report.passed and report.summary == "All 2 volumes gave the recorded results."
    healthy, positive = read_record(ct_bundle).films
    assert (healthy.seed, positive.seed) == (9021, 9022)
    assert healthy.dice is None and positive.dice is not None
    assert run_check(settings_for(ct_bundle, runtime="onnxruntime")).passed


def test_another_ct_phantom_is_not_blamed_on_the_networks(
    ct_bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(check, "CT_DEGREE", 0.5)
    report = run_check(settings_for(ct_bundle))
    assert [row.same_phantom for row in report.rows] == [True, False]
    assert "phantom volumes differ" in report.summary


def test_ct_seeds_of_the_check() -> None:
    assert len(check.CT_SEEDS) == 4 and not set(check.CT_SEEDS) & set(check.SEEDS)
    assert sum(seed % 2 == 0 for seed in check.CT_SEEDS) == 2
