"""A whole evaluation of a tiny made-up folder, every figure computed by hand."""

import json
from pathlib import Path

import numpy as np
import pytest

from pneumoseg import rle
from pneumoseg.errors import DataError, UsageError
from pneumoseg.evaluation.run import EvaluateSettings, evaluation_rows, run_evaluate

SHAPE = (8, 6)


def _square(top: int, left: int, side: int = 2) -> str:
    mask = np.zeros(SHAPE, dtype=bool)
    mask[top : top + side, left : left + side] = True
    return rle.encode(mask)


def _record(image_id: str, probability: float, mask: str = "-1", **changes) -> dict:
    positive = probability >= 0.5
    return {
        "image_id": image_id,
        "path": f"{image_id}.dcm",
        "shape": list(SHAPE),
        "probability": probability,
        "positive": positive,
        "classifier_threshold": 0.5,
        "segmented": positive,
        "rle": mask,
        "bundle": "cxr",
        "bundle_version": "1",
    } | changes


FOUND, HALF, MISSED, ALARM, QUIET = "1.2.1", "1.2.2", "1.2.3", "1.2.4", "1.2.5"
RECORDS = (
    _record(FOUND, 0.9, _square(0, 0)),
    _record(HALF, 0.8, _square(0, 0)),
    _record(MISSED, 0.4),
    _record(ALARM, 0.6, _square(4, 2)),
    _record(QUIET, 0.1),
)
# HALF: 4 pixels predicted, 4 true, 2 shared. FOUND has its square in two annotations that overlap.
TRUTH = (
    f"ImageId, EncodedPixels\n{FOUND}, {_square(0, 0, 1)}\n{FOUND}, {_square(0, 0)}\n"
    f"{HALF}, {_square(0, 1)}\n{MISSED}, {_square(5, 3)}\n{ALARM}, -1\n{QUIET}, -1\n9.9, -1\n"
)


def _folder(tmp_path: Path, records=RECORDS, truth: str = TRUTH) -> tuple[Path, Path]:
    folder = tmp_path / "outputs"
    folder.mkdir(exist_ok=True)
    lines = [json.dumps(record) + "\n" for record in records]
    (folder / "predictions.jsonl").write_text("".join(lines))
    rows = [f"{record['image_id']},{record['rle']}\n" for record in records]
    (folder / "predictions_aggregated.csv").write_text("ImageId,EncodedPixels\n" + "".join(rows))
    masks = tmp_path / "truth.csv"
    masks.write_text(truth)
    return folder, masks


def _run(tmp_path: Path, records=RECORDS, truth: str = TRUTH, **settings):
    folder, masks = _folder(tmp_path, records, truth)
    return run_evaluate(EvaluateSettings(folder, masks, repeats=50, **settings))


def test_every_figure_by_hand(tmp_path: Path) -> None:
    """Fails if any figure, its n or its file were wrong."""
    (tmp_path / "outputs").mkdir()
    failures = tmp_path / "outputs" / "failures.csv"
    failures.write_text('path,code,message\na.txt,not-an-image,"a, b"\n')
    evaluation = _run(tmp_path)
    value = {figure.name: figure.value for figure in evaluation.figures}
    assert value == pytest.approx(
        {
            "AUROC": 5 / 6,  # of six pairs only MISSED against ALARM is the wrong way round
            "recall": 2 / 3,
            "specificity": 1 / 2,
            "F2": 5 * 2 / (5 * 2 + 4 * 1 + 1),
            "lesion Dice": (1 + 0.5 + 0) / 3,
            "SIIM mean Dice": (1 + 0.5 + 0 + 0 + 1) / 5,
            "share reaching stage two": 3 / 5,
        }
    )
    n = {figure.name: (figure.n, figure.n_positive) for figure in evaluation.figures}
    assert n["AUROC"] == (5, 3)
    assert n["lesion Dice"] == (3, 3)
    assert n["specificity"] == (2, 0)
    assert {figure.unit for figure in evaluation.figures} == {"image"}
    assert {figure.n_patients for figure in evaluation.figures} == {None}
    # At 0.35 MISSED (0.4) is suspected too.
    assert evaluation.confusion_default.recall == 1.0
    assert evaluation.confusion.false_negative == 1
    coverage = evaluation.coverage
    assert (coverage.evaluated, coverage.truth_without_prediction) == (5, 1)
    assert (coverage.failures, coverage.predictions_without_truth) == (1, 0)
    out = tmp_path / "outputs" / "evaluation"
    assert {path.name for path in out.iterdir()} == {
        "evaluation.json",
        "confusion_default.png",
        "confusion_calibrated.png",
        "roc.png",
    }
    written = json.loads((out / "evaluation.json").read_text())
    assert written["figures"]["recall"]["value"] == pytest.approx(2 / 3)
    assert written["confusion_calibrated"]["true_positive"] == 2
    rows = evaluation_rows(evaluation)
    assert rows[0] == ("figure", "value", "95 % interval", "n", "positive", "patients")
    assert rows[2][:2] == ("recall", "0.667")
    assert rows[2][3:] == ("3", "3", "unknown")


def test_patients_widen_the_interval_and_are_counted(tmp_path: Path) -> None:
    """Fails if images of one patient were drawn apart: all of one patient leave no spread."""
    table = tmp_path / "table.csv"
    ids = (FOUND, HALF, MISSED, ALARM, QUIET)
    table.write_text("age,image_id,patient_id\n" + "".join(f"5,{i}.png,p1\n" for i in ids))
    evaluation = _run(tmp_path, table=table)
    recall = evaluation.figures[1]
    assert (recall.low, recall.high) == (recall.value, recall.value)
    assert (recall.n_patients, recall.unit) == (1, "patient")
    assert evaluation.coverage.without_patient == 0
    assert evaluation_rows(evaluation)[2][5] == "1"


def test_an_image_the_table_does_not_know_is_its_own_patient(tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    table.write_text(f"ImageId,PatientID\n{FOUND},p1\n{HALF},p1\n{QUIET},\n")
    evaluation = _run(tmp_path, table=table)
    assert evaluation.figures[0].n_patients == 4
    assert evaluation.coverage.without_patient == 3


def test_a_contradictory_table_is_refused(tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    table.write_text(f"image_id,patient_id\n{FOUND},p1\n{FOUND},p2\n")
    with pytest.raises(DataError, match="line 3: image 1.2.1 has the patients p1 and p2"):
        _run(tmp_path, table=table)


def test_the_same_seed_writes_the_same_file(tmp_path: Path) -> None:
    """Fails if the bootstrap or a picture changed from run to run."""
    for name in ("a", "b"):
        _run(tmp_path, out=tmp_path / name, seed=3)
    for file in (tmp_path / "a").iterdir():
        assert file.read_bytes() == (tmp_path / "b" / file.name).read_bytes()


def test_one_class_gives_reasons_not_a_crash(tmp_path: Path) -> None:
    """Fails if a set without positives stopped the evaluation or invented an AUROC."""
    out = tmp_path / "outputs" / "evaluation"
    out.mkdir(parents=True)
    (out / "roc.png").write_bytes(b"of an earlier evaluation")
    evaluation = _run(tmp_path, RECORDS[3:])
    figures = {figure.name: figure for figure in evaluation.figures}
    assert figures["AUROC"].value is None
    assert figures["AUROC"].reason == "needs positive and negative images"
    assert figures["lesion Dice"].value is None
    assert figures["specificity"].value == 0.5
    assert evaluation_rows(evaluation)[1][1:3] == ("needs positive and negative images", "-")
    assert not (out / "roc.png").exists()


def test_predictions_without_truth_are_refused_or_counted(tmp_path: Path) -> None:
    """Fails if a prediction outside the truth were scored or dropped in silence."""
    records = (*RECORDS, _record("7.7", 0.2))
    with pytest.raises(DataError, match=r"1 of 6 predicted images .*the first is 7.7"):
        _run(tmp_path, records)
    evaluation = _run(tmp_path, records, allow_missing=True)
    assert evaluation.coverage.predictions_without_truth == 1
    assert evaluation.figures[0].n == 5
    with pytest.raises(DataError, match="none of the 1 predicted images"):
        _run(tmp_path, records[-1:], allow_missing=True)


@pytest.mark.parametrize(
    ("records", "message"),
    [
        ((RECORDS[0], RECORDS[0]), "1.2.1 has 2 rows where one was expected"),
        ((_record(FOUND, 0.9, shape=[8]),), "line 1: field 'shape' must be"),
        ((_record(FOUND, 0.9, shape=[0, 6]),), "line 1: field 'shape' must be"),
        ((_record(FOUND, 1.5),), "line 1: field 'probability' must lie in"),
        ((_record(FOUND, float("nan")),), "line 1: field 'probability' must lie in"),
        ((_record(FOUND, 0.9, positive=1),), "line 1: field 'positive' must be bool"),
        ((_record(FOUND, 0.9, "40 9"),), "image 1.2.1: the predicted mask does not fit .* 8×6"),
        ((_record(MISSED, 0.4, shape=[4, 6]),), "image 1.2.3: the true mask does not fit 4×6"),
        (
            (_record(FOUND, 0.9, modality="mr"),),
            "line 1: field 'modality' must be xray or ct, got 'mr'",
        ),
        ((_record(FOUND, 0.9, spacing_mm=[0.1]),), "line 1: field 'spacing_mm' must be two"),
        ((_record(FOUND, 0.9, spacing_mm=[0.1, 0]),), "line 1: field 'spacing_mm' must be above"),
        ((_record(FOUND, 0.9, seconds=-1),), "line 1: field 'seconds' must be 0 or more"),
        ((_record(FOUND, 0.9, lesions={}),), "line 1: field 'lesions' must be a list"),
        ((_record(FOUND, 0.9, lesions=[{"rle": "-1"}]),), "line 1: field 'score' must lie in"),
        ((RECORDS[0], _record(QUIET, 0.1, bundle="ct")), "one of each was expected"),
        ((RECORDS[0], _record(QUIET, 0.1, classifier_threshold=0.3)), "one of each was expected"),
    ],
)
def test_damaged_predictions_are_refused(tmp_path: Path, records, message: str) -> None:
    """Fails if damaged or mixed predictions were scored."""
    with pytest.raises(DataError, match=message):
        _run(tmp_path, records)


def test_the_two_files_must_speak_of_the_same_images(tmp_path: Path) -> None:
    folder, masks = _folder(tmp_path)
    aggregated, lines = folder / "predictions_aggregated.csv", folder / "predictions.jsonl"
    whole, all_lines = aggregated.read_text(), lines.read_text()
    aggregated.write_text(whole.replace(f"{QUIET},-1\n", ""))
    with pytest.raises(DataError, match="line 5: image 1.2.5 has no row"):
        run_evaluate(EvaluateSettings(folder, masks))
    aggregated.write_text(whole + "8.8,-1\n")
    with pytest.raises(DataError, match="image 8.8 is in predictions_aggregated.csv but not in"):
        run_evaluate(EvaluateSettings(folder, masks))
    aggregated.write_text(whole)
    lines.write_text(all_lines[:-20])
    with pytest.raises(DataError, match="line 5: not JSON"):
        run_evaluate(EvaluateSettings(folder, masks))
    lines.write_text(all_lines + all_lines)
    with pytest.raises(DataError, match="line 6: image 1.2.1 is there twice"):
        run_evaluate(EvaluateSettings(folder, masks))
    lines.write_text("[1]\n")
    with pytest.raises(DataError, match="expected a JSON object"):
        run_evaluate(EvaluateSettings(folder, masks))


def test_what_is_not_there_is_a_usage_error(tmp_path: Path) -> None:
    folder, masks = _folder(tmp_path)
    with pytest.raises(UsageError, match="is not a folder"):
        run_evaluate(EvaluateSettings(tmp_path / "nothing", masks))
    with pytest.raises(UsageError, match=r"cannot read .*none.csv"):
        run_evaluate(EvaluateSettings(folder, tmp_path / "none.csv"))
    with pytest.raises(UsageError, match="cannot write to"):
        run_evaluate(EvaluateSettings(folder, masks, out=masks, repeats=1))
    with pytest.raises(UsageError, match="repeats must be"):
        EvaluateSettings(folder, masks, repeats=0)
    (folder / "predictions.jsonl").unlink()
    with pytest.raises(UsageError, match=r"cannot read .*predictions.jsonl"):
        run_evaluate(EvaluateSettings(folder, masks))
