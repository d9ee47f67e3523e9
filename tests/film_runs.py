"""Runs over films with a fake cascade.

It suspects bright films and outlines their bright pixels, so that the tests need no weights and say
exactly what every file must come to.
"""

from __future__ import annotations

import csv
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np

from pneumoseg.pipeline_inference import Film
from pneumoseg.postprocess import find_lesions
from pneumoseg.prediction.local import PredictSettings, run_predict
from pneumoseg.preprocess import Placement
from pneumoseg.settings import PipelineConfig
from pneumoseg.study import Detection, Finding, Provenance

TABLES = ("predictions_aggregated.csv", "predictions_split.csv")


class FakeCascade:
    """Probability is the mean brightness; ``predicted`` is every image id, in order of work."""

    batches_at_once = 1

    def __init__(self, classifier_threshold: float | None = None) -> None:
        self.config = PipelineConfig(classifier_threshold=classifier_threshold or 0.35)
        self.bundle = SimpleNamespace(card=SimpleNamespace(name="fake", version="1"))
        self.predicted: list[str] = []

    def prepare(self, image):
        grid = (image.pixels * 255).round().astype(np.uint8)  # no letterbox: the film's own grid
        placement = Placement.letterbox(*image.shape)
        return Film(image.source, image.shape, image.spacing_mm, grid, placement)

    def detect(self, grids):
        threshold = self.config.classifier_threshold
        return [Detection(0.0, float(grid.mean() / 255), threshold) for grid in grids]

    def passes(self, detection):
        return detection.positive

    def segment(self, grids):
        return [np.asarray(grid / 255, dtype=np.float32) for grid in grids]

    def conclude(self, film, detection, probabilities, *, seconds=0.0):
        self.predicted.append(film.source.image_id)
        mask, lesions = None, ()
        if probabilities is not None:
            mask, lesions = find_lesions(
                probabilities,
                threshold=0.5,
                min_area_px=4,
                spacing_mm=film.spacing_mm,
                patient_orientation=None,
            )
        provenance = Provenance("fake", "1", "0", "none", "f32")
        return Finding(film.source, film.shape, detection, mask, lesions, provenance)


def write_film(path: Path, number: int) -> None:
    """Every third film is bright and so suspected, with a lesion of (8 + number) rows × 10 cols."""
    pixels = np.full((64, 80), 120 if number % 3 == 0 else 20, dtype=np.uint8)
    pixels[: 8 + number % 40, 5:15] = 250
    cv2.imwrite(str(path), pixels)


def make_inputs(folder: Path, count: int) -> Path:
    """Films ``film000.png`` on, but every fifth file is not an image."""
    folder.mkdir()
    for number in range(count):
        if number % 5 == 4:
            (folder / f"film{number:03}.png").write_bytes(b"not an image")
        else:
            write_film(folder / f"film{number:03}.png", number)
    return folder


def predict(inputs: Path, out: Path, *, cascade=None, on_progress=None, **options):
    settings = PredictSettings(
        paths=(inputs,), out=out, **({"batch_size": 4, "modality": "xray"} | options)
    )
    return run_predict(settings, on_progress=on_progress, load=lambda _: cascade or FakeCascade())


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))
