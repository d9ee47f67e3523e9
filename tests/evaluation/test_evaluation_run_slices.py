"""``evaluate`` on a CT run: slices against a CSV of masks, intervals by volume."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
from hand_volumes import hand_hu

from pneumoseg import rle
from pneumoseg.errors import DataError
from pneumoseg.evaluation.run import EvaluateSettings, run_evaluate
from pneumoseg.prediction.local import PredictSettings, run_predict
from pneumoseg.reading.predictions import read_predictions
from tiny_bundle import write_tiny_ct_bundle

BOX = np.s_[3:7, 50:70, 80:100]
STORED = BOX[1:]  # as the affine stores it: columns to the left, rows to the back
AFFINE = np.diag([-2.0, -2.0, -5.0, 1.0])  # to the left, to the back, to the feet


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Two volumes: «positive» with a box in slices 4 to 7 from the head, «negative» without."""
    (tmp_path / "in").mkdir()
    for name, boxes in (("positive", [BOX]), ("negative", [])):
        stored = hand_hu(12, boxes).transpose(2, 1, 0).astype(np.int16)
        nibabel.save(nibabel.Nifti1Image(stored, AFFINE), tmp_path / "in" / f"{name}.nii.gz")
    bundle = write_tiny_ct_bundle(tmp_path / "tiny").folder
    run_predict(PredictSettings((tmp_path / "in",), tmp_path / "out", str(bundle)))
    return tmp_path / "out"


def truth(path: Path, names: tuple[str, ...] = ("positive", "negative")) -> Path:
    mask = np.zeros((128, 128), np.bool_)
    mask[STORED] = True
    lines = ["ImageId,EncodedPixels"]
    for name in names:
        for number in range(1, 13):
            is_positive = name == "positive" and 4 <= number <= 7
            lines.append(f"{name}_{number},{rle.encode(mask) if is_positive else '-1'}")
    path.write_text("\n".join(lines) + "\n")
    return path


def test_slices_of_a_volume_are_read_back(run: Path) -> None:
    predictions = {one.image_id: one for one in read_predictions(run)}
    assert len(predictions) == 24
    one = predictions["positive_4"]
    assert one.positive and one.segmented and one.volume_id == "positive"
    assert one.shape == (128, 128)
    assert rle.decode(one.run_lengths, (128, 128))[STORED].all()
    (lesion,) = one.lesions
    assert lesion.run_lengths == one.run_lengths
    assert predictions["positive_1"].lesions == () and predictions["positive_1"].run_lengths == "-1"
    assert not predictions["negative_4"].positive


@pytest.mark.parametrize("report", [False, True])
def test_figures_of_slices_by_volume(run: Path, tmp_path: Path, report: bool) -> None:
    """Slices 3 and 8 are voted up with their neighbours: 2 of 20 slices without a lesion."""
    settings = EvaluateSettings(run, truth(tmp_path / "truth.csv"), report=report, repeats=50)
    evaluation = run_evaluate(settings)
    figures = {figure.name: figure for figure in evaluation.figures}
    assert figures["lesion Dice"].value == pytest.approx(1.0)
    assert figures["specificity"].value == pytest.approx(18 / 20)
    assert (figures["AUROC"].n, figures["AUROC"].n_patients) == (24, 2)
    assert (run / "evaluation" / "report.html").is_file() is report


def test_a_damaged_volume_s_line_is_refused(run: Path) -> None:
    path = run / "predictions.jsonl"
    first, second = path.read_text().splitlines()
    record = json.loads(first)
    record["slices"][3]["probability"] = 1.5
    path.write_text(json.dumps(record) + "\n" + second + "\n")
    with pytest.raises(DataError, match=r"line 1: field 'probability' must lie in \[0, 1\]"):
        read_predictions(run)
