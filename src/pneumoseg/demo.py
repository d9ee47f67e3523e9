"""The two-minute demonstration: phantom studies as DICOM, through the cascade, onto one page."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pneumoseg.phantom import PhantomSettings, run_phantom
from pneumoseg.prediction_run import PredictSettings, Progress, run_predict
from pneumoseg.run_page import write_run_page
from pneumoseg.writing.report import ReportRow

STUDIES = 12
FIRST_SEED = 7297
"""Outside the seeds that training and the constancy check use."""

INTRODUCTION = (
    "Twelve digital phantoms: made-up chests whose pneumothoraces are known exactly. "
    "Outlined is what the cascade found; blue is the truth."
)


@dataclass(frozen=True)
class DemoSettings:
    """What ``pneumoseg demo`` is asked to do."""

    out: Path = Path("outputs/demo")
    """Folder for the studies and the results; an earlier demonstration in it is replaced."""
    bundle: str = "cxr"
    """Shipped bundle by name, or the folder of another."""


@dataclass(frozen=True)
class Demo:
    """Where the demonstration lies, and its rows for a table."""

    studies: Path
    results: Path
    page: Path
    rows: tuple[ReportRow, ...]


def run_demo(
    settings: DemoSettings,
    *,
    on_phantom: Callable[[int, int], None] | None = None,
    on_predict: Callable[[Progress], None] | None = None,
) -> Demo:
    """Make twelve phantom studies, run the cascade on them, write tables, overlays and the page."""
    studies, results = settings.out / "studies", settings.out / "results"
    run_phantom(PhantomSettings(studies, count=STUDIES, seed=FIRST_SEED), on_progress=on_phantom)
    run_predict(
        PredictSettings(
            (studies / "dicom",), results, settings.bundle, overlays=True, overwrite=True
        ),
        on_progress=on_predict,
    )
    page, rows = write_run_page(
        results,
        masks=studies / "train-rle.csv",
        title="CT-PneumoSeg demonstration",
        introduction=INTRODUCTION,
    )
    return Demo(studies, results, page, rows)
