"""Tables of predictions written and checked, for the tests of ``validate``."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pneumoseg.doctor.validate import (
    ValidateSettings,
    ValidationReport,
    run_validate,
)

SPLIT = "ImageId,EncodedPixels,lesion,area_px,area_mm2,score,side"


def write(path: Path, header: str, *rows: str) -> Path:
    path.write_text("\n".join((header, *rows)) + "\n")
    return path


def check_aggregated(tmp_path: Path, *rows: str, **given: object) -> ValidationReport:
    path = write(tmp_path / "a.csv", "ImageId,EncodedPixels", *rows)
    return run_validate(ValidateSettings(path, **given))  # type: ignore[arg-type]


def check_split(tmp_path: Path, *rows: str, **given: object) -> ValidationReport:
    path = write(tmp_path / "s.csv", SPLIT, *rows)
    return run_validate(ValidateSettings(path, **given))  # type: ignore[arg-type]


def found(report: ValidationReport) -> list[tuple[int, str]]:
    return [(problem.line, problem.code) for problem in report.problems]


def ellipse(side: int, height: float = 0.2) -> np.ndarray:
    rows, cols = np.mgrid[0:side, 0:side] / side
    return np.asarray(((rows - 0.4) / height) ** 2 + ((cols - 0.5) / 0.1) ** 2 < 1)
