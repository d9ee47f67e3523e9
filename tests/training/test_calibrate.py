"""The whole road of training, on films made here: prepare, train both, calibrate, predict.

Tiny in every direction (24 films, input 64, a few steps of the real networks): what is shown is
that each step's result is what the next one takes, and that the bundle at the end is whole.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image as PillowImage

from pneumoseg import rle
from pneumoseg.bundle import load_bundle, read_card
from pneumoseg.dataset.cache import Cache
from pneumoseg.dataset.prepare.run import PrepareSettings, SourceSettings, prepare
from pneumoseg.errors import DataError, UsageError
from pneumoseg.installation import check
from pneumoseg.installation.check import read_record
from pneumoseg.pipeline_inference import Cascade
from pneumoseg.preprocess import to_tensor
from pneumoseg.reading import read
from pneumoseg.runtime import load_network, run_on_grids
from pneumoseg.segmenter_efficientnet_b3 import EfficientNetB3UNet
from pneumoseg.training import loop, measure_films
from pneumoseg.training.calibrate import Calibrated, CalibrateSettings, calibrate
from pneumoseg.training.distill import build_teacher
from pneumoseg.training.initialise import build_classifier
from pneumoseg.training.loop import TrainingProgress, train
from pneumoseg.training.recipes import ClassifierRecipe, Schedule, SegmenterRecipe
from pneumoseg.training.tasks import ClassifierTask, SegmenterTask
from pneumoseg.training.validation import NORMALISATION

SIDE = 128
COUNT = 24
_SCHEDULE = Schedule(
    epochs=1, films_per_epoch=8, batch_size=4, learning_rate=1e-3, precision="fp32", workers=0,
    threads=1,
)  # fmt: skip


@dataclass(frozen=True)
class Road:
    """What each step left."""

    films: Path
    cache: Cache
    classifier: Path
    segmenter: Path
    progress: tuple[TrainingProgress, TrainingProgress]
    settings: CalibrateSettings
    done: Calibrated


def _write_films(folder: Path) -> Path:
    """Cloudy films; every other one has a bright square, which is its lesion."""
    rng = np.random.default_rng(0)
    (folder / "images").mkdir(parents=True)
    lines, table = ["ImageId, EncodedPixels"], ["image_id,patient_id,view"]
    for index in range(COUNT):
        noise = cv2.GaussianBlur(rng.random((SIDE, SIDE)).astype(np.float32), (0, 0), 6)
        film = np.clip(90 + 600 * (noise - noise.mean()), 0, 180).astype(np.uint8)
        mask = np.zeros((SIDE, SIDE), dtype=np.bool_)
        if index % 2:
            top, left = rng.integers(10, 70, 2)
            mask[top : top + 40, left : left + 40] = True
            film[mask] = 240
        PillowImage.fromarray(film).save(folder / "images" / f"film{index:02}.png")
        lines.append(f"film{index:02}, {rle.encode(mask)}")
        table.append(f"film{index:02},patient{index:02},{'PA' if index % 4 < 2 else 'AP'}")
    (folder / "table.csv").write_text("\n".join(table) + "\n")
    (folder / "masks.csv").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture(scope="module")
def road(tmp_path_factory: pytest.TempPathFactory) -> Road:
    folder = tmp_path_factory.mktemp("road")
    films = _write_films(folder / "films")
    source = SourceSettings(
        "made", films / "images", films / "masks.csv", table=films / "table.csv"
    )
    cache = prepare(PrepareSettings(folder / "cache", (source,), workers=1))
    common = {"cache": cache.folder, "init": "scratch", "size": 64, "schedule": _SCHEDULE}
    classifier = ClassifierRecipe(out=folder / "classifier", **common)  # type: ignore[arg-type]
    segmenter = SegmenterRecipe(
        out=folder / "segmenter",
        teacher=str(folder / "classifier" / "best.pt"),
        **common,  # type: ignore[arg-type]
    )
    settings = CalibrateSettings(
        classifier.out, segmenter.out, cache.folder, folder / "bundle", name="road", version="7",
        data="films made by a test", licence="MIT", notes=("Not for patients.",), origin="made",
    )  # fmt: skip
    threads = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "draw_training_curves", lambda history, path: None)
        patch.setattr(check, "SEEDS", (9001, 9002))  # two films and small ones instead of twelve
        patch.setattr(check, "FILM_SIZE", 256)
        progress = train(ClassifierTask(classifier)), train(SegmenterTask(segmenter))
        done = calibrate(settings)
    torch.set_num_threads(threads)
    return Road(films, cache, classifier.out, segmenter.out, progress, settings, done)


def test_both_networks_train(road: Road) -> None:
    """Two steps of four films each, finite losses, and a network to keep."""
    for progress, folder in zip(road.progress, (road.classifier, road.segmenter), strict=True):
        assert progress.step == 2 and progress.best_epoch == 1
        assert np.isfinite(progress.history[0]["loss"])
        assert 0 <= progress.history[0]["score"] <= 1
        assert (folder / "best.pt").is_file()
    assert (road.classifier / "roc.png").is_file()
    assert (road.segmenter / "confusion_default.png").is_file()


def test_the_bundle_is_whole_and_says_what_it_is(road: Road) -> None:
    bundle = load_bundle(road.settings.out)
    card = bundle.card
    assert (card.name, card.version) == ("road", "7")
    assert (card.classifier_size, card.segmenter_size) == (64, 64)
    assert card.training.classifier_init == card.training.segmenter_init == "scratch"
    assert card.training.data == "films made by a test"
    assert card == road.done.bundle.card
    assert (bundle.folder / "check.toml").is_file()


def test_figures_are_of_the_test_part_with_n_and_interval(road: Road) -> None:
    test = road.cache.part("test")
    positives = int(road.cache.labels[test].sum())
    figures = {figure.name: figure for figure in road.done.figures}
    assert {name for name in figures if not name.endswith((" lesions", ", PA", ", AP"))} == {
        "AUROC", "recall", "specificity", "F2", "share segmented", "lesion Dice", "SIIM mean Dice",
        "SIIM mean Dice, leaderboard point", "SIIM mean Dice of an all-empty submission",
        "int8 decisions equal to float32", "int8 masks, Dice with float32",
    }  # fmt: skip
    by_size = [f.n for name, f in figures.items() if re.fullmatch("lesion Dice, .* lesions", name)]
    assert sum(by_size) == positives
    assert figures["AUROC, PA"].n + figures["AUROC, AP"].n == len(test)
    assert figures["specificity, PA"].n + figures["specificity, AP"].n == len(test) - positives
    empty = figures["SIIM mean Dice of an all-empty submission"]
    assert empty.value == 1 - positives / len(test)
    assert figures["AUROC"].n == len(test) and figures["AUROC"].n_positive == positives
    assert figures["recall"].n == figures["lesion Dice"].n == positives
    assert figures["specificity"].n == len(test) - positives
    assert figures["specificity"].n_positive == 0
    for figure in figures.values():
        assert figure.n or figure.value is None
        if figure.value is not None and figure.low is not None and figure.high is not None:
            assert 0 <= figure.low <= figure.value <= figure.high <= 1
        assert figure.origin == "made" and "never trained or calibrated on" in figure.split
    assert road.done.bundle.card.figures == road.done.figures


def test_the_threshold_finds_the_asked_recall_on_the_calibration_part(road: Road) -> None:
    """95 % of four positives is all of them; each goes on to stage two, as the cascade ships."""
    cascade = Cascade.load(road.settings.out)
    rows = road.cache.part("calibration")
    films = [measure_films._film(road.cache, int(row)) for row in rows]
    findings = cascade.predict_batch(films)
    for row, finding in zip(rows, findings, strict=True):
        if road.cache.labels[row]:
            assert finding.detection.positive


def test_the_cascade_runs_on_a_film(road: Road) -> None:
    finding = Cascade.load(road.settings.out).predict(read(road.films / "images" / "film01.png"))
    assert finding.shape == (SIDE, SIDE)
    assert finding.provenance.bundle == "road" and finding.provenance.bundle_version == "7"


def test_the_exported_classifier_answers_as_the_trained_one(road: Road) -> None:
    """int8 weights, ONNX and OpenVINO together move a logit by little."""
    saved = torch.load(road.classifier / "best.pt", weights_only=True)["model"]
    model = build_classifier("scratch")
    model.load_state_dict(saved)
    rows = road.cache.part("test")[:2]
    exported = load_network(load_bundle(road.settings.out).classifier_path)
    ours = run_on_grids(exported, [road.cache.images[r] for r in rows], NORMALISATION)
    tensors = np.stack(
        [to_tensor(road.cache.images[r], 64, NORMALISATION)
         for r in rows]
    )  # fmt: skip
    with torch.inference_mode():
        theirs = model.eval()(torch.from_numpy(tensors)).numpy()
    assert np.abs(ours - theirs).max() < 0.1


def test_a_detector_on_the_filters_backbone_ships_larger_and_mirrored(
    road: Road, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its recipe says the encoder; the card says the size it is shown films at, and the mirror."""
    monkeypatch.setattr(check, "SEEDS", (9001, 9002))
    monkeypatch.setattr(check, "FILM_SIZE", 256)
    detector = EfficientNetB3UNet(build_classifier(str(road.classifier / "best.pt")))
    recipe = {"encoder": "efficientnet_b3", "size": 64, "init": "runs/classifier/best.pt"}
    torch.save({"model": detector.state_dict(), "recipe": recipe}, tmp_path / "best.pt")
    settings = replace(
        road.settings, segmenter=tmp_path, out=tmp_path / "bundle", segmenter_size=96, mirror=True
    )
    bundle = calibrate(settings).bundle
    assert (bundle.card.classifier_size, bundle.card.segmenter_size) == (64, 96)
    assert bundle.card.config.mirror
    assert read_card(bundle.folder) == bundle.card
    reference = load_network(bundle.segmenter_path, runtime="torch")
    film = np.random.default_rng(0).standard_normal((1, 1, 96, 96)).astype(np.float32)
    np.testing.assert_allclose(
        load_network(bundle.segmenter_path).run(film), reference.run(film), atol=1e-4
    )
    started = build_teacher(str(settings.out)).state_dict()  # --init BUNDLE goes on with it
    name = "decoder.0.conv1.weight"
    step = detector.state_dict()[name].abs().amax() / 127
    assert (started[name] - detector.state_dict()[name]).abs().max() <= step
    assert not torch.equal(build_teacher(str(road.settings.out)).state_dict()[name], started[name])


@pytest.mark.parametrize("size", [-32, 100])
def test_a_size_that_no_network_takes(size: int) -> None:
    with pytest.raises(UsageError, match="segmenter_size must be a multiple of 32"):
        CalibrateSettings(segmenter_size=size)


def test_a_bundle_can_start_another_training(road: Road) -> None:
    """``--init BUNDLE``: the classifier that comes back is the trained one, to int8 storage."""
    started = build_classifier(str(road.settings.out)).state_dict()
    trained = torch.load(road.classifier / "best.pt", weights_only=True)["model"]
    name = "backbone.conv_head.weight"
    step = trained[name].abs().amax() / 127
    assert (started[name] - trained[name]).abs().max() <= step


def test_the_record_is_the_bundles_own(road: Road, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check, "SEEDS", (9001, 9002))
    assert read_record(load_bundle(road.settings.out)).bundle_version == "7"


@pytest.mark.parametrize("kind", ["classifier", "segmenter"])
def test_a_run_without_a_network_is_named(kind: str, road: Road, tmp_path: Path) -> None:
    changes = {kind: tmp_path, "out": tmp_path / "bundle"}
    settings = replace(road.settings, **changes)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=f"has no best.pt.*pneumoseg train {kind}"):
        calibrate(settings)
    assert not (tmp_path / "bundle").exists()


def test_runs_in_the_wrong_order_are_refused(road: Road, tmp_path: Path) -> None:
    """The classifier's run given as the segmenter's, or the other way round."""
    swapped = replace(
        road.settings,
        classifier=road.segmenter,
        segmenter=road.classifier,
        out=tmp_path / "bundle",
    )
    with pytest.raises(UsageError, match="not this network's|segmenter|classifier"):
        calibrate(swapped)


def test_a_cache_without_positives_to_calibrate_on_is_refused(tmp_path: Path) -> None:
    (tmp_path / "films" / "images").mkdir(parents=True)
    lines = ["ImageId,EncodedPixels"]
    for index in range(4):
        pixels = np.random.default_rng(index).integers(0, 255, (64, 64), dtype=np.uint8)
        PillowImage.fromarray(pixels).save(tmp_path / "films" / "images" / f"a{index}.png")
        lines.append(f"a{index},-1")
    (tmp_path / "films" / "masks.csv").write_text("\n".join(lines) + "\n")
    source = SourceSettings("made", tmp_path / "films" / "images", tmp_path / "films" / "masks.csv")
    cache = prepare(PrepareSettings(tmp_path / "cache", (source,), workers=1))
    with pytest.raises(DataError, match="the calibration part of .* no positive one"):
        calibrate(CalibrateSettings(cache=cache.folder))


@pytest.mark.parametrize("recall", [0.0, 1.01])
def test_a_recall_that_cannot_be(recall: float) -> None:
    with pytest.raises(UsageError, match="recall must lie above 0"):
        CalibrateSettings(recall=recall)
