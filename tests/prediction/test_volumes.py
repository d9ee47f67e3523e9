"""``predict`` on CT: files in, tables and masks out, stopped and gone on with."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import ct_files
import nibabel as nib
import numpy as np
import pytest
from hand_volumes import SPACING_MM, axial, hand_hu
from PIL import Image as Pillow

from pneumoseg import rle
from pneumoseg.errors import UsageError
from pneumoseg.prediction.local import PredictSettings, run_predict
from pneumoseg.writing.nifti_bytes import nifti_bytes
from pneumoseg.writing.volume_tables import VOLUMES_HEADER
from tiny_bundle import write_tiny_bundle, write_tiny_ct_bundle

LEFT = np.s_[3:7, 50:70, 80:100]
RIGHT = np.s_[8:11, 55:75, 25:45]
TABLES = ("predictions_aggregated.csv", "predictions_split.csv", "volumes.csv")
AFFINE = axial(SPACING_MM).affine


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_tiny_ct_bundle(tmp_path_factory.mktemp("bundles") / "tiny_ct").folder)


def write_nifti(path: Path, hu: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(nifti_bytes(hu.astype(np.int16), AFFINE))
    return path


def write_dicom(folder: Path, hu: np.ndarray, **tags: object) -> Path:
    return ct_files.write_series(folder, ct_files.series(hu.astype(np.int16), AFFINE, **tags))


def write_picture(path: Path, plane: np.ndarray) -> Path:
    """8 bits, −1000 HU black and 1000 HU white: window 0/2000."""
    path.parent.mkdir(parents=True, exist_ok=True)
    grey = np.rint(np.clip((plane + 1000) / 2000, 0, 1) * 255).astype(np.uint8)
    Pillow.fromarray(grey).save(path)
    return path


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def content(out: Path) -> dict[str, str]:
    """Tables and journal, wall times taken out."""
    found = {name: (out / name).read_text() for name in (*TABLES, "failures.csv")}
    lines = (out / "predictions.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    for record in records:
        del record["seconds"]
    return found | {"records": json.dumps(records)}


def predict(paths: Path | tuple[Path, ...], out: Path, bundle: str, **options: object):
    given = (paths,) if isinstance(paths, Path) else paths
    return run_predict(PredictSettings(given, out, bundle, **options))


def test_a_nifti_volume_s_tables_and_mask(tmp_path: Path, bundle: str) -> None:
    hu = hand_hu(lesions=[LEFT, RIGHT])
    source = write_nifti(tmp_path / "in" / "chest.nii.gz", hu)
    out = tmp_path / "out"
    summary = predict(tmp_path / "in", out, bundle)
    assert (summary.read, summary.failed, summary.suspected, summary.with_lesion) == (1, 0, 1, 1)
    (volume,) = rows(out / "volumes.csv")
    assert tuple(volume) == VOLUMES_HEADER
    assert {key: volume[key] for key in ("volume_id", "slices", "rows", "cols", "spacing_mm")} == {
        "volume_id": "chest",
        "slices": "12",
        "rows": "128",
        "cols": "128",
        "spacing_mm": "5x2x2",
    }
    assert volume["positive"] == "1" and volume["lesions"] == "2" and volume["side"] == "both"
    assert float(volume["volume_ml"]) == pytest.approx(32 + 24)
    assert (volume["first_slice"], volume["last_slice"]) == ("4", "11")  # numbered from 1
    assert float(volume["greatest_thickness_mm"]) == pytest.approx(38)
    assert 0 < float(volume["share_of_hemithorax"]) < 0.2

    truth = hu == 1000
    aggregated = rows(out / "predictions_aggregated.csv")
    assert [row["ImageId"] for row in aggregated] == [f"chest_{k}" for k in range(1, 13)]
    decoded = np.stack([rle.decode(row["EncodedPixels"], (128, 128)) for row in aggregated])
    assert np.array_equal(decoded, truth)
    split = rows(out / "predictions_split.csv")
    united = np.zeros_like(truth)
    for row in split:
        united[int(row["ImageId"].split("_")[1]) - 1] |= rle.decode(
            row["EncodedPixels"], (128, 128)
        )
    assert np.array_equal(united, truth)
    assert {(r["ImageId"], r["lesion"], r["side"], r["area_px"], r["area_mm2"]) for r in split} >= {
        ("chest_4", "1", "left", "400", "1600.00"),
        ("chest_9", "2", "right", "400", "1600.00"),
        ("chest_1", "", "", "", ""),
    }
    image, mask = nib.load(source), nib.load(out / "masks" / "chest.nii.gz")
    assert np.allclose(image.affine, mask.affine)
    assert np.array_equal(np.asarray(mask.dataobj) == 1, np.asarray(image.dataobj) == 1000)
    record = json.loads((out / "predictions.jsonl").read_text())
    assert record["modality"] == "ct" and record["shape"] == [12, 128, 128]
    assert json.loads((out / "run.json").read_text())["call"]["modality"] == "ct"


@pytest.mark.parametrize(
    "orientation", [ct_files.SUPINE, ct_files.PRONE, ct_files.FEET_FIRST, ct_files.TURNED]
)
def test_dicom_slices_are_named_and_masked_as_stored(
    orientation: tuple[float, ...], tmp_path: Path, bundle: str
) -> None:
    """Breaks if run lengths are on another grid than the image that the UID names."""
    hu = hand_hu(lesions=[LEFT])
    datasets = ct_files.series(hu.astype(np.int16), AFFINE, orientation)
    ct_files.write_series(tmp_path / "in", datasets)
    predict(tmp_path / "in", tmp_path / "out", bundle)
    aggregated = {
        row["ImageId"]: row["EncodedPixels"]
        for row in rows(tmp_path / "out" / "predictions_aggregated.csv")
    }
    assert list(aggregated) == [str(dataset.SOPInstanceUID) for dataset in datasets]
    for dataset in datasets:
        mask = rle.decode(aggregated[str(dataset.SOPInstanceUID)], (128, 128))
        assert np.array_equal(mask, dataset.pixel_array == 1000)
    (volume,) = rows(tmp_path / "out" / "volumes.csv")
    assert volume["series_instance_uid"] == volume["volume_id"] == ct_files.SERIES
    assert volume["study_instance_uid"] == ct_files.STUDY
    assert volume["side"] == "left"
    assert (tmp_path / "out" / "masks" / f"{ct_files.SERIES}.nii.gz").is_file()


def test_frames_of_an_enhanced_object_are_named_by_the_series(tmp_path: Path, bundle: str) -> None:
    hu = hand_hu(lesions=[LEFT]).astype(np.int16)
    ct_files.write(tmp_path / "in" / "enhanced.dcm", ct_files.enhanced(hu, AFFINE))
    predict(tmp_path / "in", tmp_path / "out", bundle)
    ids = [row["ImageId"] for row in rows(tmp_path / "out" / "predictions_aggregated.csv")]
    assert ids == [f"{ct_files.SERIES}_{k}" for k in range(1, 13)]


def test_pictures_are_named_by_their_stem_and_keep_their_window(
    tmp_path: Path, bundle: str
) -> None:
    hu = hand_hu(lesions=[LEFT])
    for index in (0, 4):
        write_picture(tmp_path / "in" / f"slice{index}.png", hu[index])
    out = tmp_path / "out"
    predict(tmp_path / "in", out, bundle, window_center=0.0, window_width=2000.0, overlays=True)
    aggregated = {r["ImageId"]: r["EncodedPixels"] for r in rows(out / TABLES[0])}
    assert aggregated["slice0"] == "-1"
    assert np.array_equal(rle.decode(aggregated["slice4"], (128, 128)), hu[4] == 1000)
    first, second = rows(out / "volumes.csv")
    assert (second["volume_ml"], second["spacing_mm"], second["side"]) == ("", "", "left")
    assert "window given: centre 0, width 2000" in second["notes"]
    assert "no-lung" not in first["notes"] + second["notes"]
    mask = np.asarray(Pillow.open(out / "masks" / "slice4.png"))
    assert np.array_equal(mask == 255, hu[4] == 1000)
    assert sorted(p.name for p in (out / "overlays").iterdir()) == ["slice0.png", "slice4.png"]


def test_an_assumed_window_is_recorded(tmp_path: Path, bundle: str) -> None:
    picture = write_picture(tmp_path / "slice.png", hand_hu()[0])
    predict(picture, tmp_path / "out", bundle)
    (volume,) = rows(tmp_path / "out" / "volumes.csv")
    assert "window assumed: centre -600, width 1500" in volume["notes"]


def test_montage_and_planes_are_written(tmp_path: Path, bundle: str) -> None:
    write_nifti(tmp_path / "in" / "chest.nii.gz", hand_hu(lesions=[LEFT]))
    predict(tmp_path / "in", tmp_path / "out", bundle, overlays=True)
    names = sorted(path.name for path in (tmp_path / "out" / "overlays").iterdir())
    assert names == ["chest.png", "chest_planes.png"]


def test_failures_get_their_line_and_the_rest_goes_on(tmp_path: Path, bundle: str) -> None:
    folder = tmp_path / "in"
    write_nifti(folder / "a.nii.gz", hand_hu(lesions=[LEFT]))
    abdomen = hand_hu(lesions=[LEFT])
    abdomen[abdomen == -800] = 0
    write_nifti(folder / "b.nii.gz", abdomen)
    (folder / "c.nii.gz").write_bytes((folder / "a.nii.gz").read_bytes()[:500])
    write_nifti(folder / "d" / "a.nii.gz", hand_hu())  # a second one of that name
    (folder / "notes.txt").write_text("not a scan")
    summary = predict(folder, tmp_path / "out", bundle)
    assert (summary.read, summary.failed, summary.exit_code) == (1, 4, 1)
    codes = {Path(r["path"]).name: r["code"] for r in rows(tmp_path / "out" / "failures.csv")}
    assert codes["b.nii.gz"] == "no-lung"
    assert codes["c.nii.gz"] == "truncated"
    assert codes["a.nii.gz"] == "duplicate-id"
    assert codes["notes.txt"] == "document"
    assert [row["volume_id"] for row in rows(tmp_path / "out" / "volumes.csv")] == ["a"]


def test_two_series_in_one_folder(tmp_path: Path, bundle: str) -> None:
    """Breaks if volumes of one folder are taken for one input."""
    write_dicom(tmp_path / "in", hand_hu(lesions=[LEFT]))
    other = ct_files.series(hand_hu(6, [np.s_[2:5, 50:70, 25:45]]).astype(np.int16), AFFINE)
    for number, dataset in enumerate(other):
        dataset.SeriesInstanceUID = "1.2.3.4"
        dataset.SOPInstanceUID = f"1.2.3.4.{number}"
        ct_files.write(tmp_path / "in" / f"other{number}", dataset)
    out = tmp_path / "out"
    assert predict(tmp_path / "in", out, bundle).read == 2
    sides = {row["volume_id"]: row["side"] for row in rows(out / "volumes.csv")}
    assert sides == {ct_files.SERIES: "left", "1.2.3.4": "right"}
    assert {row["path"] for row in rows(out / "volumes.csv")} == {
        f"{tmp_path / 'in'}#{ct_files.SERIES}",
        f"{tmp_path / 'in'}#1.2.3.4",
    }
    assert predict(tmp_path / "in", out, bundle).nothing_to_do


def three_volumes(folder: Path) -> Path:
    for number in range(3):
        box = np.s_[3 + number : 7 + number, 50:70, 80:100]
        write_nifti(folder / f"v{number}.nii.gz", hand_hu(lesions=[box]))
    (folder / "v1a.txt").write_text("not a scan")
    return folder


def test_a_finished_run_is_not_done_again_and_grows(tmp_path: Path, bundle: str) -> None:
    inputs, out = three_volumes(tmp_path / "in"), tmp_path / "out"
    predict(inputs, out, bundle)
    stamps = {name: (out / name).stat().st_mtime_ns for name in TABLES}
    assert predict(inputs, out, bundle).nothing_to_do
    assert stamps == {name: (out / name).stat().st_mtime_ns for name in TABLES}
    write_nifti(inputs / "a_new_one.nii.gz", hand_hu())
    assert predict(inputs, out, bundle).done_before == 4
    assert [r["volume_id"] for r in rows(out / "volumes.csv")] == ["v0", "v1", "v2", "a_new_one"]


def test_a_changed_or_grown_series_is_refused(tmp_path: Path, bundle: str) -> None:
    """Breaks if slices that arrived late are silently left out of a finished volume."""
    series = write_dicom(tmp_path / "in", hand_hu(lesions=[LEFT]))
    late = sorted(series.iterdir())[3]
    kept = late.read_bytes()
    late.unlink()
    predict(tmp_path / "in", tmp_path / "out", bundle)
    late.write_bytes(kept)
    with pytest.raises(UsageError, match="has changed since it was predicted"):
        predict(tmp_path / "in", tmp_path / "out", bundle)


@pytest.mark.parametrize("cut", [0, 40, 100_000])
def test_any_cut_of_the_journal_is_recovered(cut: int, tmp_path: Path, bundle: str) -> None:
    inputs, out = three_volumes(tmp_path / "in"), tmp_path / "out"
    predict(inputs, out, bundle)
    whole = content(out)
    journal = (out / "predictions.jsonl").read_bytes()
    lines = journal.splitlines(keepends=True)
    (out / "predictions.jsonl").write_bytes(lines[0] + lines[1][:cut])
    (out / "failures.csv").write_text("path,code,message\n")
    for name in TABLES:
        (out / name).unlink()
    predict(inputs, out, bundle)
    assert content(out) == whole


CHILD = """
import sys
sys.path[:0] = [{tests!r}, {tests!r} + "/golden"]
from pathlib import Path
import time
from pneumoseg.ct.inference import VolumeCascade
from pneumoseg.prediction.local import PredictSettings, run_predict

class Slow:
    def __init__(self):
        self.real = VolumeCascade.load({bundle!r})
        self.bundle, self.config = self.real.bundle, self.real.config
    def predict(self, volume, *, on_slices=None):
        time.sleep(0.4)
        return self.real.predict(volume, on_slices=on_slices)

settings = PredictSettings((Path({inputs!r}),), Path({out!r}), {bundle!r})
run_predict(settings, load=lambda _: Slow())
"""


def test_a_killed_run_goes_on_at_the_volume(tmp_path: Path, bundle: str) -> None:
    inputs, out = three_volumes(tmp_path / "in"), tmp_path / "out"
    predict(inputs, tmp_path / "reference", bundle)
    code = CHILD.format(
        tests=str(Path(__file__).parents[1]), bundle=bundle, inputs=str(inputs), out=str(out)
    )
    child = subprocess.Popen([sys.executable, "-W", "ignore", "-c", code])
    journal, deadline = out / "predictions.jsonl", time.monotonic() + 60
    while time.monotonic() < deadline and child.poll() is None:
        if journal.exists() and journal.read_bytes().count(b"\n") >= 1:
            break
        time.sleep(0.01)
    child.send_signal(signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL
    assert not (out / "volumes.csv").exists()  # a table that is there is complete
    summary = predict(inputs, out, bundle)
    assert 1 <= summary.done_before < 4
    assert content(out) == content(tmp_path / "reference")


def test_results_among_the_inputs_are_not_inputs(tmp_path: Path, bundle: str) -> None:
    """Breaks if a run takes its own masks for volumes."""
    inputs = three_volumes(tmp_path / "in")
    first = predict(inputs, inputs / "out", bundle, overlays=True)
    again = predict(inputs, inputs / "out", bundle, overlays=True)
    assert first.total == again.total == 4 and again.nothing_to_do


def test_overwrite_removes_its_own_files_alone(tmp_path: Path, bundle: str) -> None:
    inputs, out = three_volumes(tmp_path / "in"), tmp_path / "out"
    predict(inputs, out, bundle, overlays=True)
    (out / "masks" / "mine.nii.gz").write_text("not the run's")
    for path in inputs.glob("v[01].nii.gz"):
        path.unlink()
    predict(inputs, out, bundle, overwrite=True)
    names = {path.name for path in (out / "masks").iterdir()}
    assert names == {"mine.nii.gz", "v2.nii.gz"}
    assert not list((out / "overlays").iterdir())


def test_a_folder_of_films_and_one_of_ct_never_mix(tmp_path: Path, bundle: str) -> None:
    films = write_tiny_bundle(
        tmp_path / "film_bundle", network_size=64, classifier_size=64, segmenter_size=64
    )
    picture = write_picture(tmp_path / "in" / "one.png", hand_hu()[0])
    predict(picture, tmp_path / "out", str(films.folder))
    with pytest.raises(UsageError, match="a run with modality xray, this call has ct"):
        predict(picture, tmp_path / "out", bundle)


def test_another_window_is_another_call(tmp_path: Path, bundle: str) -> None:
    picture = write_picture(tmp_path / "one.png", hand_hu()[0])
    predict(picture, tmp_path / "out", bundle)
    with pytest.raises(UsageError, match="window_center None, this call has 40"):
        predict(picture, tmp_path / "out", bundle, window_center=40.0, window_width=400.0)


def test_a_broken_runtime_stops_the_run(tmp_path: Path, bundle: str) -> None:
    """Breaks if a broken runtime marks all volumes as failed."""
    from pneumoseg.ct.inference import VolumeCascade

    real = VolumeCascade.load(bundle)

    class Broken:
        bundle, config = real.bundle, real.config

        def predict(self, volume, *, on_slices=None):
            raise RuntimeError("device lost")

    inputs = three_volumes(tmp_path / "in")
    settings = PredictSettings((inputs,), tmp_path / "out", bundle)
    with pytest.raises(RuntimeError, match="device lost"):
        run_predict(settings, load=lambda _: Broken())
    assert run_predict(settings).read == 3


def test_progress_counts_within_a_volume(tmp_path: Path, bundle: str) -> None:
    told: list[float] = []
    write_nifti(tmp_path / "in" / "a.nii.gz", hand_hu(12))
    run_predict(
        replace(PredictSettings((tmp_path / "in",), tmp_path / "out", bundle), batch_size=4),
        on_progress=lambda p: told.append(round(p.done + p.share, 3)),
    )
    assert told == [0.333, 0.667, 1.0, 1.0]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_to_is_one_sentence(tmp_path: Path, bundle: str) -> None:
    inputs = three_volumes(tmp_path / "in")
    (tmp_path / "locked").mkdir(mode=0o500)
    with pytest.raises(UsageError, match="cannot write to"):
        predict(inputs, tmp_path / "locked" / "out", bundle)
