"""What version 0.1.0 wrote before its modules moved is still read: runs, caches, bundles, weights.

The files lie in ``golden/before_rooms``, whose README says how they were made. If one of these
tests fails, a user's folder of that time is no longer understood.
"""

from __future__ import annotations

import csv
import gzip
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from pneumoseg.dataset.cache import Cache
from pneumoseg.doctor.validate import ValidateSettings, run_validate
from pneumoseg.evaluation.run import EvaluateSettings, run_evaluate
from pneumoseg.pipeline_inference import Cascade
from pneumoseg.prediction.local import PredictSettings, run_predict
from pneumoseg.prediction.page import write_run_page
from pneumoseg.preprocess import Window
from pneumoseg.reading import read
from pneumoseg.study import Modality
from pneumoseg.training.initialise import build_classifier, build_segmenter
from pneumoseg.version import __version__

GOLDEN = Path(__file__).parents[1] / "golden" / "before_rooms"
HERE = "@HERE@"
MODIFIED_NS = 1_700_000_000 * 10**9
PHANTOM = "2.25.212818195956668485070515001868857332283"
TABLES = ("predictions_aggregated.csv", "predictions_split.csv", "failures.csv")


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A copy of the folder, as it lay on the disk of the time."""
    here = tmp_path / "old"
    shutil.copytree(GOLDEN, here)
    for path in (*(here / "films").iterdir(), *(here / "volumes").iterdir()):
        os.utime(path, ns=(MODIFIED_NS, MODIFIED_NS))
    for path in here.rglob("*"):
        if path.suffix in (".json", ".jsonl", ".csv"):
            path.write_text(path.read_text().replace(HERE, str(here)))
        elif path.name.endswith(".u8.gz"):
            path.with_suffix("").write_bytes(gzip.decompress(path.read_bytes()))
    for path in here.glob("run*/run.json"):  # a run of another version is refused, by design
        path.write_text(path.read_text().replace('"0.1.0"', json.dumps(__version__)))
    return here


def call(old: Path, run: str = "run") -> PredictSettings:
    """The call that made the runs of films."""
    return PredictSettings(
        (old / "films",),
        old / run,
        str(old / "bundle"),
        modality="xray",
        batch_size=2,
        runtime="openvino",
        device="cpu",
        masks=True,
    )


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def state(folder: Path) -> dict[Path, tuple[bytes, int]]:
    """Content and time of change of all files; the manifest alone is written anew."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {
        path: (path.read_bytes(), 0 if path.name == "inputs.jsonl" else path.stat().st_mtime_ns)
        for path in files
    }


def test_an_unfinished_run_goes_on_and_ends_as_the_finished_one(old: Path) -> None:
    summary = run_predict(call(old, "run_cut"))
    assert summary.done_before == 3
    assert (summary.read, summary.failed, summary.suspected, summary.with_lesion) == (5, 1, 4, 3)
    for name in TABLES:
        assert (old / "run_cut" / name).read_text() == (old / "run" / name).read_text(), name
    kept = (old / "run" / "predictions.jsonl").read_text().splitlines()
    lines = (old / "run_cut" / "predictions.jsonl").read_text().splitlines()
    assert [json.loads(line)["image_id"] for line in lines] == [
        json.loads(line)["image_id"] for line in kept
    ]
    for line, before in zip(lines, kept, strict=True):  # a column that a reader knows stays
        assert set(json.loads(before)) <= set(json.loads(line))


def test_a_finished_run_is_left_alone(old: Path) -> None:
    before = state(old / "run")
    summary = run_predict(call(old))
    assert summary.nothing_to_do and summary.total == 6
    after = state(old / "run")
    assert {path: after[path] for path in before} == before


def test_a_finished_run_of_a_volume_is_left_alone(old: Path) -> None:
    before = state(old / "run_ct")
    settings = PredictSettings(
        (old / "volumes",),
        old / "run_ct",
        str(old / "bundle_ct"),
        runtime="openvino",
        device="cpu",
    )
    assert run_predict(settings).nothing_to_do
    after = state(old / "run_ct")
    assert {path: after[path] for path in before} == before


def test_a_run_of_a_volume_that_lost_its_journal_s_end_is_done_again(old: Path) -> None:
    run, tables = old / "run_ct", (*TABLES, "volumes.csv")
    before = {name: (run / name).read_text() for name in tables}
    journal = run / "predictions.jsonl"
    journal.write_bytes(journal.read_bytes()[:100])
    settings = PredictSettings(
        (old / "volumes",), run, str(old / "bundle_ct"), runtime="openvino", device="cpu"
    )
    summary = run_predict(settings)
    assert (summary.read, summary.done_before) == (1, 0)
    assert {name: (run / name).read_text() for name in tables} == before


@pytest.mark.parametrize(("run", "studies"), [("run", 5), ("run_ct", 1)])
def test_page_shows_the_run(run: str, studies: int, old: Path) -> None:
    page, shown = write_run_page(old / run, title="Before the rooms")
    assert len(shown) == studies
    assert "Before the rooms" in page.read_text(encoding="utf-8")


def test_validate_finds_both_tables_of_the_run_in_order(old: Path) -> None:
    aggregated, split, _ = (old / "run" / name for name in TABLES)
    report = run_validate(ValidateSettings(aggregated, images=old / "films", pair=split))
    assert report.is_valid, report.problems
    assert (report.rows, report.images) == (5, 5)
    report = run_validate(ValidateSettings(split, images=old / "films", pair=aggregated))
    assert report.is_valid, report.problems
    assert (report.rows, report.images) == (8, 5)


def test_validate_finds_the_slices_in_order(old: Path) -> None:
    split = old / "run_ct" / "predictions_split.csv"
    report = run_validate(ValidateSettings(split, grid=128, slices=True))
    assert report.is_valid, report.problems
    assert report.images == 12


def test_evaluate_measures_the_run_as_it_did(old: Path) -> None:
    """Every value and every seeded interval of the time."""
    settings = EvaluateSettings(
        old / "run",
        old / "masks.csv",
        out=old / "evaluation",
        allow_missing=True,
        seed=3,
        repeats=200,
    )
    run_evaluate(settings)
    now = json.loads((old / "evaluation" / "evaluation.json").read_text())
    before = json.loads((old / "evaluation.json").read_text())
    assert set(before) <= set(now)
    for name, figure in before.pop("figures").items():
        for key, value in figure.items():
            expected = pytest.approx(value, rel=1e-9) if isinstance(value, float) else value
            assert now["figures"][name][key] == expected, (name, key)
    assert {key: now[key] for key in before} == before


def test_a_cache_of_films_opens(old: Path) -> None:
    """Film 0 is letterboxed from 64×80 to 512×512: each pixel is 6.4, 51 rows above are black.

    Its mask is rows 10 to 19 of column 5: rows 51 + 64 to 51 + 127, columns 32 to 37.
    """
    cache = Cache.open(old / "cache")
    assert cache.modality is Modality.XRAY and cache.window is None
    assert [row.image_id for row in cache.rows] == ["film0", "film3"]
    assert cache.labels.tolist() == [1, 0]
    assert cache.part("train").tolist() == [0, 1]
    assert not cache.images[0, :51].any() and not cache.images[0, 461:].any()
    assert cache.images[0, 130, 64] == 250 and cache.images[0, 300, 200] == 20
    outside = cache.masks[0].copy()
    outside[115:179, 32:38] = 0
    assert not outside.any()
    assert cache.masks[0].sum() == 372  # of 384: the corners are rounded
    assert not cache.masks[1].any()


def test_a_cache_of_slices_opens(old: Path) -> None:
    """Air of 10×20 of 64×64 pixels, each of which is 64 of the grid's."""
    cache = Cache.open(old / "cache_ct")
    assert cache.modality is Modality.CT and cache.window == Window(-600, 1500)
    assert [row.slice_index for row in cache.rows] == [0, 1, 2]
    assert [row.mask_px for row in cache.rows] == [0, 12800, 0]
    assert [row.neighbour_mask_px for row in cache.rows] == [12800, 0, 12800]
    assert cache.masks.sum(axis=(1, 2)).tolist() == [0, 12776, 0]  # the corners are rounded
    assert cache.part("train").tolist() == [1]


def test_the_bundle_predicts_to_the_recorded_digits(old: Path) -> None:
    cascade = Cascade.load(str(old / "bundle"), runtime="openvino")
    said = json.loads((old / "said.json").read_text())
    assert len(said) == 4
    for name, before in said.items():
        finding = cascade.predict(read(old / "films" / f"{name}.png"))
        # float32 sums: the order of 262,144 terms moves the sixth digit
        assert finding.detection.logit == pytest.approx(before["logit"], abs=1e-4)
        assert finding.detection.probability == pytest.approx(before["probability"], abs=1e-5)
        area_px = None if finding.mask is None else finding.mask.area_px
        assert area_px == before["area_px"]
        assert [lesion.score for lesion in finding.lesions] == pytest.approx(before["scores"])


@pytest.mark.parametrize(
    ("stage", "build"), [("classifier", build_classifier), ("segmenter", build_segmenter)]
)
def test_best_pt_starts_its_network(stage, build, old: Path, tmp_path: Path) -> None:
    """Breaks if a part of a network is renamed: weights fit by name."""
    held = json.loads(gzip.decompress((old / f"best_{stage}.json.gz").read_bytes()))
    held["model"] = {
        name: torch.full(shape, place, dtype=getattr(torch, kind))
        for place, (name, (shape, kind)) in enumerate(held["model"].items())
    }
    path = tmp_path / "best.pt"
    torch.save(held, path)
    started = build(str(path)).state_dict()
    assert list(started) == list(held["model"])
    for place, tensor in enumerate(started.values()):
        assert np.unique(tensor.numpy()).tolist() == [place]
    assert held["recipe"]["size"] == 512 and held["metrics"]["score"] == 0.5
