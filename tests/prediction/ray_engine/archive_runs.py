"""Calls of both engines on the same inputs, and what must be equal afterwards."""

from __future__ import annotations

import json
from pathlib import Path

import archive_cascades as cascades
import pytest

from film_runs import TABLES
from pneumoseg.prediction.local import PredictSettings, run_predict
from pneumoseg.prediction.ray import run_archive

parquet = pytest.importorskip("pyarrow.parquet", reason="the archive engine needs the extra ray")


def settings_for(inputs: Path, out: Path, **options) -> PredictSettings:
    return PredictSettings(
        paths=(inputs,),
        out=out,
        **({"batch_size": 2, "modality": "xray", "engine": "ray"} | options),
    )


def archive(inputs: Path, out: Path, load=cascades.fake, **options):
    return run_archive(settings_for(inputs, out, workers=2, **options), load=load)


def local(inputs: Path, out: Path, load=cascades.fake, **options):
    return run_predict(settings_for(inputs, out, engine="local", **options), load=load)


def records(out: Path) -> list[dict]:
    """All of the journal but the one thing that differs from run to run."""
    lines = (out / "predictions.jsonl").read_text().splitlines()
    return [json.loads(line) | {"seconds": None} for line in lines]


def assert_equal_results(out: Path, reference: Path) -> None:
    names = (*TABLES, "failures.csv", "inputs.jsonl", "run.json")
    for name in names:
        assert (out / name).read_bytes() == (reference / name).read_bytes(), name
    assert records(out) == records(reference)
    table = parquet.read_table(out / "predictions_parquet")
    assert table["record"].to_pylist() == (out / "predictions.jsonl").read_text().splitlines()
