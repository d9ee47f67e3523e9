"""The benchmarks' peers do the same work as pneumoseg, or a ratio would mean nothing."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from benchmark_script import benchmark
from pneumoseg import read, rle
from pneumoseg.calibration import Calibration
from pneumoseg.metrics import dice
from pneumoseg.phantom import PhantomSettings, run_phantom
from pneumoseg.pipeline_inference import Cascade
from pneumoseg.prediction.local import PredictSettings, run_predict
from pneumoseg.settings import PipelineConfig
from tiny_bundle import write_tiny_bundle

peers, predict, cost_growth = map(benchmark, ("peers", "predict", "cost_growth"))


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six phantoms as DICOM files."""
    out = tmp_path_factory.mktemp("peers")
    run_phantom(PhantomSettings(out=out, count=6, seed=51_000, size=256, workers=1))
    return out / "dicom"


@pytest.fixture(scope="module")
def cascade(films: Path, tmp_path_factory: pytest.TempPathFactory) -> Cascade:
    """The tiny bundle, its threshold between the third and the fourth brightest phantom."""
    folder = tmp_path_factory.mktemp("bundle") / "tiny"
    spread_out = Calibration("temperature", temperature=100.0)  # logits are far from 0
    every = Cascade.load(write_tiny_bundle(folder, calibration=spread_out).folder)
    found = sorted(every.predict(read(p)).detection.probability for p in films.iterdir())
    config = PipelineConfig((found[2] + found[3]) / 2, 0.7, 200)
    return Cascade.load(write_tiny_bundle(folder, calibration=spread_out, config=config).folder)


@pytest.mark.parametrize("encode", [peers.encode_runs, peers.encode_pixels])
def test_run_lengths_are_the_challenge_s(encode: Any) -> None:
    rng = np.random.default_rng(3)
    for mask in (rng.random((20, 30)) > 0.6, np.zeros((4, 5), bool), np.ones((4, 5), bool)):
        assert encode(mask) == rle.encode(mask)


def test_the_eager_cascade_decides_as_predict_does(
    films: Path, cascade: Cascade, tmp_path: Path
) -> None:
    bundle = cascade.bundle
    settings = PredictSettings((films,), tmp_path / "out", str(bundle.folder))
    run_predict(settings)
    records = [json.loads(r) for r in (tmp_path / "out/predictions.jsonl").read_text().splitlines()]
    rows, suspected = peers.eager_cascade(
        peers.films_of(films),
        cascade.classifier.run,
        cascade.segmenter.run,
        bundle.card,
        peers.encode_runs,
    )
    assert suspected == {r["image_id"]: r["positive"] for r in records}
    assert sum(suspected.values()) == 3
    ours = {r["image_id"]: r["rle"] for r in records}
    for image_id, runs in rows:
        assert (runs == "-1") == (not suspected[image_id])
        if runs != "-1":
            theirs, mine = (rle.decode(text, (256, 256)) for text in (runs, ours[image_id]))
            assert dice(theirs, mine) > 0.98  # predict also drops small lesions one by one


def test_always_segment_sees_every_film(films: Path, cascade: Cascade) -> None:
    rows, suspected = peers.always_segment(
        peers.films_of(films), cascade.segmenter.run, cascade.bundle.card, peers.encode_runs
    )
    assert len(rows) == 6 and all(suspected.values())
    assert all(runs != "-1" for _, runs in rows)


def test_the_networks_alone_run_stage_two_on_what_passed(films: Path, cascade: Cascade) -> None:
    grids = [cascade.prepare(read(path)).grid for path in peers.films_of(films)]

    class Counting:
        batches_at_once = 1
        seen: list[int] = []
        detect = staticmethod(cascade.detect)

        def segment(self, batch: list) -> None:
            self.seen.append(len(batch))

    counting = Counting()
    suspected, seconds = peers.networks_alone(grids, counting, batch_size=2)
    assert suspected == [d.positive for d in cascade.detect(grids)]
    assert counting.seen == [2, 2, 1]  # the first only warms up; three films pass
    assert seconds > 0


def test_the_untrained_peer_writes_empty_masks() -> None:
    pytest.importorskip("segmentation_models_pytorch")
    logits = peers.smp_network(64, None)(np.zeros((1, 1, 64, 64), np.float32))
    assert logits.shape == (1, 1, 64, 64) and logits.max() < -100


def runs_of(seconds: float, loop: float | None, positive: int = 1) -> list[dict[str, Any]]:
    suspected = {"a": True, "b": positive > 1, "c": False, "d": False}
    return [
        {"seconds": k * seconds, "loop_seconds": loop, "peak_mb": 500.0 + k, "images": 4,
         "suspected": suspected}
        for k in (1, 2)
    ]  # fmt: skip


def test_ratios_are_taken_within_a_repeat() -> None:
    """Four images in 1 s and 2 s, against 20 and 40, 8 and 16, 0.5 and 1."""
    found = predict.sum_up(
        {
            predict.PREDICT: runs_of(1.0, None),
            predict.EAGER: runs_of(20.0, 16.0, positive=2),
            predict.ALWAYS: runs_of(8.0, 4.0),
            predict.NETWORKS: runs_of(0.5, 0.5),
        }
    )
    assert found["pass_rate"] == 0.25
    assert {n: r["median"] for n, r in found["ratios"].items()} == {
        predict.EAGER: 20.0,
        predict.ALWAYS: 8.0,
        predict.NETWORKS: 0.5,
    }
    assert found["ratios"][predict.EAGER]["without_its_start"] == pytest.approx((16 + 8) / 2)
    ours = found["contestants"][predict.PREDICT]
    assert ours["images_per_second"] == {"median": 3.0, "low": 2.0, "high": 4.0}
    assert ours["peak_mb"] == 502
    assert found["contestants"][predict.EAGER]["decisions_unlike_predict"] == 1
    report = {
        **found, "films": "phantoms", "bundle": "tiny 1", "runtime": "openvino", "precision": "f32",
        "repeats": 2, "machine": {"processor": "P", "cores": 2},
        "help_seconds": {"median": 0.1, "low": 0.1, "high": 0.1, "aim": 0.2},
        "first_finding_seconds": {"median": 5.0, "low": 5.0, "high": 5.0, "aim": 4.0},
    }  # fmt: skip
    table = predict.table(json.loads(json.dumps(report)))
    assert (
        "| eager cascade | 0.15 (0.10 to 0.20) | 502 MB | 20.00 (20.00 to 20.00) | ≥ 10: met |"
        in (table)
    )
    assert "Beyond" not in table  # no film is left beside the start
    started_soon = {**report, "first_finding_seconds": {"median": 0.5}}
    assert "does 3.00 films a second, 0.50 of the networks" in predict.beyond_the_first(
        started_soon
    )
    assert "≥ 0.9: missed" in table and "aim 4 s missed" in table and "aim 0.2 s met" in table


def test_other_images_are_no_comparison() -> None:
    other = runs_of(1.0, 1.0)
    other[0]["suspected"] = {"e": True}
    with pytest.raises(RuntimeError, match="did not see the same images"):
        predict.sum_up(
            dict.fromkeys(predict.CONTESTANTS, runs_of(1.0, 1.0)) | {"eager cascade": other}
        )


def test_films_that_the_peers_cannot_read_are_refused(films: Path, tmp_path: Path) -> None:
    given = tmp_path / "given"
    given.mkdir()
    for path in sorted(films.iterdir())[:3]:
        (given / path.name).write_bytes(path.read_bytes())
    (tmp_path / "work").mkdir()
    linked = predict.gather(argparse.Namespace(images=given, count=2), tmp_path / "work")
    assert [p.resolve() for p in sorted(linked.iterdir())] == sorted(given.iterdir())[:2]
    (given / "0.png").write_bytes(b"\x89PNG")
    (tmp_path / "again").mkdir()
    with pytest.raises(SystemExit, match="0.png is not DICOM"):
        predict.gather(argparse.Namespace(images=given, count=2), tmp_path / "again")


def test_copied_films_are_other_films(films: Path, tmp_path: Path) -> None:
    cost_growth.copy_films(films, tmp_path / "copies", 8)
    images = [read(path) for path in sorted((tmp_path / "copies").iterdir())]
    assert len({image.source.image_id for image in images}) == 8
    first = read(sorted(films.iterdir())[0])
    for copy in (images[0], images[6]):
        assert np.array_equal(copy.pixels, first.pixels)
    assert not np.array_equal(images[1].pixels, first.pixels)


def growth_arguments(out: Path, **changes: Any) -> argparse.Namespace:
    values = {
        "counts": [100, 1000], "size": 512, "distinct": 3, "bundle": "cxr", "runtime": "openvino",
        "precision": "f32", "threads": None, "batch_size": None, "scratch": None, "out": out,
    }  # fmt: skip
    return argparse.Namespace(**{**values, **changes})


def test_what_is_stored_is_not_measured_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped after the first count; the second call measures the second alone."""
    measured: list[int] = []

    def fake(phantoms: Path, count: int, *_: object) -> dict[str, Any]:
        measured.append(count)
        if len(measured) == 2:
            raise KeyboardInterrupt
        return {"images": count, "seconds": count / 10, "images_per_second": 10.0, "peak_mb": 500.0}

    monkeypatch.setattr(cost_growth, "measure_count", fake)
    monkeypatch.setattr(cost_growth, "timed", lambda words: (0.0, 0.0))
    arguments = growth_arguments(tmp_path / "growth.json")
    with pytest.raises(KeyboardInterrupt):
        cost_growth.measure(arguments)
    report = cost_growth.measure(arguments)
    assert measured == [100, 1000, 1000]
    assert [row["images"] for row in report["results"]] == [100, 1000]
    assert cost_growth.measure(arguments) == report and len(measured) == 3
    with pytest.raises(SystemExit, match="another size"):
        cost_growth.measure(growth_arguments(arguments.out, size=1024))


def test_the_picture_of_growth_is_made_from_the_report_alone(tmp_path: Path) -> None:
    rows = [
        {"images": n, "seconds": n / 9, "images_per_second": 9.0, "peak_mb": mb}
        for n, mb in ((100, 700.0), (1000, 721.0), (10_000, 735.0))
    ]
    report = {
        "bundle": "cxr 1", "precision": "f32", "size": 512, "results": rows,
        "machine": {"processor": "P", "cores": 2},
    }  # fmt: skip
    assert cost_growth.memory_growth(report) == pytest.approx(0.05)
    cost_growth.draw(report, tmp_path / "growth.png")
    drawn = cv2.imread(str(tmp_path / "growth.png"))
    assert drawn is not None and drawn.std() > 5
