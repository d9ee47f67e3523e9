"""What computing in int8 would cost and gain: NNCF's post-training quantisation, measured.

    python -P benchmarks/int8.py --cache cache/lean --called "SIIM-ACR films"
    python -P benchmarks/int8.py --table             the Markdown table, from the JSON alone

Both networks of a bundle are quantised by NNCF (pip install nncf; its defaults, preset mixed),
calibrated on real films of the cache's training part, and put into the same cascade with the same
thresholds. Measured on the cache's test part, patients on whom nothing was trained or calibrated:
AUROC and lesion Dice (misses count 0) of both, their differences with a 95 % interval by patient,
decisions that change, and the time of each network on one thread, in turn.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pneumoseg import metrics, preprocess
from pneumoseg.bundle import Bundle
from pneumoseg.dataset.cache import Cache
from pneumoseg.installation.bench.machine import this_machine
from pneumoseg.installation.bench.timing import Timing, time_in_turn
from pneumoseg.pipeline_inference import Cascade, Film
from pneumoseg.study import Source

RESULT = Path(__file__).parent / "results" / "int8.json"
CALIBRATION_FILMS, SEED, BATCH = 300, 20, 8
NETWORKS = ("classifier", "segmenter")


class Int8Network:
    """A network quantised by NNCF, in OpenVINO; see :class:`pneumoseg.runtime.Network`."""

    name, device, precision, streams = "openvino", "cpu", "int8", 1

    def __init__(self, path: Path, size: int, films: list[NDArray[np.float32]], threads: int):
        import openvino
        from openvino.passes import ConstantFolding, Manager

        try:
            import nncf
        except ImportError as error:
            raise SystemExit("NNCF is not installed; run: pip install nncf") from error
        core = openvino.Core()
        model = core.read_model(path)
        folding = Manager()  # weights are stored in int8: NNCF is to see them in float32
        folding.register_pass(ConstantFolding())
        folding.run_passes(model)
        model = nncf.quantize(
            model,
            nncf.Dataset(films),
            preset=nncf.QuantizationPreset.MIXED,
            subset_size=len(films),
        )
        options = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": "f32",
            "INFERENCE_NUM_THREADS": threads,
        }
        self.size = size
        self._request = core.compile_model(model, "CPU", options).create_infer_request()

    def run(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Compute logits."""
        self._request.infer([np.ascontiguousarray(batch)], share_inputs=True)
        return np.array(self._request.get_output_tensor(0).data, dtype=np.float32)


def quantised(cascade: Cascade, cache: Cache, threads: int) -> Cascade:
    """The cascade with both networks in int8."""
    train = [i for i in cache.part("train") if cache.rows[i].source != "phantom"]
    chosen = np.random.default_rng(SEED).choice(train, CALIBRATION_FILMS, replace=False)
    norm, bundle = cascade.bundle.card.normalisation, cascade.bundle
    made = {}
    for name, path in zip(NETWORKS, paths_of(bundle), strict=True):
        size = getattr(cascade, name).size
        films = [preprocess.to_tensor(cache.images[i], size, norm)[None] for i in chosen]
        made[name] = Int8Network(path, size, films, threads)
    return replace(cascade, **made)


def paths_of(bundle: Bundle) -> tuple[Path, Path]:
    """Both network files, in the order of ``NETWORKS``."""
    return bundle.classifier_path, bundle.segmenter_path


def answers(cascade: Cascade, cache: Cache, rows: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
    """Probability, decision and Dice of each film, masks on the 512×512 grid."""
    placement = preprocess.Placement.letterbox(preprocess.GRID_SIZE, preprocess.GRID_SIZE)
    found: dict[str, list[Any]] = {"probability": [], "suspected": [], "dice": []}
    for first in range(0, rows.size, BATCH):
        batch = rows[first : first + BATCH]
        grids = [np.asarray(cache.images[i]) for i in batch]
        detections = cascade.detect(grids)
        maps = cascade.segment(grids)
        for row, grid, detection, one in zip(batch, grids, detections, maps, strict=True):
            source = Source(image_id=cache.rows[row].image_id)
            film = Film(source, grid.shape, None, grid, placement)
            finding = cascade.conclude(film, detection, one if detection.positive else None)
            drawn = np.zeros(grid.shape, bool) if finding.mask is None else finding.mask.pixels
            found["probability"].append(detection.probability)
            found["suspected"].append(detection.positive)
            found["dice"].append(metrics.dice(drawn, np.asarray(cache.masks[row]) > 0))
    return {name: np.array(values) for name, values in found.items()}


def figure(
    statistic: Callable[[NDArray[np.int64]], float | None], patients: NDArray[np.str_]
) -> dict[str, Any]:
    """A figure with its interval by patient."""
    interval = metrics.bootstrap_by_patient(statistic, patients, np.random.default_rng(SEED))
    return {
        "value": statistic(np.arange(patients.size)),
        "low": interval.low,
        "high": interval.high,
    }


def compare(
    cascades: Mapping[str, Cascade], cache: Cache, rows: NDArray[np.int64]
) -> dict[str, Any]:
    """Figures of both cascades and of their difference."""
    labels, patients = cache.labels[rows] == 1, cache.patients[rows]
    predicted = {name: answers(cascade, cache, rows) for name, cascade in cascades.items()}

    def auroc(name: str, at: NDArray[np.int64]) -> float | None:
        return metrics.auroc(predicted[name]["probability"][at], labels[at])

    def dice(name: str, at: NDArray[np.int64]) -> float | None:
        return metrics.lesion_dice(predicted[name]["dice"][at], labels[at])

    figures: dict[str, Any] = {}
    for what, of in (("auroc", auroc), ("lesion_dice", dice)):

        def lost(at: NDArray[np.int64], of: Any = of) -> float | None:
            before, after = of("f32", at), of("int8", at)
            return None if before is None or after is None else after - before

        figures[what] = {
            name: figure(lambda at, of=of, name=name: of(name, at), patients) for name in cascades
        }
        figures[what]["difference"] = figure(lost, patients)
    both = [predicted[name]["suspected"] for name in cascades]
    return {
        "films": int(rows.size),
        "positive": int(labels.sum()),
        "patients": int(np.unique(patients).size),
        "decisions_unlike": int((both[0] != both[1]).sum()),
        **figures,
    }


def times(cascades: Mapping[str, Cascade], cache: Cache, seconds: float) -> dict[str, Any]:
    """Time of each network in both precisions, film by film, in turn."""
    norm = cascades["f32"].bundle.card.normalisation
    grids = [np.asarray(cache.images[i]) for i in cache.part("test")[:BATCH]]
    steps: dict[str, Callable[[int], object]] = {}
    for which in NETWORKS:
        for precision, cascade in cascades.items():
            network = getattr(cascade, which)
            inputs = [preprocess.to_tensor(grid, network.size, norm)[None] for grid in grids]
            steps[f"{which} {precision}"] = lambda number, run=network.run, inputs=inputs: [
                run(one) for one in inputs
            ]
    for work in steps.values():
        work(0)
    taken = time_in_turn(steps, seconds=seconds)
    return {name: asdict(Timing.of(name, took, BATCH)) for name, took in taken.items()}


def table(report: Mapping[str, Any]) -> str:
    """The report as Markdown."""

    def shown(figure: Mapping[str, float], sign: str = "") -> str:
        return (
            f"{figure['value']:{sign}.3f} ({figure['low']:{sign}.3f} to {figure['high']:{sign}.3f})"
        )

    lines = [
        f"{report['films']} {report['called']} of the test part ({report['positive']} positive, "
        f"{report['patients']} patients); bundle {report['bundle']}; NNCF "
        f"{report['machine']['versions'].get('nncf', '')}, {CALIBRATION_FILMS} real films to "
        "calibrate.",
        "",
        "| | float32 | int8 | difference (95 % by patient) |",
        "|---|---|---|---|",
    ]
    for what, label in (("auroc", "AUROC"), ("lesion_dice", "lesion Dice")):
        row = report[what]
        lines.append(
            f"| {label} | {shown(row['f32'])} | {shown(row['int8'])} | "
            f"{shown(row['difference'], '+')} |"
        )
    for which in NETWORKS:
        one, two = (
            report["times"][f"{which} {precision}"]["median_ms"] for precision in ("f32", "int8")
        )
        lines.append(
            f"| {which}, ms a film, one thread | {one:.1f} | {two:.1f} | {two / one:.2f}× |"
        )
    return "\n".join(
        [*lines, "", f"Decisions that change: {report['decisions_unlike']} of {report['films']}."]
    )


def main() -> None:
    """Quantise, measure, write, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cache", type=Path, default=Path("cache/lean"))
    parser.add_argument("--called", default="films", help="what the report calls them")
    parser.add_argument("--bundle", default="cxr")
    parser.add_argument("--limit", type=int, help="the first so many films of the test part")
    parser.add_argument("--seconds", type=float, default=60.0, help="how long to time")
    parser.add_argument("--out", type=Path, default=RESULT)
    parser.add_argument("--table", action="store_true", help="print the table of --out and stop")
    arguments = parser.parse_args()
    if not arguments.table:
        machine = this_machine("nncf")
        cache = Cache.open(arguments.cache)
        plain = Cascade.load(arguments.bundle, threads=1, streams=1)
        cascades = {"f32": plain, "int8": quantised(plain, cache, threads=1)}
        report = {
            "called": arguments.called,
            "bundle": f"{plain.bundle.card.name} {plain.bundle.card.version}",
            **compare(cascades, cache, cache.part("test")[: arguments.limit]),
            "times": times(cascades, cache, arguments.seconds),
            "machine": asdict(machine),
        }
        text = json.dumps(report, indent=1, ensure_ascii=False) + "\n"
        arguments.out.write_text(text, encoding="utf-8")
    print(table(json.loads(arguments.out.read_text(encoding="utf-8"))))


if __name__ == "__main__":
    main()
