"""The two networks of a bundle to be: exported, and run on uint8 grids."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from pneumoseg.calibration import Calibration
from pneumoseg.errors import UsageError
from pneumoseg.preprocess import to_tensor
from pneumoseg.runtime import Network
from pneumoseg.settings import PipelineConfig
from pneumoseg.training.export import export_network, quantise_weights
from pneumoseg.training.initialise import build_classifier, build_segmenter, load_weights
from pneumoseg.training.tasks import NORMALISATION

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
    """

    calibration: Calibration
    config: PipelineConfig
    log_losses: dict[str, float] = field(default_factory=dict)


def best_weights(run: Path, kind: str) -> Path:
    """The weights file that a run kept.

    Raises:
        UsageError: there is none.
    """
    path = run / "best.pt"
    if not path.is_file():
        raise UsageError(f"{run} has no best.pt; give the run folder of pneumoseg train {kind}")
    return path


def export_stage(run: Path, kind: str, folder: Path) -> ExportedStage:
    """Export a run's best weights; the recipe in the file says size and first weights."""
    path = best_weights(run, kind)
    recipe = torch.load(path, map_location="cpu", weights_only=True)["recipe"]
    model: torch.nn.Module
    if kind == "classifier":
        model = build_classifier("scratch")
    else:
        model = build_segmenter("scratch", shallow_skips=bool(recipe.get("shallow_skips", True)))
    load_weights(model, path)
    size = int(recipe["size"])
    f32 = export_network(model, folder / f"{kind}.f32.onnx", size=size)
    int8 = quantise_weights(f32, folder / f"{kind}.onnx")
    return ExportedStage(f32, int8, size, str(recipe["init"]))


def run_on_grids(
    network: Network, grids: Sequence[NDArray[np.uint8]], size: int
) -> NDArray[np.float32]:
    """Logits of some grids (512, 512): float32 (B, 1), or (B, 1, size, size) of the segmenter."""
    return network.run(np.stack([to_tensor(grid, size, NORMALISATION) for grid in grids]))
