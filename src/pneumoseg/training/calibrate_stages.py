"""The two networks of a bundle to be: exported."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import torch

from pneumoseg.calibration import Calibration
from pneumoseg.errors import UsageError
from pneumoseg.segmenter_efficientnet_b3 import UNUSED, EfficientNetB3UNet
from pneumoseg.settings import PipelineConfig
from pneumoseg.training.export import export_network, quantise_weights
from pneumoseg.training.initialise import build_classifier, build_segmenter, load_weights

BATCH = 8


@dataclass(frozen=True)
class ExportedStage:
    """One stage as ONNX: float32 and int8 storage of the same weights."""

    f32: Path
    int8: Path
    size: int
    init: str


@dataclass(frozen=True)
class Chosen:
    """What the calibration part decides.

    Attributes:
        calibration: from logit to probability.
        config: thresholds and the smallest lesions.
        log_losses: of each method of calibration that was tried.
        leaderboard: the operating point of the best SIIM mean Dice; None for CT.
    """

    calibration: Calibration
    config: PipelineConfig
    log_losses: dict[str, float] = field(default_factory=dict)
    leaderboard: PipelineConfig | None = None


def best_weights(run: Path, kind: str) -> Path:
    """The weights file that a run kept.

    Raises:
        UsageError: there is none.
    """
    path = run / "best.pt"
    if not path.is_file():
        raise UsageError(f"{run} has no best.pt; give the run folder of pneumoseg train {kind}")
    return path


def export_stage(run: Path, kind: str, folder: Path, *, size: int = 0) -> ExportedStage:
    """Export a run's best weights; the recipe in the file says network, size and first weights.

    Args:
        run: the run folder.
        kind: ``classifier`` or ``segmenter``.
        folder: of the files to be.
        size: side of the input, 0 for the one that the network was trained at.
    """
    path = best_weights(run, kind)
    recipe = torch.load(path, map_location="cpu", weights_only=True)["recipe"]
    model: torch.nn.Module
    if kind == "classifier":
        model = build_classifier("scratch")
    elif recipe.get("encoder") == "efficientnet_b3":
        model = EfficientNetB3UNet()
    else:
        model = build_segmenter("scratch", shallow_skips=bool(recipe.get("shallow_skips", True)))
    load_weights(model, path, leave_out=UNUSED if kind == "segmenter" else ())
    size = size or int(recipe["size"])
    f32 = export_network(model, folder / f"{kind}.f32.onnx", size=size)
    int8 = quantise_weights(f32, folder / f"{kind}.onnx")
    return ExportedStage(f32, int8, size, str(recipe["init"]))
