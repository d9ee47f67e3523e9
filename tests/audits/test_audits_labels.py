"""Labels against other sources: what a cell says, kappa by hand, the order of the list."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from audit_films import dim_film, film_arguments, write_films

from pneumoseg.audits.labels import (
    LabelsAuditSettings,
    kappa,
    parse_source,
    rank,
    read_source,
    run_labels_audit,
    write_reread,
)
from pneumoseg.audits.scores import ORIGINAL, Scores
from pneumoseg.errors import DataError, UsageError
from tiny_bundle import write_tiny_bundle


def test_a_source_is_read_from_its_words() -> None:
    words = parse_source("a:b/manifest.csv:nih_findings=Pneumothorax")
    assert (words.path, words.column, words.word) == (
        Path("a:b/manifest.csv"),
        "nih_findings",
        "Pneumothorax",
    )
    assert words.says("Effusion|pneumothorax") is True
    assert words.says("No Finding") is False
    assert words.says("Hydropneumothorax") is False, "a word, not a part of one"
    assert words.says(" ") is None
    number = parse_source("silver.csv:silver_probability>=0.5")
    assert (number.says("0.5"), number.says("0.4")) == (True, False)
    for wrong in ("file.csv", "file.csv:column", "file.csv:column>=high"):
        with pytest.raises(UsageError):
            parse_source(wrong)


def test_a_source_is_read_strictly(tmp_path: Path) -> None:
    path = tmp_path / "other.csv"
    path.write_text("image_id,p\na,0.9\nb.png,0.1\nc,\n")
    assert read_source(parse_source(f"{path}:p>=0.5")) == {"a": True, "b": False}
    path.write_text("image_id,p\na,high\n")
    with pytest.raises(DataError, match="expected a number in p, got 'high'"):
        read_source(parse_source(f"{path}:p>=0.5"))


def test_kappa_by_hand() -> None:
    """Cohen's example of two readers of 50: 20 both yes, 5 and 10 one alone, 15 both no: 0.4."""
    label = np.repeat([True, True, False, False], [20, 5, 10, 15])
    votes = np.repeat([True, False, True, False], [20, 5, 10, 15])
    assert kappa(label, votes) == pytest.approx(0.4)
    assert kappa(label, label) == 1.0
    assert kappa(np.ones(3, dtype=np.bool_), np.ones(3, dtype=np.bool_)) is None


def test_the_most_contradicted_come_first() -> None:
    names = np.array(["a", "b", "c", "d", "e"])
    label = np.array([True, True, False, False, False])
    probability = np.array([0.9, 0.2, 0.7, 0.12, 0.3])
    logit = np.log(probability / (1 - probability))
    scores = Scores(names, names, label, {ORIGINAL: logit}, {ORIGINAL: probability})
    votes = np.array([False, True, False, True, False])
    known = np.array([True, True, True, True, False])
    rows = rank(scores, {"other": (votes, known)})
    # the source contradicts d (given 0.88 by the classifier) and a (given 0.9); the classifier
    # alone contradicts b (given 0.2) and c (given 0.3); nobody contradicts e
    assert [row.image_id for row in rows] == ["d", "a", "b", "c"]
    assert [row.sources_against for row in rows] == [1, 1, 0, 0]
    assert rows[2].surprise_nats == pytest.approx(1.609)
    assert "other says none" in rows[1].reason
    assert "lower in 0 of the other 1 films" in rows[2].reason
    assert "higher in 0 of the other 2 films" in rows[3].reason


def settings_for(folder: Path, **changes: object) -> LabelsAuditSettings:
    rng = np.random.default_rng(3)
    films = {f"f{k}": (dim_film(rng) + np.uint8(k % 2), bool(k % 2)) for k in range(6)}
    films["f0"] = (dim_film(rng) + np.uint8(9), False)  # looks positive, is labelled negative
    write_films(folder / "films", films)
    values: dict[str, object] = {
        **film_arguments(folder / "films"),
        "bundle": str(write_tiny_bundle(folder / "tiny").folder),
        "repeats": 20,
        "threads": 1,
    }
    return LabelsAuditSettings(**{**values, **changes})  # type: ignore[arg-type]


def test_the_audit_lists_what_to_read_again(tmp_path: Path) -> None:
    other = tmp_path / "other.csv"
    rows = "".join(f"f{k},{'Pneumothorax' if k % 2 or k == 0 else ''}\n" for k in range(5))
    other.write_text("image_id,words\n" + rows.replace("f2,\n", "f2,None\n"))
    audit, listed = run_labels_audit(
        settings_for(tmp_path, others=(f"{other}:words=Pneumothorax",))
    )
    assert listed[0].image_id == "f0"
    counts = audit.facts["counts"]["other.csv words"]
    assert counts == {
        "both_positive": 2,
        "only_label_positive": 0,
        "only_source_positive": 1,
        "both_negative": 1,
        "unknown_to_source": 2,
    }
    path = write_reread(listed, tmp_path / "out")
    with path.open() as file:
        assert next(csv.DictReader(file))["image_id"] == "f0"
    assert [panel.figures[-1].n for panel in audit.panels] == [6, 3]


def test_a_source_of_another_data_set_is_refused(tmp_path: Path) -> None:
    other = tmp_path / "other.csv"
    other.write_text("image_id,p\nx,0.9\n")
    with pytest.raises(DataError, match="another data set"):
        run_labels_audit(settings_for(tmp_path, others=(f"{other}:p>=0.5",)))
