"""``pneumoseg certify``: a run and its truth to a claim, a JSON file and a picture."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pneumoseg.cli import main
from pneumoseg.errors import DataError, UsageError
from pneumoseg.operating_point.certify import CertifySettings, run_certify


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """120 positive patients with one film, 40 negative; part «few» holds twelve positives."""
    folder = tmp_path / "run"
    folder.mkdir()
    records, masks, table = [], ["ImageId,EncodedPixels"], ["image_id,patient_id,part"]
    for k in range(160):
        positive = k < 120
        probability = 0.3 + 0.005 * k if positive else 0.001 * (k - 119) + 0.3
        records.append(
            {
                "image_id": f"i{k}",
                "shape": [4, 4],
                "probability": probability,
                "positive": probability >= 0.35,
                "classifier_threshold": 0.35,
                "segmented": False,
                "bundle": "b",
                "bundle_version": "1",
            }
        )
        masks.append(f"i{k},{'90000 5' if positive else '-1'}")  # drawn on a larger grid: no matter
        table.append(f"i{k},p{k},{'few' if k % 10 == 0 else 'many'}")
    (folder / "predictions.jsonl").write_text("".join(json.dumps(r) + "\n" for r in records))
    lines = ["ImageId,EncodedPixels", *(f"i{k},-1" for k in range(160))]
    (folder / "predictions_aggregated.csv").write_text("\n".join(lines) + "\n")
    (tmp_path / "masks.csv").write_text("\n".join(masks) + "\n")
    (tmp_path / "table.csv").write_text("\n".join(table) + "\n")
    return folder


def settings(run: Path, **changes: object) -> CertifySettings:
    values = {
        "predictions": run,
        "masks": run.parent / "masks.csv",
        "table": run.parent / "table.csv",
    }
    return CertifySettings(**{**values, **changes})  # type: ignore[arg-type]


def test_a_run_is_certified(run: Path) -> None:
    """120 patients allow one miss: the second lowest score is 0.305, the next value below 0.304."""
    done = run_certify(settings(run))
    content = json.loads((run / "certified" / "certified.json").read_text())
    chosen = content["chosen_here"]
    assert chosen["certified"]
    assert (chosen["allowed_misses"], chosen["missed"]) == (1, 1)
    assert chosen["threshold"] == pytest.approx(0.3045)
    assert chosen["specificity"] == pytest.approx(4 / 40)
    judged = content["chosen_elsewhere"]
    assert (judged["threshold"], judged["missed"], judged["certified"]) == (0.35, 10, False)
    assert done.chosen.claim == chosen["claim"]
    assert (run / "certified" / "certified.png").stat().st_size > 10_000
    assert content["curve"]["recall"][0] == 1.0


def test_part_of_a_run_says_what_is_lacking(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--predictions", str(run), "--masks", str(run.parent / "masks.csv")]
    words += ["--table", str(run.parent / "table.csv"), "--where", "part=few"]
    assert main(["certify", *words, "--out", str(run / "few")]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "here are 12: 47 more needed" in printed
    assert (
        json.loads((run / "few" / "certified.json").read_text())["chosen_here"]["threshold"] is None
    )


def test_wrong_calls_are_refused(run: Path) -> None:
    with pytest.raises(UsageError, match="--table"):
        settings(run, table=None, where=("part=few",))
    with pytest.raises(UsageError, match="confidence"):
        settings(run, confidence=1.0)
    with pytest.raises(DataError, match="no image"):
        run_certify(settings(run, where=("part=none",)))
    (run.parent / "masks.csv").write_text("ImageId,EncodedPixels\nother,-1\n")
    with pytest.raises(DataError, match="none of the 160"):
        run_certify(settings(run))
    assert not (run / "certified").exists()
