"""The pictures are written, reproducible, and survive missing numbers."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from pneumoseg import metrics, plots


def _is_picture(path: Path) -> bool:
    picture = cv2.imread(str(path))
    return picture is not None and min(picture.shape[:2]) > 300 and picture.std() > 5


def test_training_curves_with_gaps(tmp_path: Path) -> None:
    """Fails if a measure missing in an epoch, None, NaN or a text broke the drawing."""
    history = [
        {"epoch": 1, "train_loss": 0.9, "f2": None, "note": "warm-up"},
        {"epoch": 2, "train_loss": float("nan"), "f2": 0.5},
        {"epoch": 3, "train_loss": 0.5, "lesion_dice": 0.2},
    ]
    plots.draw_training_curves(history, tmp_path / "new" / "curves.png")
    assert _is_picture(tmp_path / "new" / "curves.png")
    with pytest.raises(ValueError, match="without epochs"):
        plots.draw_training_curves([], tmp_path / "x.png")


def test_confusion_is_drawn_twice_alike(tmp_path: Path) -> None:
    """Fails if a date or a version inside the PNG made every run a change."""
    for name in ("a.png", "b.png"):
        matrix = metrics.ConfusionMatrix(8, 3, 1, 30)
        plots.draw_confusion(matrix, tmp_path / name, title="Default threshold 0.35")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert _is_picture(tmp_path / "a.png")


def test_an_empty_class_is_drawn(tmp_path: Path) -> None:
    plots.draw_confusion(metrics.ConfusionMatrix(0, 0, 0, 3), tmp_path / "c.png", title="x")
    assert _is_picture(tmp_path / "c.png")


def test_roc(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    labels = rng.random(100) < 0.3
    scores = np.clip(0.3 * labels + 0.6 * rng.random(100), 0, 1)
    curve = metrics.roc_curve(scores, labels)
    assert curve is not None
    area = metrics.Estimate("AUROC", 0.9, 0.8, 0.95, 100, int(labels.sum()), None, "image")
    points = {"operating point 0.35": metrics.confusion(scores >= 0.35, labels)}
    plots.draw_roc(curve, tmp_path / "roc.png", area, points)
    assert _is_picture(tmp_path / "roc.png")
