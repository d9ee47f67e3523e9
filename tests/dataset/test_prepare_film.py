"""One file of a source: which label it has, and from where."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from pneumoseg.dataset.prepare.film import (
    SourceSettings,
    SourceTables,
    prepare_film,
    read_source_tables,
)
from pneumoseg.dataset.prepare.journal import Record
from pneumoseg.errors import DataError, UsageError


def tables(folder: Path, *, facts: Any = None, masks: Any = None, **options: Any) -> SourceTables:
    """A source whose CSVs are given as they are read."""
    settings = SourceSettings("s", folder, folder / "m.csv", **options)
    probabilities = {"a": 0.5, "b": 0.05, "c": 0.95} if "negatives" in options else {}
    return SourceTables(settings, masks or {}, probabilities, facts or {})


def film(folder: Path, name: str, rows: int = 64, cols: int = 64) -> Path:
    pixels = np.random.default_rng(0).integers(0, 256, (rows, cols)).astype(np.uint8)
    path = folder / f"{name}.png"
    cv2.imwrite(str(path), pixels)
    return path


def test_a_mask_gives_label_and_mask(tmp_path: Path) -> None:
    """Column 0 of 64 is columns 0 to 7 of 512."""
    source = tables(tmp_path, masks={"a": ["0 64"], "b": ["-1"]})
    found = prepare_film(source, film(tmp_path, "a"))
    assert (found.record.outcome, found.record.label, found.record.label_origin) == (
        "row",
        1,
        "mask",
    )
    assert found.mask is not None and found.mask.sum() == 8 * 512
    assert found.mask[:, :8].all()
    empty = prepare_film(source, film(tmp_path, "b"))
    assert empty.record.label == 0 and empty.mask is not None and not empty.mask.any()


def test_what_has_no_label_is_left_out_and_what_cannot_be_read_fails(tmp_path: Path) -> None:
    source = tables(tmp_path)
    assert prepare_film(source, film(tmp_path, "a")).record.code == "no-label"
    (tmp_path / "b.png").touch()
    failed = prepare_film(source, tmp_path / "b.png").record
    assert (failed.outcome, failed.code, failed.file) == ("failed", "empty-file", "b.png")


def test_a_model_s_word_counts_at_both_ends_alone(tmp_path: Path) -> None:
    """0.05 is negative below 0.1, 0.95 positive from 0.9 on, 0.5 is ambiguous."""
    options = {"negatives": Path("n.csv"), "positives_from": 0.9, "parts": "train"}
    source = tables(tmp_path, **options)
    found = {name: prepare_film(source, film(tmp_path, name)).record for name in "abc"}
    assert (found["a"].outcome, found["a"].code) == ("left-out", "not-clear")
    assert (found["b"].label, found["b"].label_origin) == (0, "silver")
    assert (found["c"].label, found["c"].label_origin) == (1, "silver")


def test_a_mask_counts_before_a_model_s_word(tmp_path: Path) -> None:
    options = {"negatives": Path("n.csv"), "positives_from": 0.9, "parts": "train"}
    record = prepare_film(
        tables(tmp_path, masks={"c": ["-1"]}, **options), film(tmp_path, "c")
    ).record
    assert (record.label, record.label_origin) == (0, "mask")


def test_runs_beyond_the_film_fail_and_a_square_grid_needs_a_square_film(tmp_path: Path) -> None:
    source = tables(tmp_path, masks={"a": ["4095 2"]})
    assert prepare_film(source, film(tmp_path, "a")).record.code == "bad-run-length"
    squeezed = tables(tmp_path, masks={"b": ["0 1"]}, mask_grid=128)
    assert prepare_film(squeezed, film(tmp_path, "b", 64, 80)).record.code == "mask-grid-mismatch"


def test_an_unknown_patient_is_one_of_its_own(tmp_path: Path) -> None:
    facts = {"a": {"patient_id": "p", "age": "40"}, "b": {"patient_id": ""}}
    source = tables(tmp_path, masks={"a": ["-1"], "b": ["-1"]}, facts=facts)
    known, unknown = (prepare_film(source, film(tmp_path, name)).record for name in "ab")
    assert (known.patient_id, known.age) == ("p", "40")
    assert unknown.patient_id == "b"


def test_only_films_of_the_split_s_word_may_be_evaluated(tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    source = tables(tmp_path, evaluate_on="test", table=table)
    assert source.may_evaluate(Record("s", "a", "row", split="test"))
    assert not source.may_evaluate(Record("s", "a", "row", split="train"))
    assert tables(tmp_path).may_evaluate(Record("s", "a", "row"))
    assert not tables(tmp_path, parts="train").may_evaluate(Record("s", "a", "row"))


def test_csvs_are_read_strictly(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("ImageId,EncodedPixels\na,-1\n")
    (tmp_path / "n.csv").write_text("image_id,silver_probability\na,1.5\n")
    (tmp_path / "t.csv").write_text("image_id,split\na,train\n")
    good = SourceSettings("s", tmp_path, tmp_path / "m.csv", table=tmp_path / "t.csv")
    assert read_source_tables(good).facts == {"a": {"split": "train"}}
    with pytest.raises(DataError, match="must lie between 0 and 1, got '1.5'"):
        read_source_tables(SourceSettings("s", tmp_path, negatives=tmp_path / "n.csv"))
    word = SourceSettings(
        "s", tmp_path, tmp_path / "m.csv", table=tmp_path / "t.csv", evaluate_on="test"
    )
    with pytest.raises(DataError, match="no row with 'test' in a split column"):
        read_source_tables(word)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "has no labels"),
        ({"masks": Path("m"), "mask_grid": 0}, "mask_grid must be 1 or more"),
        ({"masks": Path("m"), "evaluate_on": "test"}, "evaluate_on needs a table"),
        ({"masks": Path("m"), "negatives_below": 1.1}, "negatives_below must lie"),
        ({"negatives": Path("n"), "positives_from": 0.9}, "a label given by a model may train"),
        (
            {"negatives": Path("n"), "positives_from": 0.05, "parts": "train"},
            "positives_from must lie between negatives_below",
        ),
    ],
)
def test_settings_that_contradict_themselves_are_refused(
    options: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        SourceSettings("s", Path("images"), **options)
