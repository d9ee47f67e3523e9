"""The two-minute demonstration: phantom studies through the cascade, onto one page.

Twelve films as DICOM, and a CT as NIfTI beside them where a CT bundle is there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pneumoseg import rle
from pneumoseg.bundle import shipped_bundles
from pneumoseg.ct.array_volume import phantom_affine
from pneumoseg.phantom import Collapse, PhantomSettings, Posture, make_body, make_ct, run_phantom
from pneumoseg.prediction.local import DEFAULT_BUNDLES, PredictSettings, Progress, run_predict
from pneumoseg.prediction.page import write_run_page
from pneumoseg.storage.files import whole_file
from pneumoseg.study import Modality, Side
from pneumoseg.writing.nifti_bytes import nifti_bytes
from pneumoseg.writing.report import ReportRow
from pneumoseg.writing.tables import AGGREGATED_HEADER, csv_line

STUDIES = 12
FIRST_SEED = 7297
"""Outside the seeds that training and the constancy check use."""
CT_SEED = 7309
CT_COLLAPSE = Collapse(Side.LEFT, 0.3)
CT_SPACING_MM = (6.0, 1.2, 1.2)
"""Between slices, rows, columns: some fifty slices."""

_FILMS = "Twelve digital phantoms: made-up chests whose pneumothoraces are known exactly. "
_AND_CT = "Twelve films and a CT of digital phantoms: made-up chests whose truth is known exactly. "
_OUTLINED = "Outlined is what the cascade found; blue is the truth."


@dataclass(frozen=True)
class DemoSettings:
    """Settings of ``pneumoseg demo``."""

    out: Path = Path("outputs/demo")
    """Folder for the studies and the results; an earlier demonstration in it is replaced."""
    bundle: str = "cxr"
    """Shipped bundle by name, or the folder of another."""
    ct_bundle: str | None = None
    """Likewise for the CT; None takes the shipped one, and leaves the CT out without it."""


@dataclass(frozen=True)
class Demo:
    """Where the demonstration lies, and its rows for a table."""

    studies: Path
    results: Path
    page: Path
    rows: tuple[ReportRow, ...]
    ct_results: Path | None = None
    """Where the CT's results are, if it was shown."""


def run_demo(
    settings: DemoSettings,
    *,
    on_phantom: Callable[[int, int], None] | None = None,
    on_predict: Callable[[Progress], None] | None = None,
) -> Demo:
    """Make the phantom studies, run the cascade on them, write tables, overlays and the page."""
    studies, results = settings.out / "studies", settings.out / "results"
    run_phantom(PhantomSettings(studies, count=STUDIES, seed=FIRST_SEED), on_progress=on_phantom)
    run_predict(
        PredictSettings(
            (studies / "dicom",), results, settings.bundle, overlays=True, overwrite=True
        ),
        on_progress=on_predict,
    )
    ct_bundle = settings.ct_bundle
    if ct_bundle is None and DEFAULT_BUNDLES[Modality.CT] in shipped_bundles():
        ct_bundle = DEFAULT_BUNDLES[Modality.CT]
    beside: Sequence[tuple[Path, Path]] = ()
    if ct_bundle is not None:
        volume, truth = write_ct(studies / "ct")
        ct_results = settings.out / "results_ct"
        run_predict(
            PredictSettings((volume,), ct_results, ct_bundle, overlays=True, overwrite=True),
            on_progress=on_predict,
        )
        beside = ((ct_results, truth),)
    page, rows = write_run_page(
        results,
        masks=studies / "train-rle.csv",
        title="CT-PneumoSeg demonstration",
        introduction=(_AND_CT if beside else _FILMS) + _OUTLINED,
        beside=beside,
    )
    return Demo(studies, results, page, rows, beside[0][0] if beside else None)


def write_ct(folder: Path) -> tuple[Path, Path]:
    """Write one phantom with pneumothorax as NIfTI, and its true masks.

    Returns:
        The volume, and a CSV in the challenge's format with one row a slice, named as ``predict``
        names them.
    """
    folder.mkdir(parents=True, exist_ok=True)
    body = make_body(CT_SEED, collapse=CT_COLLAPSE, posture=Posture.SUPINE)
    scan = make_ct(body, spacing_mm=CT_SPACING_MM)
    name = f"phantom-ct-{CT_SEED}"
    volume, truth = folder / f"{name}.nii.gz", folder / "ct-rle.csv"
    affine = phantom_affine(scan)
    with whole_file(volume) as part:
        part.write_bytes(nifti_bytes(np.rint(scan.hu).astype(np.int16), affine))
    with whole_file(truth) as part, part.open("w", encoding="utf-8", newline="") as file:
        file.write(csv_line(AGGREGATED_HEADER))
        for number, plane in enumerate(scan.pleural_air, start=1):
            # The file's axes run to left and posterior, as the slices' do: no turning is needed.
            file.write(csv_line((f"{name}_{number}", rle.encode(plane))))
    return volume, truth
