"""The card comes back as it was written, and no damaged or foreign bundle is ever used."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from pneumoseg import bundle as bundle_module
from pneumoseg.bundle import (
    CARD_FILE,
    Digests,
    load_bundle,
    read_card,
    shipped_bundles,
    write_bundle,
    write_card,
)
from pneumoseg.calibration import Calibration
from pneumoseg.errors import BundleError
from pneumoseg.study import Modality
from tiny_bundle import tiny_card, write_tiny_bundle


def edit_card(folder: Path, old: str, new: str) -> None:
    path = folder / CARD_FILE
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


def test_a_card_comes_back_exactly(tmp_path: Path) -> None:
    """Quotes, umlauts, line breaks, floats without a short decimal, missing numbers: all equal."""
    card = tiny_card(calibration=Calibration("temperature", 1 / 3, -2.5e-9))
    write_card(card, tmp_path)
    assert read_card(tmp_path) == card


def test_isotonic_knots_come_back_exactly(tmp_path: Path) -> None:
    logits = tuple(k / 7 for k in range(40))
    card = tiny_card(
        calibration=Calibration(
            "isotonic", knots_logit=logits, knots_probability=tuple(k / 39 for k in range(40))
        ),
        figures=(),
    )
    write_card(card, tmp_path)
    assert read_card(tmp_path) == card


def test_a_card_is_for_reading(tmp_path: Path) -> None:
    text = write_card(tiny_card(), tmp_path).read_text(encoding="utf-8")
    assert text.startswith("# The card of a pneumoseg bundle")
    for line in ('modality = "xray"', "[config]", "min_pixels = 200", "[[figures]]"):
        assert line in text


def test_write_bundle_fills_the_digests_and_loads(tmp_path: Path) -> None:
    made = write_tiny_bundle(tmp_path / "tiny")
    digest = hashlib.sha256((tmp_path / "tiny_parts" / "c.onnx").read_bytes()).hexdigest()
    assert made.card.sha256.classifier == digest
    assert load_bundle(str(tmp_path / "tiny")).card == made.card
    assert sorted(path.name for path in tmp_path.iterdir()) == ["tiny", "tiny_parts"]


def test_write_bundle_replaces_a_bundle_and_nothing_else(tmp_path: Path) -> None:
    write_tiny_bundle(tmp_path / "tiny")
    assert write_tiny_bundle(tmp_path / "tiny", version="2").card.version == "2"
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "thesis.txt").write_text("irreplaceable")
    with pytest.raises(BundleError, match="not a bundle"):
        write_tiny_bundle(precious)
    assert (precious / "thesis.txt").read_text() == "irreplaceable"


def test_write_bundle_without_a_network_leaves_the_old_one(tmp_path: Path) -> None:
    made = write_tiny_bundle(tmp_path / "tiny")
    with pytest.raises(BundleError, match="does not exist"):
        write_bundle(made.folder, tiny_card(), tmp_path / "none.onnx", made.segmenter_path)
    assert load_bundle(made.folder).card == made.card


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("min_pixels", "min_pixel", "unknown key 'min_pixel'"),
        ("min_pixels = 200", 'min_pixels = "200"', "min_pixels: expected int"),
        ("min_pixels = 200", "min_pixels = -1", "min_pixels must be 0 or more"),
        ('version = "1.2"\n', "", "'version' is missing"),
        ('licence = "MIT"\n', "", "'licence' is missing"),
        ('modality = "xray"', 'modality = "mri"', "modality: 'mri' is not one of xray, ct"),
        ("classifier_size = 512", "classifier_size = 500", "multiple of 32"),
        ("classifier_size = 512", "classifier_size = true", "expected int"),
        ("std = 0.5", "std = 0.0", "std must be positive"),
        ('method = "none"', 'method = "magic"', "method"),
        ("temperature = 1.0", "temperature = -1.0", "temperature must be positive"),
        ("[config]", "[config", "not valid TOML"),
        ('classifier = "', 'classifier = "G', "64 hexadecimal digits"),
    ],
)
def test_a_card_with_a_mistake_names_it(old: str, new: str, words: str, tmp_path: Path) -> None:
    folder = write_tiny_bundle(tmp_path / "tiny").folder
    edit_card(folder, old, new)
    with pytest.raises(BundleError, match=words) as caught:
        load_bundle(folder)
    assert CARD_FILE in str(caught.value)


def test_other_weights_under_the_same_card_are_refused(tmp_path: Path) -> None:
    """One flipped bit in 45 MB must not go unnoticed."""
    bundle = write_tiny_bundle(tmp_path / "tiny")
    data = bytearray(bundle.segmenter_path.read_bytes())
    data[len(data) // 2] ^= 1
    bundle.segmenter_path.write_bytes(data)
    with pytest.raises(BundleError, match=r"segmenter\.onnx is not the file"):
        load_bundle(bundle.folder)


def test_a_missing_network_is_named(tmp_path: Path) -> None:
    bundle = write_tiny_bundle(tmp_path / "tiny")
    bundle.classifier_path.unlink()
    with pytest.raises(BundleError, match=r"lacks classifier\.onnx"):
        load_bundle(bundle.folder)


def test_shipped_bundles_go_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundle_module, "SHIPPED_FOLDER", tmp_path)
    write_tiny_bundle(tmp_path / "tiny")
    assert shipped_bundles() == ("tiny",)
    assert load_bundle("tiny").folder == tmp_path / "tiny"


def test_an_unknown_bundle_lists_the_shipped_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundle_module, "SHIPPED_FOLDER", tmp_path)
    write_tiny_bundle(tmp_path / "tiny")
    with pytest.raises(BundleError, match=r"'huge' is neither a shipped bundle \(tiny\)"):
        load_bundle("huge")


def test_an_xray_bundle_never_runs_on_ct(tmp_path: Path) -> None:
    bundle = write_tiny_bundle(tmp_path / "tiny")
    bundle.require(Modality.XRAY)
    with pytest.raises(BundleError, match="made for xray and cannot be used on ct"):
        bundle.require(Modality.CT)


def test_digests_must_be_digests() -> None:
    with pytest.raises(BundleError, match="64 hexadecimal digits"):
        Digests("abc", "0" * 64)
