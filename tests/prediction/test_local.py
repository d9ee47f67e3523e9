"""X-rays or CT: what was said counts, then what the files say; a picture alone never decides."""

from __future__ import annotations

import csv
from pathlib import Path

import ct_files
import numpy as np
import pytest
from hand_volumes import SPACING_MM, axial, hand_hu
from PIL import Image as Pillow

from pneumoseg.cli import main
from pneumoseg.errors import BundleError, UsageError
from pneumoseg.phantom import PhantomSettings, run_phantom
from pneumoseg.prediction.local import decide as decide_among
from pneumoseg.prediction.local import run_predict
from pneumoseg.prediction.settings import Decided, PredictSettings
from pneumoseg.reading import walk
from pneumoseg.study import Modality
from pneumoseg.writing.nifti_bytes import nifti_bytes
from tiny_bundle import write_tiny_bundle, write_tiny_ct_bundle


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[Modality, str]:
    folder = tmp_path_factory.mktemp("bundles")
    return {
        Modality.XRAY: str(write_tiny_bundle(folder / "tiny").folder),
        Modality.CT: str(write_tiny_ct_bundle(folder / "tiny_ct").folder),
    }


@pytest.fixture
def shipped(bundles: dict[Modality, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The tiny bundles stand in for the shipped ones."""
    monkeypatch.setattr("pneumoseg.prediction.local.DEFAULT_BUNDLES", bundles)


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A file or folder of each kind, names sorted so that the picture comes first."""
    folder = tmp_path_factory.mktemp("scans")
    hu = hand_hu(lesions=[np.s_[3:7, 50:70, 80:100]]).astype(np.int16)
    films = run_phantom(PhantomSettings(folder / "films", count=1, size=128, workers=1))
    (nifti := folder / "chest.nii.gz").write_bytes(nifti_bytes(hu, axial(SPACING_MM).affine))
    grey = np.zeros((64, 64), np.uint8)
    grey[16:32, 16:32] = 255
    Pillow.fromarray(grey).save(folder / "picture.png")
    (folder / "notes.txt").write_text("not a scan")
    series = ct_files.series(hu, axial(SPACING_MM).affine)
    localizer = ct_files.ct_slice(hu[0], (0, 0, 0), ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    return {
        "film": films.out / "dicom",
        "series": ct_files.write_series(folder / "series", series),
        "localizer": ct_files.write(folder / "localizer.dcm", localizer),
        "nifti": nifti,
        "picture": folder / "picture.png",
        "text": folder / "notes.txt",
    }


def decide(*paths: Path, **options: object) -> Decided:
    settings = PredictSettings(paths, **options)
    return decide_among(settings, walk(settings.paths))


@pytest.mark.parametrize(
    ("names", "modality"),
    [
        (["film"], Modality.XRAY),
        (["series"], Modality.CT),
        (["nifti"], Modality.CT),
        (["localizer"], Modality.CT),
        (["text", "picture", "series"], Modality.CT),
        (["text", "picture", "film", "nifti"], Modality.XRAY),
        (["text"], Modality.XRAY),
    ],
)
def test_the_first_file_that_tells_decides(
    names: list[str], modality: Modality, scans: dict[str, Path]
) -> None:
    decided = decide(*(scans[name] for name in names))
    assert decided.modality is modality
    assert decided.settings.bundle == {"xray": "cxr", "ct": "ct"}[modality.value]
    assert not decided.pictures


def test_pictures_alone_need_a_word(scans: dict[str, Path]) -> None:
    with pytest.raises(UsageError, match=r"picture\.png does not say .* --modality xray or"):
        decide(scans["text"], scans["picture"])


def test_the_word_or_the_bundle_says_what_pictures_show(
    scans: dict[str, Path], bundles: dict[Modality, str]
) -> None:
    for modality, bundle in bundles.items():
        assert decide(scans["picture"], modality=modality.value).pictures
        by_bundle = decide(scans["picture"], bundle=bundle)
        assert by_bundle.modality is modality and by_bundle.pictures


def test_a_bundle_of_the_other_kind_is_refused_at_once(
    scans: dict[str, Path], bundles: dict[Modality, str]
) -> None:
    with pytest.raises(BundleError, match="made for xray and cannot be used on ct"):
        decide(scans["nifti"], modality="ct", bundle=bundles[Modality.XRAY])
    with pytest.raises(BundleError, match="made for ct and cannot be used on xray"):
        decide(scans["film"], modality="xray", bundle=bundles[Modality.CT])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"modality": "xray", "min_volume_ml": 1.0}, "--min-volume-ml is not for xray"),
        (
            {"modality": "xray", "window_center": 1.0, "window_width": 2.0},
            "--window-center is not for xray",
        ),
        ({"modality": "ct", "top_threshold": 0.5}, "--top-threshold is not for ct"),
    ],
)
def test_options_of_the_other_kind_are_refused(
    options: dict, said: str, scans: dict[str, Path]
) -> None:
    with pytest.raises(UsageError, match=said):
        decide(scans["picture"], **options)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"window_center": 40.0}, "together"),
        ({"window_center": 40.0, "window_width": 0.0}, "more than 0"),
    ],
)
def test_a_window_is_whole(options: dict, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        PredictSettings((Path("x"),), **options)


def failures(out: Path) -> dict[str, str]:
    with (out / "failures.csv").open(newline="") as file:
        return {Path(row["path"]).name: row["code"] for row in csv.DictReader(file)}


@pytest.mark.usefixtures("shipped")
def test_nothing_of_a_mixture_is_lost(scans: dict[str, Path], tmp_path: Path) -> None:
    """What the first scan does not stand for is among the failures, with a code that says so."""
    nifti, film, picture = scans["nifti"], scans["film"], scans["picture"]
    ct = run_predict(PredictSettings((nifti, picture, film), tmp_path / "ct"))
    assert (ct.read, ct.failed, ct.exit_code) == (1, 2, 1)
    name = next(film.iterdir()).name
    found = failures(tmp_path / "ct")
    assert found["picture.png"] == "unknown-modality" and "not-ct" in found.values()
    xray = run_predict(PredictSettings((film, picture, nifti), tmp_path / "xray"))
    assert (xray.read, xray.failed) == (1, 2)
    assert failures(tmp_path / "xray") == {
        "picture.png": "unknown-modality",
        "chest.nii.gz": "not-an-xray",
    }
    assert name.endswith(".dcm")


@pytest.mark.usefixtures("shipped")
def test_at_the_terminal(
    scans: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture, out = str(scans["picture"]), tmp_path / "out"
    assert main(["predict", picture, "--out", str(out)]) == 2
    assert "add --modality xray or --modality ct" in capsys.readouterr().err
    assert not out.exists()
    assert main(["predict", picture, "--out", str(out), "--modality", "xray"]) == 0
    assert (out / "predictions_aggregated.csv").is_file()
    words = ["--modality", "ct", "--window-center", "0", "--window-width", "2000"]
    assert main(["predict", picture, "--out", str(tmp_path / "ct"), *words]) == 0
    assert (tmp_path / "ct" / "volumes.csv").is_file()
