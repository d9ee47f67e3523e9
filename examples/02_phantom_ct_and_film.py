"""One phantom patient, healthy and with a collapsed lung: chest film, CT slice, exact masks.

    python examples/02_phantom_ct_and_film.py

Needs no weights. The film and the CT come from the same surfaces, so what is air in one is air in
the other.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from pneumoseg import Side
from pneumoseg.phantom import Collapse, make_body, make_ct, project

OUT = Path("outputs/examples/02")
SEED = 7202
DEGREE = 0.25
"""A quarter of the right hemithorax is pleural air."""
LUNG_WINDOW_HU = (-1200.0, 200.0)
"""A lung window: level -500 HU, width 1400 HU."""


def draw(
    columns: list[tuple[str, NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_]]],
    path: Path,
) -> None:
    """Draw films above CT slices, the film's mask outlined where there is one."""
    figure = Figure(figsize=(9, 7.4), layout="constrained")
    axes = figure.subplots(2, len(columns), squeeze=False, height_ratios=(9, 5))
    for column, (title, film, ct_slice, mask) in enumerate(columns):
        axes[0, column].imshow(film, cmap="gray", vmin=0, vmax=1)
        if mask.any():
            axes[0, column].contour(mask, levels=[0.5], colors="orange", linewidths=1)
        low, high = LUNG_WINDOW_HU
        axes[1, column].imshow(ct_slice, cmap="gray", vmin=low, vmax=high)
        axes[0, column].set_title(title)
        for row in range(2):
            axes[row, column].set_axis_off()
    figure.savefig(path, dpi=110)


def main() -> None:
    """Make both states of the patient, print volumes, draw."""
    columns = []
    for title, collapse in (
        ("healthy", None),
        (f"right lung, {DEGREE:.0%} air", Collapse(Side.RIGHT, DEGREE)),
    ):
        body = make_body(SEED, collapse=collapse)
        ct = make_ct(body)
        film, mask, spacing_mm = project(body, "PA", np.random.default_rng(SEED), size=1024)
        lung_ml = float(ct.right_lung.sum() * np.prod(ct.spacing_mm)) / 1000
        print(
            f"{title:24} right lung {lung_ml:5.0f} mL, pleural air {ct.mask().volume_ml:5.0f} mL, "
            f"on the film {mask.sum() * spacing_mm**2 / 100:5.1f} cm²"
        )
        upper = ct.hu[ct.hu.shape[0] // 4]  # (rows, cols), a quarter of the way from the apex down
        columns.append((title, film, upper, mask))
    OUT.mkdir(parents=True, exist_ok=True)
    draw(columns, OUT / "ct_and_film.png")
    print(f"picture: {OUT / 'ct_and_film.png'}")


if __name__ == "__main__":
    main()
