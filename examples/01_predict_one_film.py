"""One film through the cascade: read, predict, print, draw.

    python examples/01_predict_one_film.py              # a phantom, made on the spot
    python examples/01_predict_one_film.py chest.dcm    # a film of your own

Needs only the inference package. Research software, not a medical device.
"""

from __future__ import annotations

import sys
from pathlib import Path

from matplotlib.figure import Figure

from pneumoseg import Cascade, Finding, Image, read
from pneumoseg.phantom import PhantomSettings, run_phantom

OUT = Path("outputs/examples/01")
SEED = 7204
"""This phantom has a pneumothorax; training used other seeds."""


def make_phantom_film() -> Path:
    """Write one phantom film as DICOM and return its path."""
    run = run_phantom(PhantomSettings(OUT / "phantom", count=1, seed=SEED, workers=1))
    return run.out / "dicom" / f"{run.rows[0].image_id}.dcm"


def draw(film: Image, finding: Finding, path: Path) -> None:
    """Draw the film with its outlined lesions."""
    figure = Figure(figsize=(6, 6), layout="constrained")
    axes = figure.subplots()
    axes.imshow(film.pixels, cmap="gray", vmin=0, vmax=1)
    for lesion in finding.lesions:
        axes.contour(lesion.mask.pixels, levels=[0.5], colors="orange", linewidths=1)
    axes.set_axis_off()
    figure.savefig(path, dpi=110)


def main() -> None:
    """Read, predict, print, draw."""
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else make_phantom_film()
    film = read(path)
    cascade = Cascade.load("cxr")
    finding = cascade.predict(film)

    detection = finding.detection
    print(f"image        {finding.source.image_id}")
    print(f"size         {film.shape[0]} x {film.shape[1]} pixels, spacing {film.spacing_mm} mm")
    print(f"probability  {detection.probability:.3f}, suspected from {detection.threshold:.3f}")
    if finding.mask is None:
        print("not suspected: stage two was not run")
    for number, lesion in enumerate(finding.lesions, start=1):
        area = lesion.mask.area_mm2
        size = f"{lesion.mask.area_px} px" if area is None else f"{area:.0f} mm²"
        side = lesion.side.value if lesion.side else "unknown"
        print(f"lesion {number}     {size}, side {side}, mean probability {lesion.score:.2f}")

    OUT.mkdir(parents=True, exist_ok=True)
    draw(film, finding, OUT / "overlay.png")
    print(f"picture      {OUT / 'overlay.png'}")


if __name__ == "__main__":
    main()
