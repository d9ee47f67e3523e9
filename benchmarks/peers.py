"""What people run instead, and what the networks alone cost: each a process of its own.

    python -P benchmarks/peers.py cascade  FOLDER OUT    both networks in eager PyTorch
    python -P benchmarks/peers.py always   FOLDER OUT    a U-Net of segmentation_models.pytorch
    python -P benchmarks/peers.py networks FOLDER OUT    pneumoseg's networks, arrays in memory

``benchmarks/predict.py`` starts them. The first two are the usual script: one file after another,
pydicom, ``cv2.resize``, a tensor of one image, eager PyTorch in float32, sigmoid, threshold, run
lengths, a CSV. They are spared what would slow them without need: runs are found by numpy and only
written in a loop (``--run-lengths pixels`` walks the pixels one by one, as the challenge's own
helper functions do), and there are neither lesions nor pictures.

``cascade`` has the bundle's own networks, calibration and thresholds. ``always`` has an encoder of
the same name, ``tu-convnext_tiny``, and the same input size; its weights are not trained, so its
last bias is lowered until every mask is empty, and it has no run lengths to write.
``networks`` reads and resizes all films first and then takes only the time of both networks, at
predict's batch size, stage two on the films that stage one suspects.

Each writes ``peer.json`` into OUT: images, passed on, seconds of the loop, decisions by image id.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import perf_counter
from typing import Any

import cv2
import numpy as np
import pydicom
from numpy.typing import NDArray
from scipy.special import expit

from pneumoseg.bundle import Card, load_bundle

GRID = 512
EMPTY = "-1"
RESULT, TABLE = "peer.json", "submission.csv"
UNTRAINED_BIAS = -1e4

Batch = NDArray[np.float32]
Run = Callable[[Batch], Batch]
Encode = Callable[[NDArray[np.bool_]], str]


def read_film(path: Path) -> tuple[str, NDArray[np.float32]]:
    """Image id, and pixels (rows, cols) in [0, 1], black is air."""
    dataset = pydicom.dcmread(path)
    pixels = dataset.pixel_array.astype(np.float32) / np.float32(2**dataset.BitsStored - 1)
    if dataset.PhotometricInterpretation == "MONOCHROME1":
        pixels = 1.0 - pixels
    return str(dataset.SOPInstanceUID), pixels


def to_tensor(pixels: NDArray[np.float32], size: int, card: Card) -> Batch:
    """A batch of one: (1, 1, size, size), normalised."""
    grid = cv2.resize(pixels, (GRID, GRID), interpolation=cv2.INTER_AREA)
    grid = np.rint(grid * 255).astype(np.uint8)
    if size != GRID:
        grid = cv2.resize(grid, (size, size), interpolation=cv2.INTER_AREA)
    shown = grid.astype(np.float32) / np.float32(255)
    return ((shown - card.normalisation.mean) / card.normalisation.std).astype(np.float32)[
        None, None
    ]


def encode_runs(mask: NDArray[np.bool_]) -> str:
    """Run lengths of a mask (rows, cols): edges by numpy, words in a loop."""
    flat = np.concatenate(([0], mask.T.ravel().astype(np.int8), [0]))
    edges = np.flatnonzero(np.diff(flat))
    words: list[str] = []
    end_before = 0
    for start, end in zip(edges[0::2], edges[1::2], strict=True):
        words += [str(start - end_before), str(end - start)]
        end_before = end
    return " ".join(words) or EMPTY


def encode_pixels(mask: NDArray[np.bool_]) -> str:
    """Run lengths of a mask (rows, cols): every pixel in a loop, column by column."""
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
    return " ".join(words) or EMPTY


ENCODERS: dict[str, Encode] = {"runs": encode_runs, "pixels": encode_pixels}


def outline(logits: Batch, shape: tuple[int, ...], card: Card, encode: Encode) -> str:
    """From stage two's logits (S, S) to run lengths on the film's own pixels."""
    probabilities = expit(logits).astype(np.float32)
    on_film = cv2.resize(probabilities, shape[::-1], interpolation=cv2.INTER_LINEAR)
    mask = on_film >= card.config.segmenter_threshold
    smallest = card.config.min_pixels * mask.size / GRID**2
    return encode(mask) if mask.sum() >= smallest else EMPTY


def eager_cascade(
    paths: Iterable[Path], classify: Run, segment: Run, card: Card, encode: Encode
) -> tuple[list[tuple[str, str]], dict[str, bool]]:
    """One film after another through both stages.

    Returns:
        Rows of the table, and by image id whether stage one suspects it.
    """
    rows, suspected = [], {}
    for path in paths:
        image_id, pixels = read_film(path)
        logit = classify(to_tensor(pixels, card.classifier_size, card))[0]
        probability = float(card.calibration.apply(logit)[0])
        suspected[image_id] = probability >= card.config.classifier_threshold
        runs = EMPTY
        if suspected[image_id]:
            logits = segment(to_tensor(pixels, card.segmenter_size, card))[0, 0]
            runs = outline(logits, pixels.shape, card, encode)
        rows.append((image_id, runs))
    return rows, suspected


def always_segment(
    paths: Iterable[Path], segment: Run, card: Card, encode: Encode
) -> tuple[list[tuple[str, str]], dict[str, bool]]:
    """One film after another through stage two; see :func:`eager_cascade`."""
    rows = []
    for path in paths:
        image_id, pixels = read_film(path)
        logits = segment(to_tensor(pixels, card.segmenter_size, card))[0, 0]
        rows.append((image_id, outline(logits, pixels.shape, card, encode)))
    return rows, {image_id: True for image_id, _ in rows}


def networks_alone(
    grids: list[NDArray[np.uint8]], cascade: Any, batch_size: int
) -> tuple[list[bool], float]:
    """Both stages on grids (512, 512) in memory, in full batches, as many at once as predict has.

    Returns:
        Whether each film was suspected, and the seconds that the networks took.
    """
    cascade.detect(grids[:batch_size])  # the first call of a shape prepares it
    cascade.segment(grids[:batch_size])

    def batches(films: list[NDArray[np.uint8]]) -> list[list[NDArray[np.uint8]]]:
        return [films[first : first + batch_size] for first in range(0, len(films), batch_size)]

    with ThreadPoolExecutor(cascade.batches_at_once) as callers:
        started = perf_counter()
        found = [one for batch in callers.map(cascade.detect, batches(grids)) for one in batch]
        suspected = [detection.positive for detection in found]
        passed = [grid for grid, positive in zip(grids, suspected, strict=True) if positive]
        for _ in callers.map(cascade.segment, batches(passed)):
            pass
        return suspected, perf_counter() - started


def smp_network(size: int, threads: int | None) -> Run:
    """The U-Net of segmentation_models.pytorch on the same encoder, untrained, eager."""
    import segmentation_models_pytorch as smp
    import torch

    if threads is not None:
        torch.set_num_threads(threads)
    module = smp.Unet("tu-convnext_tiny", encoder_weights=None, in_channels=1, classes=1).eval()
    with torch.no_grad():
        module.segmentation_head[0].bias.fill_(UNTRAINED_BIAS)
        parameters = sum(p.numel() for p in module.parameters())
    print(f"segmentation_models.pytorch {smp.__version__}: {parameters / 1e6:.1f} M, {size} px")

    def run(batch: Batch) -> Batch:
        with torch.inference_mode():
            return module(torch.from_numpy(batch)).numpy()

    return run


def torch_networks(bundle: Any, threads: int | None) -> tuple[Run, Run]:
    """The bundle's own networks in eager PyTorch."""
    from pneumoseg.runtime import load_network

    paths = (bundle.classifier_path, bundle.segmenter_path)
    classify, segment = (load_network(p, runtime="torch", threads=threads).run for p in paths)
    return classify, segment


def films_of(folder: Path) -> list[Path]:
    """All files of a folder, sorted."""
    return sorted(path for path in folder.rglob("*") if path.is_file())


def run_peer(arguments: argparse.Namespace) -> dict[str, Any]:
    """Do the work of one peer; what it gives goes into ``peer.json``."""
    bundle = load_bundle(arguments.bundle)
    card, encode = bundle.card, ENCODERS[arguments.run_lengths]
    paths = films_of(arguments.folder)
    if arguments.peer == "networks":
        from pneumoseg import read
        from pneumoseg.pipeline_inference import Cascade

        cascade = Cascade.load(
            arguments.bundle,
            runtime=arguments.runtime,
            precision=arguments.precision,
            threads=arguments.threads,
        )
        films = [cascade.prepare(read(path)) for path in paths]
        passed, seconds = networks_alone([f.grid for f in films], cascade, arguments.batch_size)
        names = [film.source.image_id for film in films]
        return {"seconds": seconds, "suspected": dict(zip(names, passed, strict=True))}
    if arguments.peer == "cascade":
        classify, segment = torch_networks(bundle, arguments.threads)
        started = perf_counter()
        rows, suspected = eager_cascade(paths, classify, segment, card, encode)
    else:
        segment = smp_network(card.segmenter_size, arguments.threads)
        started = perf_counter()
        rows, suspected = always_segment(paths, segment, card, encode)
    with (arguments.out / TABLE).open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerows([("ImageId", "EncodedPixels"), *rows])
    return {"seconds": perf_counter() - started, "suspected": suspected}


def main() -> None:
    """Run one peer."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("peer", choices=("cascade", "always", "networks"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--bundle", default="cxr")
    parser.add_argument("--run-lengths", choices=ENCODERS, default="runs")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--runtime", default="openvino", help="of networks alone")
    parser.add_argument("--precision", default="f32", help="of networks alone")
    parser.add_argument("--batch-size", type=int, default=8, help="of networks alone")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    result = run_peer(arguments)
    passed = sum(result["suspected"].values())
    result = {"images": len(result["suspected"]), "passed": passed, **result}
    (arguments.out / RESULT).write_text(json.dumps(result) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
