"""NIfTI pairs of volume and mask for tests: arrays in, files out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pneumoseg.writing.nifti_bytes import nifti_bytes

SIDE = 64


def affine(spacing_mm: tuple[float, float, float] = (5.0, 1.0, 1.0)) -> NDArray[np.float64]:
    """Index (slice, row, col) to LPS mm of a volume on canonical axes: slice 0 is the head's."""
    matrix = np.zeros((4, 4))
    matrix[2, 0], matrix[1, 1], matrix[0, 2] = -spacing_mm[0], spacing_mm[1], spacing_mm[2]
    matrix[3, 3] = 1.0
    return matrix


def write_pair(
    folder: Path,
    name: str,
    hu: NDArray[np.int16],
    mask: NDArray[np.bool_],
    spacing_mm: tuple[float, float, float] = (5.0, 1.0, 1.0),
) -> None:
    """Write ``volumes/NAME.nii.gz`` and ``masks/NAME.nii.gz`` as ``pneumoseg simulate`` does."""
    for below, voxels in (("volumes", hu.astype(np.int16)), ("masks", mask.astype(np.uint8))):
        (folder / below).mkdir(parents=True, exist_ok=True)
        path = folder / below / f"{name}.nii.gz"
        path.write_bytes(nifti_bytes(voxels, affine(spacing_mm)))


def write_truth(folder: Path, rows: list[tuple[str, str, str]]) -> Path:
    """Write ``truth.csv`` with volume_id, anatomy and source, in another order than is read."""
    lines = ["source,volume_id,anatomy", *(f"{source},{name},{who}" for name, who, source in rows)]
    path = folder / "truth.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def chest(
    slices: int, air: slice | None, seed: int = 0
) -> tuple[NDArray[np.int16], NDArray[np.bool_]]:
    """A body with two lungs; in some slices the front of the right lung is air.

    Returns:
        HU (slices, 64, 64) and the mask; a slice with air has 16 × 8 pixels of it.
    """
    hu = np.full((slices, SIDE, SIDE), -1000.0)
    hu[:, 8:56, 4:60] = 40
    hu[:, 14:50, 8:28] = hu[:, 14:50, 36:56] = -850
    mask = np.zeros(hu.shape, dtype=np.bool_)
    if air is not None:
        mask[air, 14:22, 10:26] = True
    hu[mask] = -1000
    noise = np.random.default_rng(seed).normal(0, 8, hu.shape)
    return (hu + noise).astype(np.int16), mask
