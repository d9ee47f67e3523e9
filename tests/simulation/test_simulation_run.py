"""``pneumoseg simulate``: pairs of one anatomy, the same bytes every time, killed and resumed."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import cv2
import nibabel as nib
import numpy as np
import pytest
from chest_ct import chest_ct

from pneumoseg.cli import main
from pneumoseg.errors import DataError, UsageError
from pneumoseg.simulation.run import SimulateSettings, run_simulation


@pytest.fixture(scope="module")
def slices(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three slices as PNG pairs."""
    folder = tmp_path_factory.mktemp("slices")
    for seed in range(3):
        hu, labels = chest_ct(noise_hu=15.0, seed=seed)
        values = np.clip(hu[0] + 1024, 0, 4095).astype(np.uint16)
        cv2.imwrite(str(folder / f"scan{seed}.png"), values)
        cv2.imwrite(str(folder / f"scan{seed}_lung.png"), (labels[0] > 0).astype(np.uint8) * 255)
    return folder


@pytest.fixture(scope="module")
def volume(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A volume stored from right to left, back to front, foot to head (RAS), with its lungs."""
    folder = tmp_path_factory.mktemp("hospital")
    hu, labels = chest_ct(9, noise_hu=10.0)
    affine = np.array([[0.8, 0, 0, -40], [0, 0.8, 0, -50], [0, 0, 3.0, 7], [0, 0, 0, 1]])
    organs = np.where(labels == 1, 10, np.where(labels == 2, 13, 0))
    organs[4, 64, 64] = 6  # an organ that is no lung
    for name, voxels in (("ct", hu), ("organs", organs)):
        stored = voxels.transpose(2, 1, 0)[::-1, ::-1, ::-1].astype(np.int16)
        nib.save(nib.Nifti1Image(stored, affine), folder / f"{name}.nii.gz")
    return folder / "ct.nii.gz", folder / "organs.nii.gz"


def files(out: Path) -> dict[str, bytes]:
    found = sorted(path for path in out.rglob("*") if path.is_file() and path.suffix != ".jsonl")
    return {str(path.relative_to(out)): path.read_bytes() for path in found}


def truth(out: Path) -> list[dict[str, str]]:
    with (out / "truth.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_volumes_masks_and_truth_agree(slices: Path, tmp_path: Path) -> None:
    """Training would learn from a mask or a label that is not the volume's."""
    done = run_simulation(SimulateSettings(tmp_path / "out", slices=slices, per_slice=6, workers=1))
    rows = truth(tmp_path / "out")
    assert len(rows) == len(done.rows) == done.made == 18
    for row in rows:
        scan = nib.load(tmp_path / "out" / "volumes" / f"{row['volume_id']}.nii.gz")
        mask = nib.load(tmp_path / "out" / "masks" / f"{row['volume_id']}.nii.gz")
        voxels, air = np.asarray(scan.dataobj), np.asarray(mask.dataobj)
        assert scan.get_data_dtype() == np.int16 and mask.get_data_dtype() == np.uint8
        assert voxels.shape == air.shape == (128, 128, 1)
        assert set(np.unique(air)) <= {0, 1}
        np.testing.assert_array_equal(scan.affine, mask.affine)
        assert bool(air.any()) == (row["pneumothorax"] == "1") == (row["side"] != "")
        assert int(row["air_slices"]) == int(air.any())
        assert row["volume_ml"] == ""  # the spacing of a picture is not known
        assert (float(row["degree"]) > 0) == bool(air.any())
        if row["side"] in ("right", "left"):  # columns run from right to left
            middle = np.argwhere(air).mean(axis=0)[0]
            assert (middle < 64) == (row["side"] == "right")


def test_origin_says_nothing_about_the_label(slices: Path, tmp_path: Path) -> None:
    """A network would learn which chest or which distractor goes with the disease."""
    run_simulation(SimulateSettings(tmp_path / "out", slices=slices, per_slice=8, workers=1))
    rows = truth(tmp_path / "out")
    for anatomy in {row["anatomy"] for row in rows}:
        own = [row for row in rows if row["anatomy"] == anatomy]
        assert [row["pneumothorax"] for row in own] == ["1", "0"] * 4
        for positive, healthy in zip(own[::2], own[1::2], strict=True):
            drawn = [
                [name for name in row["distractors"].split(";") if name not in OF_ONE_ALONE]
                for row in (positive, healthy)
            ]
            assert drawn[0] == drawn[1]


OF_ONE_ALONE = ("", "breath", "effusion", "hydropneumothorax")


def test_same_seed_same_bytes_whatever_the_workers(slices: Path, tmp_path: Path) -> None:
    for out, workers, seed in (("a", 1, 5), ("b", 2, 5), ("c", 1, 6)):
        settings = SimulateSettings(
            tmp_path / out, slices=slices, per_slice=2, workers=workers, seed=seed
        )
        run_simulation(settings)
    first, second, third = (files(tmp_path / out) for out in "abc")
    assert first == second
    assert first.keys() == third.keys() and first != third


def test_a_killed_run_goes_on(slices: Path, tmp_path: Path) -> None:
    """A volume that was made is not made again; one half noted is."""
    settings = SimulateSettings(tmp_path / "out", slices=slices, per_slice=2, workers=1)
    run_simulation(settings)
    whole = files(settings.out)
    journal = settings.out / "journal.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join(lines[:4]) + lines[4][:20])  # cut in the fourth volume's line
    (settings.out / "truth.csv").unlink()
    done = run_simulation(settings)
    assert done.made == 3
    assert files(settings.out) == whole
    assert run_simulation(settings).made == 0


def test_a_folder_holds_one_kind(slices: Path, tmp_path: Path) -> None:
    """Volumes of two seeds under the same names would be mixed."""
    settings = SimulateSettings(tmp_path / "out", slices=slices, per_slice=2, workers=1)
    run_simulation(settings)
    other = SimulateSettings(tmp_path / "out", slices=slices, per_slice=1, workers=1, seed=1)
    with pytest.raises(UsageError, match="--overwrite"):
        run_simulation(other)
    assert len(run_simulation(other, overwrite=True).rows) == 3
    assert len(list((settings.out / "volumes").iterdir())) == 3


def test_a_volume_comes_back_where_it_lay(volume: tuple[Path, Path], tmp_path: Path) -> None:
    """A collapsed right lung on the patient's left: the source ran the other way on every axis."""
    ct, lungs = volume
    settings = SimulateSettings(
        tmp_path / "out",
        volumes=(ct,),
        lungs=(lungs,),
        lung_labels=(10, 13),
        per_volume=2,
        slice_step=2,
        workers=1,
    )
    run_simulation(settings)
    positive, healthy = truth(settings.out)
    assert (positive["anatomy"], positive["source"]) == (f"{ct.parent.name}-ct", "volumes")
    scan = nib.load(settings.out / "volumes" / f"{healthy['volume_id']}.nii.gz")
    assert nib.aff2axcodes(scan.affine) == ("L", "P", "I")
    assert scan.shape == (128, 128, 5)
    source = nib.load(ct)
    # The outermost voxel, air beside the patient's right shoulder, has its own place still.
    corner = source.affine @ [127, 127, 8, 1]
    np.testing.assert_allclose(scan.affine @ [0, 0, 0, 1], corner)
    mask = nib.load(settings.out / "masks" / f"{positive['volume_id']}.nii.gz")
    places = np.argwhere(np.asarray(mask.dataobj))
    assert float(positive["volume_ml"]) == pytest.approx(
        len(places) * 0.8 * 0.8 * 6 / 1000, abs=0.01
    )
    x = float((mask.affine @ [*places.mean(axis=0), 1])[0])
    middle = float((source.affine @ [63.5, 0, 0, 1])[0])
    assert (x > middle) == (positive["side"] == "right")  # RAS: x grows to the right


def test_phantoms_need_no_input(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["simulate", "--out", str(tmp_path / "out"), "--phantoms", "1", "--workers", "1"]
    assert main([*words, "--phantom-spacing-mm", "20", "2.5", "2.5"]) == 0
    assert "phantom" in capsys.readouterr().out
    positive, healthy = truth(tmp_path / "out")
    assert float(positive["volume_ml"]) > 0 == float(healthy["volume_ml"])
    assert positive["anatomy"] == healthy["anatomy"] == "phantom-100000"


def test_wrong_inputs_are_one_sentence(
    slices: Path, volume: tuple[Path, Path], tmp_path: Path
) -> None:
    ct, lungs = volume
    out = tmp_path / "out"
    with pytest.raises(UsageError, match="nothing to simulate in"):
        SimulateSettings(out)
    with pytest.raises(UsageError, match="each volume needs its lungs"):
        SimulateSettings(out, volumes=(ct,))
    with pytest.raises(UsageError, match="per_slice must be 1 or more"):
        SimulateSettings(out, slices=slices, per_slice=0)
    with pytest.raises(DataError, match="no pair"):
        run_simulation(SimulateSettings(out, slices=tmp_path))
    with pytest.raises(DataError, match="there is no file"):
        run_simulation(SimulateSettings(out, volumes=(tmp_path / "no.nii",), lungs=(lungs,)))
    with pytest.raises(DataError, match=r"shows no lung with labels \[77\]; it holds \[0, 6, 10"):
        run_simulation(
            SimulateSettings(out, volumes=(ct,), lungs=(lungs,), lung_labels=(77,), workers=1)
        )
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((40, 40), dtype=np.uint8))
    cv2.imwrite(str(tmp_path / "a_lung.png"), np.ones((40, 40), dtype=np.uint8))
    with pytest.raises(DataError, match="16-bit"):
        run_simulation(SimulateSettings(out, slices=tmp_path, workers=1))


def test_a_damaged_journal_is_refused(slices: Path, tmp_path: Path) -> None:
    settings = SimulateSettings(tmp_path / "out", slices=slices, per_slice=1, workers=1)
    run_simulation(settings)
    journal = settings.out / "journal.jsonl"
    journal.write_text(journal.read_text() + json.dumps({"colour": "blue"}) + "\n")
    with pytest.raises(DataError, match="damaged"):
        run_simulation(settings)
