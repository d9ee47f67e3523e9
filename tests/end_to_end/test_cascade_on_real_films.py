"""The shipped bundle on sixty real DICOM films: the tables fit together and can be evaluated."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from pneumoseg import rle
from pneumoseg.bundle import shipped_bundles
from pneumoseg.cli import main

_SIIM = Path(__file__).parents[2].parent / "shared" / "data" / "siim"
_GRID = (1024, 1024)

pytestmark = [
    pytest.mark.skipif(not (_SIIM / "dicom").is_dir(), reason="no real films on this machine"),
    pytest.mark.skipif("cxr" not in shipped_bundles(), reason="no bundle cxr is shipped yet"),
]


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int]:
    out = tmp_path_factory.mktemp("real") / "out"
    return out, main(["predict", str(_SIIM / "dicom"), "--out", str(out)])


def test_every_film_is_read(run: tuple[Path, int]) -> None:
    out, code = run
    assert code == 0
    assert _rows(out / "failures.csv") == []


def test_one_row_a_film_and_every_row_decodes(run: tuple[Path, int]) -> None:
    rows = _rows(run[0] / "predictions_aggregated.csv")
    files = sorted((_SIIM / "dicom").glob("*.dcm"))
    assert len(rows) == len(files) == 60
    assert {row["ImageId"] for row in rows} == {file.stem for file in files}
    for row in rows:
        assert list(row) == ["ImageId", "EncodedPixels"]
        mask = rle.decode(row["EncodedPixels"], _GRID)
        assert rle.encode(mask) == row["EncodedPixels"].strip()


def test_split_rows_unite_to_the_aggregated_ones(run: tuple[Path, int]) -> None:
    out = run[0]
    lesions: dict[str, list[str]] = {}
    for row in _rows(out / "predictions_split.csv"):
        lesions.setdefault(row["ImageId"], []).append(row["EncodedPixels"])
        if row["EncodedPixels"].strip() != rle.EMPTY:
            assert rle.decode(row["EncodedPixels"], _GRID).sum() == int(row["area_px"])
    for row in _rows(out / "predictions_aggregated.csv"):
        united = rle.decode_union(lesions.pop(row["ImageId"]), _GRID)
        assert np.array_equal(united, rle.decode(row["EncodedPixels"], _GRID))
    assert lesions == {}


def test_records_hold_a_probability_and_a_decision(run: tuple[Path, int]) -> None:
    lines = (run[0] / "predictions.jsonl").read_text(encoding="utf-8").splitlines()
    records = [json.loads(line) for line in lines]
    assert len(records) == 60
    for record in records:
        assert 0 <= record["probability"] <= 1
        assert record["positive"] == (record["probability"] >= record["classifier_threshold"])
        assert record["bundle"] == "cxr"
        assert not record["lesions"] or record["positive"]


def test_it_is_better_than_chance_and_can_be_evaluated(run: tuple[Path, int]) -> None:
    """A floor far below the card's figures: fifteen positives leave a wide interval."""
    words = ["evaluate", "--predictions", str(run[0]), "--masks", str(_SIIM / "train-rle.csv")]
    assert main(words) == 0
    truth = {row["image_id"]: row["pneumothorax"] for row in _rows(_SIIM / "manifest.csv")}
    lines = (run[0] / "predictions.jsonl").read_text(encoding="utf-8").splitlines()
    records = [json.loads(line) for line in lines]
    positive, negative = (
        np.array([r["probability"] for r in records if truth[r["image_id"]] == label])
        for label in ("1", "0")
    )
    auroc = np.mean(positive[:, None] > negative) + np.mean(positive[:, None] == negative) / 2
    assert auroc > 0.75


def test_a_finished_run_is_not_done_again(
    run: tuple[Path, int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["predict", str(_SIIM / "dicom"), "--out", str(run[0])]) == 0
    assert "finished already" in capsys.readouterr().out
