"""Run lengths: the package's vectorised road beside a plain Python loop, side by side in one run.

    python benchmarks/rle.py [--masks train-rle.csv] [--out benchmarks/results/rle.json]

The plain loop is written here in the manner of the challenge's helper functions: to encode it walks
the pixels one by one, to decode it fills one slice a run. Masks are the rows of a SIIM CSV on
1024×1024 where one is given or lies in ``../shared/data/siim``, otherwise ellipses of the size of a
pneumothorax from a fixed seed.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pneumoseg import rle

SIDE = 1024
COUNT = 100
ROUNDS = 3
"""Every mask is timed so often; its best time counts (what else runs only ever adds)."""
LOOP_COUNT = 20
"""The plain loop is slow: it is timed on the first so many masks, once each."""
AIM_MS = 1.0
HERE = Path(__file__).parent
SHARED = HERE.parents[1] / "shared" / "data" / "siim" / "train-rle.csv"


def plain_encode(mask: NDArray[np.bool_]) -> str:
    """Walk the pixels column by column and note where the value changes."""
    words: list[str] = []
    end_before, start, position = 0, -1, 0
    for column in mask.T.tolist():
        for pixel in column:
            if pixel and start < 0:
                start = position
            elif not pixel and start >= 0:
                words += [str(start - end_before), str(position - start)]
                end_before, start = position, -1
            position += 1
    if start >= 0:
        words += [str(start - end_before), str(position - start)]
    return " ".join(words) or "-1"


def plain_decode(text: str, shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Walk the runs and fill a slice for each; C-contiguous, as the package returns it."""
    rows, cols = shape
    flat = np.zeros(rows * cols, dtype=np.bool_)
    numbers = [] if text.strip() == "-1" else [int(word) for word in text.split()]
    position = 0
    for start, length in zip(numbers[0::2], numbers[1::2], strict=True):
        position += start
        flat[position : position + length] = True
        position += length
    return np.ascontiguousarray(flat.reshape(cols, rows).T)


def real_texts(path: Path) -> list[str]:
    """First COUNT non-empty rows of a SIIM CSV."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))[1:]
    return [row[1].strip() for row in rows if row[1].strip() != "-1"][:COUNT]


def ellipse_texts() -> list[str]:
    """Ellipses between 40 and 400 pixels across, as run lengths."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:SIDE, :SIDE]
    texts = []
    for _ in range(COUNT):
        (cy, cx), (ry, rx) = rng.uniform(250, 750, 2), rng.uniform(20, 200, 2)
        texts.append(rle.encode(((y - cy) / ry) ** 2 + ((x - cx) / rx) ** 2 <= 1))
    return texts


def milliseconds(work: Callable[[int], object], count: int, rounds: int) -> list[float]:
    """Time ``work(index)`` for each index: the best of ``rounds``, in ms."""
    best = [float("inf")] * count
    for _ in range(rounds):
        for index in range(count):
            started = time.perf_counter()
            work(index)
            best[index] = min(best[index], 1000 * (time.perf_counter() - started))
    return best


def summary(times: Sequence[float]) -> dict[str, float]:
    """Median and worst mask, in ms."""
    return {"median_ms": round(statistics.median(times), 4), "max_ms": round(max(times), 4)}


def measure(texts: Sequence[str]) -> dict[str, dict[str, float]]:
    """Time both roads both ways; they must agree before they are timed."""
    shape = (SIDE, SIDE)
    masks = [rle.decode(text, shape) for text in texts]
    few = min(LOOP_COUNT, len(texts))
    for text, mask in zip(texts[:few], masks[:few], strict=True):
        if plain_encode(mask) != text or not np.array_equal(plain_decode(text, shape), mask):
            raise RuntimeError("the two roads disagree; times would mean nothing")
    results: dict[str, dict[str, float]] = {}
    for name, ours, plain in (
        ("encode", lambda i: rle.encode(masks[i]), lambda i: plain_encode(masks[i])),
        ("decode", lambda i: rle.decode(texts[i], shape), lambda i: plain_decode(texts[i], shape)),
    ):
        fast = milliseconds(ours, len(texts), ROUNDS)
        slow = milliseconds(plain, few, 1)
        results[f"{name} pneumoseg"] = summary(fast)
        results[f"{name} plain loop"] = summary(slow)
        ratio = statistics.median(slow) / statistics.median(fast[:few])
        results[f"{name} times faster"] = {"median": round(ratio, 1)}
    return results


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--masks", type=Path, default=SHARED if SHARED.is_file() else None)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "rle.json")
    arguments = parser.parse_args()
    texts = real_texts(arguments.masks) if arguments.masks else ellipse_texts()
    results = measure(texts)
    aim_met = all(
        results[f"{way} pneumoseg"]["median_ms"] <= AIM_MS for way in ("encode", "decode")
    )
    report = {
        "masks": "SIIM train-rle.csv" if arguments.masks else "ellipses, seed 0",
        "n": len(texts),
        "grid": [SIDE, SIDE],
        "runs_per_mask": statistics.median(len(text.split()) // 2 for text in texts),
        "aim_ms": AIM_MS,
        "aim_met": aim_met,
        "results": results,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "load_average": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "numpy": np.__version__,
    }
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    for name, values in results.items():
        print(f"{name:22}", "  ".join(f"{key} {value:g}" for key, value in values.items()))
    print(f"aim of {AIM_MS:g} ms each way {'met' if aim_met else 'missed'}; {arguments.out}")


if __name__ == "__main__":
    main()
