"""A derived bundle names its parent, keeps its networks and claims nothing it did not measure."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path

import pytest

from pneumoseg.bundle import Bundle, CardFigure, load_bundle
from pneumoseg.calibration import Calibration
from pneumoseg.errors import BundleError, UsageError
from pneumoseg.operating_point.derived_bundle import derive_bundle
from pneumoseg.settings import PipelineConfig
from tiny_bundle import write_tiny_bundle

FIGURES = tuple(
    CardFigure(name=name, value=0.9, n=9, n_positive=3, split="s", origin="o")
    for name in ("AUROC", "AUROC, PA", "recall", "lesion Dice")
)


@pytest.fixture
def parent(tmp_path: Path) -> Bundle:
    return write_tiny_bundle(tmp_path / "parent", figures=FIGURES)


def test_the_card_names_its_parent(parent: Bundle, tmp_path: Path) -> None:
    before = (parent.folder / "card.toml").read_bytes()
    new = CardFigure(name="recall", value=0.8, n=5, n_positive=5, split="t", origin="here")
    derived = derive_bundle(
        parent, tmp_path / "site", calibration=Calibration("temperature", 2.0, 1.0), note="Why.",
        figures=[new],
    )  # fmt: skip
    card = load_bundle(tmp_path / "site").card
    assert card == derived.card
    assert card.parent == f"tiny 1.2 {hashlib.sha256(before).hexdigest()[:12]}"
    assert card.name == "site"
    assert card.version.startswith("1.2+")
    assert card.training.notes == (*parent.card.training.notes, "Why.")
    assert card.sha256 == parent.card.sha256
    assert card.config == parent.card.config
    assert card.calibration.temperature == 2.0
    # recall and Dice were measured at the parent's operating point
    assert [f.name for f in card.figures] == ["AUROC", "AUROC, PA", "recall"]
    assert card.figures[-1] == new
    assert (parent.folder / "card.toml").read_bytes() == before


def test_another_change_is_another_version(parent: Bundle, tmp_path: Path) -> None:
    config = dataclasses.replace(parent.card.config, classifier_threshold=0.2)
    one = derive_bundle(parent, tmp_path / "site", config=config, note="n")
    again = derive_bundle(parent, tmp_path / "site", config=config, note="n")
    other = derive_bundle(parent, tmp_path / "site", config=PipelineConfig(0.3), note="n")
    assert one.card.version == again.card.version != other.card.version


def test_what_cannot_be_a_derived_bundle_is_refused(parent: Bundle, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="the parent bundle itself"):
        derive_bundle(parent, parent.folder, note="n")
    (tmp_path / "other").mkdir()
    with pytest.raises(BundleError, match="not a bundle"):
        derive_bundle(parent, tmp_path / "other", note="n")
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot write the bundle"):
        derive_bundle(parent, tmp_path / "file" / "site", note="n")
