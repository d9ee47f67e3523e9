"""What an audit writes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from pneumoseg.audits.page import Audit, Panel, audit_rows, write_audit
from pneumoseg.errors import UsageError
from pneumoseg.statistics.paired import FilmEstimator

LABEL = np.array([True, True, False, False])

PATIENT = np.array(["a", "a", "b", "c"])


@pytest.fixture
def by_film() -> FilmEstimator:
    return FilmEstimator(LABEL, PATIENT, seed=0, repeats=200)


def test_an_audit_becomes_json_and_a_picture(tmp_path: Path, by_film: FilmEstimator) -> None:
    empty = by_film.mean("nothing", np.zeros(4), np.zeros(4, dtype=np.bool_))
    panel = Panel("change", (by_film.mean("x", np.arange(4.0)), empty), 0.0)
    audit = Audit("trial", "tiny 1.2", (panel,), ("It says so.",), {"films": 4})
    record, picture = write_audit(audit, tmp_path / "out")
    report = json.loads(record.read_text())
    assert report["panels"][0]["figures"][0]["value"] == 1.5
    assert report["panels"][0]["figures"][1]["value"] is None
    assert report["sentences"] == ["It says so."]
    assert picture.read_bytes()[1:4] == b"PNG"
    assert audit_rows(audit)[2][2] == "no such film"
    first = picture.read_bytes()
    write_audit(audit, tmp_path / "out")
    assert picture.read_bytes() == first, "the same numbers must give the same picture"
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["trial.json", "trial.png"]


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot write"):
        write_audit(Audit("trial", "b", (Panel("p", ()),), ()), tmp_path / "file" / "out")
