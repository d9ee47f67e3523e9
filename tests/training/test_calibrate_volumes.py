"""CT: what the calibration part chooses, by hand; the whole road from NIfTI pairs to a bundle."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pneumoseg.bundle import load_bundle
from pneumoseg.ct.inference import VolumeCascade
from pneumoseg.dataset.cache import Cache
from pneumoseg.dataset.labelled_volumes import LabelledVolume, SlicePicture, volumes_of
from pneumoseg.dataset.prepare.run import PrepareSettings, prepare
from pneumoseg.dataset.prepare.volumes import VolumeSourceSettings
from pneumoseg.dataset.splits import Fractions
from pneumoseg.errors import DataError
from pneumoseg.installation import check
from pneumoseg.preprocess import Window
from pneumoseg.reading.volumes import find_volumes, open_volume
from pneumoseg.statistics.segmenter_search import MIN_PIXELS_CHOICES, THRESHOLDS
from pneumoseg.study import Modality
from pneumoseg.training import loop
from pneumoseg.training.calibrate import Calibrated, CalibrateSettings, calibrate
from pneumoseg.training.calibrate_volumes import (
    MIN_VOLUME_CHOICES_ML,
    LesionSearch,
    kept_voxels,
    threshold_for_every_source,
)
from pneumoseg.training.loop import train
from pneumoseg.training.recipes import ClassifierRecipe, Schedule, SegmenterRecipe
from pneumoseg.training.tasks import ClassifierTask, SegmenterTask
from volume_pairs import chest, write_pair, write_truth


def test_the_threshold_reaches_the_recall_in_the_harder_source() -> None:
    """Pooled, 15 of 20 need 0.5; the hard source alone reaches 3 of 4 only from 0.2 on."""
    labels = np.ones(20, dtype=np.bool_)
    easy, hard = np.full(16, 0.9), np.array([0.8, 0.3, 0.2, 0.1])
    sources = np.repeat(["easy", "hard"], [16, 4])
    threshold = threshold_for_every_source(np.append(easy, hard), labels, sources, 0.75)
    assert threshold == pytest.approx(0.15)  # halfway to the next lower probability


def test_a_source_of_negatives_alone_sets_no_threshold() -> None:
    probability = np.array([0.9, 0.7, 0.95])
    labels = np.array([True, True, False])
    sources = np.array(["a", "a", "b"])
    assert threshold_for_every_source(probability, labels, sources, 1.0) == pytest.approx(0.35)
    with pytest.raises(DataError, match="no positive slice"):
        threshold_for_every_source(probability, labels & False, sources, 1.0)


def _levels() -> tuple[np.ndarray, np.ndarray]:
    """Two lesions: 8 voxels at 0.8 over two slices, the truth; 2 voxels at 0.4 in one slice."""
    levels = np.zeros((3, 8, 8), dtype=np.uint8)
    levels[0:2, 1:3, 1:3] = 204
    levels[1, 6, 5:7] = 102
    truth = np.zeros(levels.shape, dtype=np.bool_)
    truth[0:2, 1:3, 1:3] = True
    return levels, truth


def test_components_are_counted_through_the_slices() -> None:
    """Slices of 0.5 and 1 mL a voxel: 4 × 0.5 + 4 × 1 = 6 mL, and 2 mL."""
    levels, truth = _levels()
    size, shared = kept_voxels(
        levels, truth, np.array([0.5, 1.0, 1.0]), (0.4, 0.5, 0.9), (0.0, 2.0, 2.5, 6.0, 7.0)
    )
    assert size.tolist() == [[10, 10, 8, 8, 0], [8, 8, 8, 8, 0], [0] * 5]
    assert shared.tolist() == [[8, 8, 8, 8, 0], [8, 8, 8, 8, 0], [0] * 5]


def _labelled(truth: np.ndarray, volume: object) -> LabelledVolume:
    return LabelledVolume("a", "a", volume, truth, 30)  # type: ignore[arg-type]


@dataclass
class _Plain:
    """What a volume says of itself, without any slices."""

    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float] | None
    geometry: None = None


def test_the_search_drops_the_false_lesion_by_threshold_or_by_size() -> None:
    """A volume whose true lesion is at 0.3 like the false one: only mL tells them apart."""
    levels, truth = _levels()
    levels[levels > 0] = 77  # 0.30
    search = LesionSearch()
    volume = _Plain((3, 8, 8), (10.0, 10.0, 10.0))  # 1 mL a voxel
    search.add(_labelled(truth, volume), levels)
    best = search.best()
    assert best.threshold == 0.3
    assert (best.min_volume_ml, best.volume_dice) == (8.0, 1.0)  # the lesion has 8 mL
    assert (best.min_pixels, best.picture_dice) == (200, None)  # no picture: the default


def test_pictures_choose_pixels_and_healthy_ones_have_no_say() -> None:
    """On a 512 picture: 100 true pixels at 0.6; in a healthy one 300 pixels at 0.6."""
    true = np.zeros((1, 512, 512), dtype=np.bool_)
    true[0, 100:110, 100:110] = True
    search = LesionSearch()
    picture = _Plain((1, 512, 512), None)
    search.add(_labelled(true, picture), (true * 153).astype(np.uint8))
    false = np.zeros_like(true)
    false[0, 300:310, 300:330] = True
    search.add(_labelled(true & False, picture), (false * 153).astype(np.uint8))
    best = search.best()
    assert best.min_pixels == 100
    assert best.threshold == 0.5
    assert (best.picture_dice, best.volume_dice, best.min_volume_ml) == (1.0, None, 0.0)


@pytest.mark.parametrize(("fragment", "smallest"), [(30, 800), (250, 200)])
def test_the_smallest_lesion_grows_where_that_costs_next_to_nothing(
    fragment: int, smallest: int
) -> None:
    """Of 10,000 true pixels a fragment apart: without it the Dice is 0.9985, or 0.988."""
    true = np.zeros((1, 512, 512), dtype=np.bool_)
    true[0, 100:200, 100:200] = True
    true[0, 300, 10 : 10 + fragment] = True
    search = LesionSearch()
    search.add(_labelled(true, _Plain((1, 512, 512), None)), (true * 153).astype(np.uint8))
    assert search.best().min_pixels == smallest


def test_the_choices_hold_the_defaults() -> None:
    assert 0.5 in THRESHOLDS and 200 in MIN_PIXELS_CHOICES and 0.0 in MIN_VOLUME_CHOICES_ML


# --- the whole road


@dataclass(frozen=True)
class Road:
    """What each step left."""

    folder: Path
    cache: Cache
    settings: CalibrateSettings
    done: Calibrated


_SCHEDULE = Schedule(
    epochs=1, films_per_epoch=8, batch_size=4, learning_rate=1e-3, precision="fp32", workers=0,
    threads=1,
)  # fmt: skip


def _write_pairs(folder: Path) -> Path:
    """Twelve bodies as volumes of four slices, one body held out, eight as single slices."""
    rows = []
    for body in range(12):
        name = f"v{body:02}"
        air = slice(1, 3) if body % 2 else None
        write_pair(folder, name, *chest(4, air, seed=body), spacing_mm=(5.0, 4.0, 4.0))
        rows.append((name, name, "drawn"))
    for number in range(2):
        name = f"held{number}"
        air = slice(0, 2) if number else None
        write_pair(folder, name, *chest(4, air, seed=20 + number), spacing_mm=(5.0, 4.0, 4.0))
        rows.append((name, "held", "held"))
    for body in range(8):
        name = f"s{body}"
        write_pair(folder, name, *chest(1, slice(0, 1) if body % 2 else None, seed=40 + body))
        rows.append((name, name, "slices"))
    return write_truth(folder, rows)


@pytest.fixture(scope="module")
def road(tmp_path_factory: pytest.TempPathFactory) -> Road:
    folder = tmp_path_factory.mktemp("road")
    table = _write_pairs(folder)
    drawn = VolumeSourceSettings(
        "drawn", folder / "volumes", folder / "masks", table=table, only="drawn"
    )
    held = replace(drawn, name="held", only="held", parts="test")
    slices = replace(drawn, name="slices", only="slices")
    cache = prepare(
        PrepareSettings(
            folder / "cache", workers=1, volumes=(held, drawn, slices),
            fractions=Fractions(0.3, 0.3), window=Window(-550, 1400),
        )
    )  # fmt: skip
    common = {"cache": cache.folder, "init": "scratch", "size": 64, "schedule": _SCHEDULE}
    classifier = ClassifierRecipe(
        out=folder / "classifier",
        evidence_weight=0.05,
        **common,  # type: ignore[arg-type]
    )
    segmenter = SegmenterRecipe(out=folder / "segmenter", **common)  # type: ignore[arg-type]
    settings = CalibrateSettings(
        classifier.out, segmenter.out, cache.folder, folder / "bundle", name="road", version="3",
        data="chests drawn by a test", licence="MIT", notes=("Simulated.",), origin="drawn air",
    )  # fmt: skip
    threads = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "draw_training_curves", lambda history, path: None)
        patch.setattr(check, "CT_SEEDS", (9022,))  # one volume instead of four
        train(ClassifierTask(classifier))
        train(SegmenterTask(segmenter))
        done = calibrate(settings)
    torch.set_num_threads(threads)
    return Road(folder, cache, settings, done)


def test_the_bundle_is_one_for_ct_with_the_caches_window(road: Road) -> None:
    card = load_bundle(road.settings.out).card
    assert card.modality is Modality.CT
    assert card.window == Window(-550, 1400)
    assert card.training.notes == ("Simulated.",)
    assert card.config.min_volume_ml in MIN_VOLUME_CHOICES_ML
    assert card == road.done.bundle.card
    assert (road.settings.out / "check.toml").is_file()


def test_the_volume_cascade_runs_on_it(road: Road) -> None:
    (found,) = find_volumes([road.folder / "volumes" / "v01.nii.gz"])
    finding = VolumeCascade.load(road.settings.out).predict(open_volume(found))  # type: ignore[arg-type]
    assert finding.shape == (4, 64, 64)
    assert finding.provenance.bundle == "road"


def test_every_source_has_its_figures_with_n_and_interval(road: Road) -> None:
    figures = {figure.name: figure for figure in road.done.figures}
    for source in ("held", "drawn", "slices"):
        for name in ("AUROC of slices", "recall of slices", "Dice of volumes"):
            assert f"{name} ({source})" in figures
    assert "correlation of mL (drawn)" in figures
    assert "correlation of mL (slices)" not in figures  # a single slice has no volume
    dice = figures["Dice of volumes (held)"]
    assert (dice.n, dice.n_positive, dice.n_patients) == (1, 1, 1)
    assert "by volume, of one anatomy" in dice.split
    slices = figures["AUROC of slices (held)"]
    assert (slices.n, slices.n_positive) == (7, 2)  # the slice beside the air is ambiguous
    assert "; 1 slices that are not clear left out" in slices.split
    assert all(figure.origin.startswith("drawn air") for figure in figures.values())
    assert {"int8 decisions equal to float32", "int8 masks, Dice with float32"} <= set(figures)


def test_whole_volumes_of_a_part_are_found_again(road: Road) -> None:
    tested = volumes_of(road.cache, "test")
    assert {place.anatomy for place in tested if place.settings.name == "held"} == {"held"}
    trained = {road.cache.rows[row].patient_id for row in road.cache.part("train")}
    assert not trained & {place.anatomy for place in tested}
    single = next(place for place in tested if place.settings.name == "slices").open()
    assert isinstance(single.volume, SlicePicture)
    assert single.voxel_ml is None
    whole = next(place for place in tested if place.settings.name == "held").open()
    assert whole.voxel_ml is not None
    assert whole.voxel_ml.tolist() == pytest.approx([0.08] * 4)  # 5 × 4 × 4 mm³


def test_volumes_that_were_moved_are_missed_before_anything_is_done(
    road: Road, tmp_path: Path
) -> None:
    away = road.folder / "away"
    (road.folder / "volumes").rename(away)
    try:
        with pytest.raises(DataError, match="does not exist any more"):
            calibrate(replace(road.settings, out=tmp_path / "bundle"))
    finally:
        away.rename(road.folder / "volumes")
