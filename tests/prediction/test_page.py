"""The page of a finished run: made from its records, without the networks."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from hand_volumes import SPACING_MM, axial, hand_hu
from PIL import Image as PillowImage

from pneumoseg import rle
from pneumoseg.errors import DataError
from pneumoseg.prediction import page
from pneumoseg.prediction.local import PredictSettings, run_predict
from pneumoseg.prediction.page import write_run_page
from pneumoseg.writing.nifti_bytes import nifti_bytes
from tiny_bundle import write_tiny_bundle, write_tiny_ct_bundle


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_bundle(tmp_path_factory.mktemp("bundles") / "tiny").folder


@pytest.fixture
def run(bundle: Path, tmp_path: Path) -> Path:
    """Two films: one with a bright square of 32×32 (suspected, outlined), one nearly black."""
    films = tmp_path / "films"
    films.mkdir()
    pixels = np.zeros((128, 128), dtype=np.uint8)
    pixels[0, 0] = 255
    PillowImage.fromarray(pixels).save(films / "black.png")
    pixels[32:64, 16:48] = 255
    PillowImage.fromarray(pixels).save(films / "bright.png")
    run_predict(PredictSettings((films,), tmp_path / "out", str(bundle)))
    return tmp_path / "out"


def test_a_page_with_a_row_a_film(run: Path) -> None:
    path, rows = write_run_page(run, title="A <title> & more", introduction="Two films.")
    assert path == run / "index.html"
    text = path.read_text(encoding="utf-8")
    assert "A &lt;title&gt; &amp; more" in text and "Two films." in text
    assert [row.name for row in rows] == ["black", "bright"]
    assert rows[0].lesions == 0 and rows[1].lesions == 1
    assert rows[0].truth is None and rows[1].truth is None
    assert rows[0].decision != rows[1].decision
    assert "tiny 1.2" in text and "not a medical device" in text.lower()


def test_a_page_needs_nothing_from_the_net(run: Path) -> None:
    """Hospital networks have no way out: style and pictures are inside."""
    path, _ = write_run_page(run, title="t")
    text = path.read_text(encoding="utf-8")
    assert 'src="http' not in text and 'href="http' not in text and "<script" not in text
    assert "data:image/" in text


def test_the_truth_is_told_where_it_is_known(run: Path, tmp_path: Path) -> None:
    mask = np.zeros((128, 128), dtype=np.bool_)
    mask[32:64, 16:48] = True
    masks = tmp_path / "masks.csv"
    masks.write_text(f"ImageId, EncodedPixels\nbright, {rle.encode(mask)}\nblack, -1\nother, -1\n")
    _, rows = write_run_page(run, masks=masks, title="t")
    assert [row.truth for row in rows] == [False, True]


def test_it_is_made_again_in_place(run: Path) -> None:
    first = write_run_page(run, title="one")[0].read_text(encoding="utf-8")
    second = write_run_page(run, title="two")[0].read_text(encoding="utf-8")
    assert "one" in first and "two" in second and "one</h1>" not in second


def test_a_folder_without_a_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has no predictions.jsonl; give a folder that pneumoseg"):
        write_run_page(tmp_path, title="t")
    assert list(tmp_path.iterdir()) == []


def test_a_film_that_is_gone_is_named(run: Path, tmp_path: Path) -> None:
    (tmp_path / "films" / "bright.png").unlink()
    with pytest.raises(DataError, match="bright.png can no longer be read"):
        write_run_page(run, title="t")
    assert not (run / "index.html").exists()


def test_too_many_films_for_one_page(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "MOST_FILMS", 1)
    with pytest.raises(DataError, match="more than 1 films, too many for one page"):
        write_run_page(run, title="t")


@pytest.fixture
def ct_run(tmp_path: Path) -> Path:
    """A volume with a lesion in slices 4 to 7, and a picture of a slice."""
    bundle = write_tiny_ct_bundle(tmp_path / "tiny_ct")
    hu = hand_hu(lesions=[np.s_[3:7, 50:70, 80:100]]).astype(np.int16)
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "chest.nii.gz").write_bytes(nifti_bytes(hu, axial(SPACING_MM).affine))
    grey = np.rint(np.clip((hu[4] + 1000) / 2000, 0, 1) * 255).astype(np.uint8)
    PillowImage.fromarray(grey).save(tmp_path / "in" / "slice.png")
    settings = PredictSettings(
        (tmp_path / "in",),
        tmp_path / "ct_out",
        str(bundle.folder),
        window_center=0.0,
        window_width=2000.0,
    )
    run_predict(settings)
    return tmp_path / "ct_out"


def test_a_ct_run_has_a_row_a_volume_with_its_size_in_ml(ct_run: Path, tmp_path: Path) -> None:
    truth = np.zeros((128, 128), np.bool_)
    truth[45:75, 75:105] = True
    (tmp_path / "truth.csv").write_text(
        f"ImageId,EncodedPixels\nchest_1,-1\nchest_4,{rle.encode(truth)}\n"
    )
    path, rows = write_run_page(ct_run, masks=tmp_path / "truth.csv", title="CT")
    assert [(row.name, row.area, row.truth) for row in rows] == [
        ("chest", "32\N{NO-BREAK SPACE}mL", True),
        ("slice", "400\N{NO-BREAK SPACE}px", None),
    ]
    text = path.read_text(encoding="utf-8")
    assert "Chest CT chest: suspected" in text and "<h2>Studies</h2>" in text
    with PillowImage.open(io.BytesIO(rows[0].picture_jpeg)) as picture:
        assert picture.size == (480, 480)
        colours = np.asarray(picture.convert("RGB")).astype(int)
    # slice 4 is shown, the first of the largest; the truth's blue border crosses its row 45
    bluer = colours[..., 2] - colours[..., 0]
    assert bluer[160:178, 300:370].max() > 60 > bluer[100:150].max()


def test_films_and_ct_on_one_page(run: Path, ct_run: Path) -> None:
    path, rows = write_run_page(run, title="t", beside=[(ct_run, None)])
    assert [row.name for row in rows] == ["black", "bright", "chest", "slice"]
    assert path.parent == run


def test_a_volume_that_is_gone_is_named(ct_run: Path, tmp_path: Path) -> None:
    (tmp_path / "in" / "chest.nii.gz").unlink()
    with pytest.raises(DataError, match="can no longer be read"):
        write_run_page(ct_run, title="t")
