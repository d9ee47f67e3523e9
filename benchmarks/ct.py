"""CT end to end: slices a second and memory over the length of a series.

    python -P benchmarks/ct.py [--bundle ct] [--lengths 100 400 1500] [--out FILE.json]

For each length a phantom with pneumothorax is written as a DICOM series of 512×512 slices, so many
slices over the same body, and ``pneumoseg predict`` runs on it in a process of its own: finding the
files, reading, both networks, lesions, masks, tables. With ``--overlays`` the pictures too. Memory
is the process's largest resident set (``ru_maxrss``), the interpreter and the networks included.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom import uid
from pydicom.dataset import Dataset, FileMetaDataset

from pneumoseg.bundle import load_bundle
from pneumoseg.phantom import Collapse, Posture, make_body, make_ct
from pneumoseg.study import Side

SIDE = 512
PIXEL_MM = 0.9
SEED = 7310
DEGREE = 0.25
LENGTHS = (100, 400, 1500)
HERE = Path(__file__).parent


def phantom_slices() -> tuple[NDArray[np.int16], float]:
    """HU + 1024 of a phantom (slices, 512, 512), and its length in mm."""
    body = make_body(SEED, collapse=Collapse(Side.RIGHT, DEGREE), posture=Posture.SUPINE)
    scan = make_ct(body, spacing_mm=(4.0, PIXEL_MM, PIXEL_MM))
    slices, rows, cols = scan.hu.shape
    stored = np.full((slices, SIDE, SIDE), 24, dtype=np.int16)
    rows, cols = min(rows, SIDE), min(cols, SIDE)
    top, left = (SIDE - rows) // 2, (SIDE - cols) // 2
    shown = np.rint(scan.hu[:, :rows, :cols] + 1024).clip(0, 4095)
    stored[:, top : top + rows, left : left + cols] = shown
    return stored, 4.0 * slices


def write_series(folder: Path, stored: NDArray[np.int16], length_mm: float, count: int) -> None:
    """Write so many slices over the same length."""
    between = length_mm / count
    for number in range(count):
        dataset = Dataset()
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
        dataset.SOPClassUID = uid.CTImageStorage
        dataset.SOPInstanceUID = f"2.25.7.{number + 1}"
        dataset.StudyInstanceUID, dataset.SeriesInstanceUID = "2.25.5", "2.25.6"
        dataset.Modality, dataset.InstanceNumber = "CT", number + 1
        dataset.ImagePositionPatient = [0, 0, round(-number * between, 6)]
        dataset.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        dataset.PixelSpacing, dataset.SliceThickness = [PIXEL_MM, PIXEL_MM], round(between, 6)
        dataset.RescaleSlope, dataset.RescaleIntercept = 1, -1024
        dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
        dataset.Rows = dataset.Columns = SIDE
        dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 12, 11
        dataset.PixelRepresentation = 0
        dataset.PixelData = stored[number * len(stored) // count].astype("<u2").tobytes()
        dataset["PixelData"].VR = "OW"
        dataset.save_as(folder / f"{number:04d}.dcm", enforce_file_format=True)


def predict(folder: Path, out: Path, bundle: str, options: Sequence[str]) -> tuple[float, float]:
    """Run ``pneumoseg predict`` and give its wall time in s and its largest resident set in MB."""
    words = [sys.executable, "-m", "pneumoseg.cli", "predict", str(folder), "--out", str(out)]
    started = time.perf_counter()
    process = subprocess.Popen([*words, "--bundle", bundle, *options], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise RuntimeError(f"predict ended with {process.returncode}")
    return seconds, usage.ru_maxrss / 1024


def measure(bundle: str, lengths: Sequence[int], options: Sequence[str]) -> list[dict[str, float]]:
    """One row a length."""
    stored, length_mm = phantom_slices()
    rows = []
    for count in lengths:
        with tempfile.TemporaryDirectory() as scratch:
            folder, out = Path(scratch) / "series", Path(scratch) / "out"
            folder.mkdir()
            write_series(folder, stored, length_mm, count)
            seconds, peak_mb = predict(folder, out, bundle, options)
            with (out / "volumes.csv").open(newline="", encoding="utf-8") as file:
                (volume,) = csv.DictReader(file)
            with (out / "predictions.jsonl").open(encoding="ascii") as file:
                segmented = sum(one["segmented"] for one in json.loads(file.readline())["slices"])
        rows.append(
            {
                "slices": count,
                "seconds": round(seconds, 1),
                "slices_per_second": round(count / seconds, 2),
                "peak_mb": round(peak_mb),
                "hu_volume_mb": round(count * SIDE * SIDE * 4 / 2**20),
                "segmented_slices": segmented,
                "volume_ml": float(volume["volume_ml"]),
            }
        )
        print("  ".join(f"{key} {value}" for key, value in rows[-1].items()))
    return rows


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bundle", default="ct")
    parser.add_argument("--lengths", type=int, nargs="+", default=LENGTHS)
    parser.add_argument("--overlays", action="store_true")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "ct.json")
    arguments = parser.parse_args()
    card = load_bundle(arguments.bundle).card
    options = ["--modality", "ct", *(["--overlays"] if arguments.overlays else [])]
    rows = measure(arguments.bundle, arguments.lengths, options)
    report = {
        "bundle": f"{card.name} {card.version}",
        "network_sizes": [card.classifier_size, card.segmenter_size],
        "grid": [SIDE, SIDE],
        "overlays": arguments.overlays,
        "results": rows,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "load_average": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "numpy": np.__version__,
    }
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(arguments.out)


if __name__ == "__main__":
    main()
