"""Draw the gallery: phantom films and CT slices only, with the shipped weights. ``make gallery``.

gallery.png            film, truth, probability, prediction of four phantoms
phantom_ct.png         the same bodies as CT: film and CT share one pleural gap; truth, prediction
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from pneumoseg import Cascade
from pneumoseg.ct.array_volume import ArrayVolume
from pneumoseg.ct.inference import VolumeCascade
from pneumoseg.phantom import make_ct, make_film

FOLDER = Path(__file__).parent
FILMS = (7297, 7302, 7304, 7300)
"""Seeds, outside those of training."""
TRUTH, FOUND = "#4da3ff", "#ff9b2f"
"""Blue is what is there, orange what the cascade outlined, as in the overlays."""


def draw_gallery(path: Path) -> None:
    """Draw one row a phantom: the film, its truth, stage two's probability, the prediction."""
    cascade = Cascade.load("cxr")
    figure = Figure(figsize=(12, 3.1 * len(FILMS)), layout="constrained")
    axes = figure.subplots(len(FILMS), 4)
    for row, seed in zip(axes, FILMS, strict=True):
        film = make_film(seed)
        finding = cascade.predict_batch([film.image], keep_probability_map=True)[0]
        probability = finding.probability_map
        mask = np.zeros(film.image.shape) if finding.mask is None else finding.mask.pixels
        said = finding.detection
        decision = "suspected" if said.positive else "not suspected"
        _show(row[0], film.image.pixels, f"film {seed}")
        _show(row[1], film.image.pixels, f"truth, {film.mask.area_px:,} px", film.mask.pixels)
        _show(
            row[2],
            np.zeros(film.image.shape) if probability is None else probability,
            "probability" if probability is not None else "stage two not run",
        )
        _show(row[3], film.image.pixels, f"{decision}, p = {said.probability:.2f}", mask, FOUND)
    FigureCanvasAgg(figure).print_png(path)


def draw_ct(path: Path) -> None:
    """Draw the slice of each body with most pleural air, in the lung window: truth, prediction."""
    cascade = VolumeCascade.load("ct")
    figure = Figure(figsize=(12, 6.4), layout="constrained")
    for (true, found), seed in zip(figure.subplots(2, len(FILMS)).T, FILMS, strict=True):
        scan = make_ct(make_film(seed, size=256).body, spacing_mm=(5.0, 1.0, 1.0))
        finding = cascade.predict(ArrayVolume.of_phantom(scan, f"body {seed}"))
        index = int(np.argmax(scan.pleural_air.sum(axis=(1, 2))))
        shown = cascade.window.apply(scan.hu[index])
        true_ml = np.count_nonzero(scan.pleural_air) * np.prod(scan.spacing_mm) / 1000
        mask = finding.as_finding().mask
        outline = None if mask is None else mask.pixels[index]
        _show(true, shown, f"body {seed}: truth, {true_ml:.0f} mL", scan.pleural_air[index])
        said = f"p = {finding.detection.probability:.2f}, {finding.volume_ml or 0:.0f} mL"
        _show(found, shown, said, outline, FOUND)
    FigureCanvasAgg(figure).print_png(path)


def _show(axes: Any, pixels: Any, title: str, mask: Any = None, colour: str = TRUTH) -> None:
    axes.imshow(pixels, cmap="gray", vmin=0, vmax=1)
    if mask is not None and np.any(mask):
        axes.contour(mask, levels=[0.5], colors=[colour], linewidths=1.2)
    axes.set_title(title, fontsize=9)
    axes.set_axis_off()


if __name__ == "__main__":
    draw_gallery(FOLDER / "gallery.png")
    draw_ct(FOLDER / "phantom_ct.png")
