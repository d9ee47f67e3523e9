"""Settings of ``pneumoseg bench``."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from pneumoseg.errors import UsageError
from pneumoseg.prediction.settings import PredictSettings
from pneumoseg.settings import at_least, fraction

SEED = 7200
"""Of the first phantom; neither training nor the check has it."""
_SMALLEST = 64


@dataclass(frozen=True)
class BenchSettings:
    """Settings of ``pneumoseg bench``."""

    bundle: str = "cxr"
    """Shipped bundle by name, or a bundle's folder."""
    images: Path | None = None
    """File or folder of films to measure on; None makes phantoms."""
    films: int = 16
    """How many films: phantoms to make, or the first of those in images."""
    size: int = 1024
    """Rows and columns of the phantoms."""
    runtime: str = PredictSettings.runtime
    """What runs the networks: openvino, onnxruntime, torch, or auto for the best that is here."""
    device: str = PredictSettings.device
    """Where they run: cpu, cuda or auto."""
    streams: int | None = PredictSettings.streams
    """How many films OpenVINO computes at the same time; None: one a thread, up to 4."""
    precision: str = PredictSettings.precision
    """Arithmetic of the networks."""
    threads: int | None = None
    """Processor threads of the networks; None takes all cores."""
    batch_size: int = PredictSettings.batch_size
    """Films the networks take at once, as predict has it."""
    seconds: float = 20.0
    """How long to measure, after loading and warming up; three repeats are made at least."""
    prevalences: tuple[float, ...] = (0.01, 0.05, 0.2)
    """Shares of films with pneumothorax to work out the cascade's saving for."""
    out: Path = Path("outputs/bench")
    """Folder for bench.json and bench.png."""

    def __post_init__(self) -> None:
        for name in ("films", "batch_size", "threads", "streams"):
            at_least(name, getattr(self, name), 1)
        at_least("size", self.size, _SMALLEST)
        if not (math.isfinite(self.seconds) and self.seconds > 0):
            raise UsageError(f"seconds must be more than 0, got {self.seconds}")
        for prevalence in self.prevalences:
            fraction("a prevalence", prevalence, ends=False)
