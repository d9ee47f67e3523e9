"""From NIfTI pairs to a cache of slices."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pneumoseg import cli
from pneumoseg.dataset.cache import FILM_COLUMNS, Cache
from pneumoseg.dataset.prepare import volumes as module
from pneumoseg.dataset.prepare.run import PrepareSettings, SourceSettings, prepare
from pneumoseg.dataset.prepare.volumes import VolumeSourceSettings
from pneumoseg.dataset.splits import Fractions
from pneumoseg.errors import DataError, UsageError
from pneumoseg.preprocess import Window
from pneumoseg.study import Modality
from pneumoseg.writing.nifti_bytes import nifti_bytes
from volume_pairs import SIDE, affine, chest, write_pair, write_truth


def _source(folder: Path, **more: object) -> VolumeSourceSettings:
    return VolumeSourceSettings("made", folder / "volumes", folder / "masks", **more)  # type: ignore[arg-type]


def _prepare(folder: Path, *sources: VolumeSourceSettings, **more: object) -> Cache:
    return prepare(PrepareSettings(folder / "cache", volumes=sources, workers=1, **more))  # type: ignore[arg-type]


def _flat(hu: list[int], px: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """Slices of one value each, and masks of some pixels each (each 64 pixels of the grid)."""
    values = np.array(hu, dtype=np.int16)[:, None, None].repeat(SIDE, 1).repeat(SIDE, 2)
    mask = np.zeros(values.shape, dtype=np.bool_)
    for plane, count in zip(mask, px, strict=True):
        plane.reshape(-1)[:count] = True
    values[:, -1, -1] = 100  # no volume of one value
    return values, mask


def test_a_slice_is_stored_as_the_window_shows_it(tmp_path: Path) -> None:
    """Window -600/1500: -1350 HU is black, 150 HU white, -1050 a fifth of 255."""
    write_pair(tmp_path, "a", *_flat([-1000, -600, 150], [0, 0, 0]))
    cache = _prepare(tmp_path, _source(tmp_path))
    assert cache.modality is Modality.CT
    assert cache.window == Window(-600, 1500)
    # -1000: 350 / 1500 of 255 is 59.5; -600: half of 255 is 127.5; numpy rounds to even
    assert cache.images[:, 5, 5].tolist() == [60, 128, 255]
    other = prepare(
        PrepareSettings(
            tmp_path / "b", volumes=(_source(tmp_path),), workers=1, window=Window(-500, 1000)
        )
    )
    assert other.images[:, 5, 5].tolist() == [0, 102, 255]


def test_a_row_says_which_slice_it_is_and_what_its_neighbours_hold(tmp_path: Path) -> None:
    """64×64 pixels on the 512×512 grid: one is worth 64."""
    write_pair(tmp_path, "a", *_flat([-900, -800, -700], [2, 0, 1]))
    rows = _prepare(tmp_path, _source(tmp_path)).rows
    assert [row.image_id for row in rows] == ["a_0", "a_1", "a_2"]
    assert [row.volume_id for row in rows] == ["a"] * 3
    assert [row.slice_index for row in rows] == [0, 1, 2]
    assert [row.mask_px for row in rows] == [128, 0, 64]
    assert [row.neighbour_mask_px for row in rows] == [0, 128, 0]
    assert {(row.rows, row.cols, row.file) for row in rows} == {(SIDE, SIDE, "a.nii.gz")}


def test_only_unambiguous_slices_are_positive_or_negative(tmp_path: Path) -> None:
    """Two pixels and more are positive; a trace, or none beside some air, is neither."""
    write_pair(tmp_path, "a", *_flat([-900] * 8, [0, 0, 1, 2, 0, 0, 0, 1]))
    cache = _prepare(tmp_path, _source(tmp_path, smallest_mask_px=128))
    assert [row.part for row in cache.rows] == [
        "train", "excluded", "excluded", "train", "excluded", "train", "excluded", "excluded",
    ]  # fmt: skip
    assert cache.labels[cache.part("train")].tolist() == [0, 1, 0]


def test_masks_lie_on_their_slices_however_they_are_stored(tmp_path: Path) -> None:
    """The mask file runs from feet to head and from left to right: its affine says so."""
    hu, mask = chest(4, slice(1, 2))
    write_pair(tmp_path, "a", hu, mask)
    turned = affine()
    turned[:, 3] = turned @ [3, 0, SIDE - 1, 1]
    turned[:, [0, 2]] *= -1
    stored = nifti_bytes(mask[::-1, :, ::-1].astype(np.uint8), turned)
    (tmp_path / "masks" / "a.nii.gz").write_bytes(stored)
    cache = _prepare(tmp_path, _source(tmp_path))
    assert np.array_equal(cache.masks[:, 3::8, 3::8], mask)  # corners of the mask are rounded off


def test_parts_follow_the_anatomy_and_the_held_out_source_is_tested(tmp_path: Path) -> None:
    """Three volumes of each of eight bodies, and one body that must never be trained on."""
    rows = []
    for body in range(8):
        for number in range(3):
            name = f"b{body}-{number}"
            write_pair(tmp_path, name, *chest(2, slice(0, 1) if number else None, seed=body))
            rows.append((name, f"body-{body}", "drawn"))
    for number in range(2):
        write_pair(tmp_path, f"lidc-{number}", *chest(2, None))
        rows.append((f"lidc-{number}", "lidc", "real"))
    table = write_truth(tmp_path, rows)
    drawn = _source(tmp_path, table=table, only="drawn")
    real = replace(_source(tmp_path, table=table, only="real", parts="test"), name="real")
    cache = _prepare(tmp_path, drawn, real, fractions=Fractions(0.25, 0.25))
    part_of: dict[str, set[str]] = {}
    for row in cache.rows:
        part_of.setdefault(row.patient_id, set()).add(row.part)
    sides = {who: parts - {"excluded"} for who, parts in part_of.items()}
    assert sides.pop("lidc") == {"test"}
    assert all(len(parts) == 1 for parts in sides.values())
    assigned = [next(iter(parts)) for parts in sides.values()]
    assert [assigned.count(part) for part in ("train", "calibration", "test")] == [4, 2, 2]
    assert {row.source for row in cache.rows} == {"made", "real"}


def test_every_source_has_its_share_of_every_part(tmp_path: Path) -> None:
    """Split together, the few anatomies of one source could all train."""
    rows = [(f"{kind}{body}", f"{kind}{body}", kind) for kind in "xy" for body in range(4)]
    for name, _, _ in rows:
        write_pair(tmp_path, name, *chest(2, slice(0, 2)))
    table = write_truth(tmp_path, rows)
    sources = [replace(_source(tmp_path, table=table, only=kind), name=kind) for kind in "xy"]
    for seed in range(5):
        settings = PrepareSettings(
            tmp_path / f"cache{seed}", volumes=tuple(sources), workers=1, seed=seed,
            fractions=Fractions(0.25, 0.25),
        )  # fmt: skip
        cache = prepare(settings)
        for part, count in (("train", 2), ("calibration", 1), ("test", 1)):
            of_part = cache.part(part)
            for kind in "xy":
                patients = set(cache.patients[of_part][cache.sources[of_part] == kind].tolist())
                assert len(patients) == count


def test_what_cannot_be_used_is_listed_and_the_rest_goes_on(tmp_path: Path) -> None:
    for name in ("good", "moved", "smaller", "damaged", "alone"):
        write_pair(tmp_path, name, *chest(2, slice(0, 1)))
    (tmp_path / "volumes" / "damaged.nii.gz").write_bytes(b"no NIfTI")
    (tmp_path / "masks" / "alone.nii.gz").unlink()
    _, mask = chest(3, slice(0, 1))
    stored = nifti_bytes(mask.astype(np.uint8), affine())
    (tmp_path / "masks" / "smaller.nii.gz").write_bytes(stored)
    elsewhere = affine()
    elsewhere[0, 3] = 1.0
    stored = nifti_bytes(mask[:2].astype(np.uint8), elsewhere)
    (tmp_path / "masks" / "moved.nii.gz").write_bytes(stored)
    (tmp_path / "volumes" / "notes.txt").write_text("no volume")
    cache = _prepare(tmp_path, _source(tmp_path))
    assert {row.volume_id for row in cache.rows} == {"good"}
    with (tmp_path / "cache" / "failures.csv").open(newline="") as file:
        failures = {row["file"]: row["code"] for row in csv.DictReader(file)}
    assert failures.pop("damaged.nii.gz")
    assert failures == {
        "moved.nii.gz": "mask-geometry-mismatch",
        "smaller.nii.gz": "mask-geometry-mismatch",
    }
    counts = cache.about["sources"]["made"]
    assert counts["left_out"] == {"no-mask": 1}
    assert (counts["files"], counts["rows"], counts["failed"]) == (5, 2, 3)


def test_slices_are_chosen_evenly_and_their_neighbours_are_those_of_the_volume(
    tmp_path: Path,
) -> None:
    """Four of ten: 0, 3, 6, 9; slice 6 is beside the air of slice 7, which is not taken."""
    write_pair(tmp_path, "a", *_flat([-900] * 10, [0] * 7 + [9] + [0] * 2))
    rows = _prepare(tmp_path, _source(tmp_path, slices_per_volume=4)).rows
    assert [row.slice_index for row in rows] == [0, 3, 6, 9]
    assert [row.neighbour_mask_px for row in rows] == [0, 0, 9 * 64, 0]
    assert [row.part for row in rows] == ["train", "train", "excluded", "train"]


def test_a_run_killed_while_a_volume_was_noted_goes_on_behind_its_last_slice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The journal's lines of one volume may be cut anywhere; no slice is lost or there twice."""
    for name in "abc":
        write_pair(tmp_path, name, *chest(5, slice(1, 3), seed=ord(name)))
    settings = PrepareSettings(tmp_path / "cache", volumes=(_source(tmp_path),), workers=1)
    once = prepare(replace(settings, out=tmp_path / "once"))
    read: list[str] = []
    original = module.prepare_volume

    def killed(source: module.VolumeSource, path: Path) -> tuple[module.PreparedRecord, ...]:
        read.append(path.name)
        if path.name.startswith("c"):
            raise KeyboardInterrupt
        return original(source, path)

    monkeypatch.setattr(module, "prepare_volume", killed)
    monkeypatch.setattr("pneumoseg.dataset.prepare.run.BATCH", 5)  # each volume is noted at once
    with pytest.raises(KeyboardInterrupt):
        prepare(settings)
    journal = tmp_path / "cache" / "journal.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    assert len(lines) == 10
    journal.write_bytes(b"".join(lines[:7]) + lines[7][:30])
    monkeypatch.setattr(module, "prepare_volume", original)
    cache = prepare(settings)
    assert cache.rows == once.rows
    assert np.array_equal(cache.images, once.images)
    assert np.array_equal(cache.masks, once.masks)


def test_another_window_is_another_cache(tmp_path: Path) -> None:
    write_pair(tmp_path, "a", *chest(2, None))
    _prepare(tmp_path, _source(tmp_path))
    with pytest.raises(DataError, match="other settings"):
        _prepare(tmp_path, _source(tmp_path), window=Window(-500, 1500))


def test_caches_of_films_are_written_as_before_there_were_volumes(tmp_path: Path) -> None:
    """Those that exist must open and be told finished by the same call."""
    (tmp_path / "images").mkdir()
    (tmp_path / "masks.csv").write_text("ImageId,EncodedPixels\na,-1\n")
    import cv2

    picture = np.random.default_rng(0).integers(0, 255, (64, 64), dtype=np.uint8)
    cv2.imwrite(str(tmp_path / "images" / "a.png"), picture)
    source = SourceSettings("films", tmp_path / "images", tmp_path / "masks.csv")
    cache = prepare(PrepareSettings(tmp_path / "cache", (source,), 1))
    about = json.loads((tmp_path / "cache" / "cache.json").read_text())
    assert about["format"] == 1
    assert set(about["settings"]) == {"sources", "seed", "fractions"}
    header = (tmp_path / "cache" / "table.csv").read_text().splitlines()[0]
    assert header.split(",") == list(FILM_COLUMNS)
    assert len(FILM_COLUMNS) == 13
    assert (cache.modality, cache.window) == (Modality.XRAY, None)


def test_the_command_makes_a_cache_from_a_settings_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_pair(tmp_path, "a", *chest(3, slice(0, 2)))
    monkeypatch.chdir(tmp_path)
    Path("ct.toml").write_text(
        'out = "cache"\nworkers = 1\n[window]\ncenter = -500.0\nwidth = 1400.0\n'
        '[[volumes]]\nname = "made"\nimages = "volumes"\nmasks = "masks"\n'
    )
    assert cli.main(["prepare", "--settings", "ct.toml"]) == 0
    assert Cache.open(Path("cache")).window == Window(-500.0, 1400.0)


def test_settings_that_cannot_be(tmp_path: Path) -> None:
    source = _source(tmp_path)
    with pytest.raises(UsageError, match=r"films \(sources\) or CT \(volumes\)"):
        PrepareSettings(tmp_path, (SourceSettings("a", tmp_path, tmp_path),), volumes=(source,))
    with pytest.raises(UsageError, match="one source or more"):
        PrepareSettings(tmp_path)
    with pytest.raises(UsageError, match="width must be positive"):
        PrepareSettings(tmp_path, volumes=(source,), window=Window(0, 0))
    with pytest.raises(UsageError, match="only needs a table"):
        _source(tmp_path, only="lidc")
    for name, value in (("slices_per_volume", -1), ("smallest_mask_px", 0)):
        with pytest.raises(UsageError, match=name):
            _source(tmp_path, **{name: value})


def test_a_word_that_no_volume_has_is_said(tmp_path: Path) -> None:
    write_pair(tmp_path, "a", *chest(2, None))
    table = write_truth(tmp_path, [("a", "a", "slices")])
    with pytest.raises(DataError, match="no row with 'lidc'"):
        _prepare(tmp_path, _source(tmp_path, table=table, only="lidc"))
    with pytest.raises(UsageError, match="folder that holds the masks"):
        _prepare(tmp_path, replace(_source(tmp_path), masks=tmp_path / "none"))
