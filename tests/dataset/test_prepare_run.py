"""From made-up films and CSVs to a cache."""

from __future__ import annotations

import csv
import json
import logging
import signal
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage

from pneumoseg.dataset.cache import Cache
from pneumoseg.dataset.prepare import film as prepare_film_module
from pneumoseg.dataset.prepare.run import OneSource, PrepareSettings, SourceSettings, prepare
from pneumoseg.dataset.splits import Fractions
from pneumoseg.errors import DataError, UsageError
from pneumoseg.storage.strict import load_settings

_REAL = Path(__file__).parents[2].parent / "shared" / "data" / "siim"


def _film(path: Path, rows: int = 64, cols: int = 64, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (rows, cols), dtype=np.uint8)
    PillowImage.fromarray(pixels).save(path)
    return path


def _csv(path: Path, header: str, rows: Iterable[str]) -> Path:
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def _source(folder: Path, rows: Iterable[str], **more: object) -> SourceSettings:
    masks = _csv(folder / "masks.csv", "ImageId,EncodedPixels", rows)
    return SourceSettings("films", folder / "images", masks, **more)  # type: ignore[arg-type]


def _settings(tmp_path: Path, *sources: SourceSettings, **more: object) -> PrepareSettings:
    return PrepareSettings(tmp_path / "cache", sources, 1, **more)  # type: ignore[arg-type]


def test_a_film_on_the_grid_is_stored_to_the_bit(tmp_path: Path) -> None:
    path = _film(tmp_path / "images" / "a.png", 512, 512)
    cache = prepare(_settings(tmp_path, _source(tmp_path, ["a,-1"])))
    assert np.array_equal(cache.images[0], np.asarray(PillowImage.open(path)))
    assert not cache.masks.any()
    assert cache.labels.tolist() == [0]


@pytest.mark.parametrize("header", ["ImageId,EncodedPixels", "ImageId, EncodedPixels"])
def test_the_rows_of_an_image_unite(tmp_path: Path, header: str) -> None:
    """64×64 film: columns 0 to 31 and 32 to 47 are columns 0 to 255 and 256 to 383 of the grid."""
    _film(tmp_path / "images" / "a.png")
    masks = _csv(tmp_path / "m.csv", header, ["a, 0 2048", "a, 2048 1024"])
    cache = prepare(_settings(tmp_path, SourceSettings("s", tmp_path / "images", masks)))
    expected = np.zeros((512, 512), dtype=np.uint8)
    expected[:, :384] = 1
    assert np.array_equal(cache.masks[0], expected)
    assert cache.labels.tolist() == [1]


def test_a_mask_is_letterboxed_like_its_film(tmp_path: Path) -> None:
    """A 128×64 film fills columns 128 to 383 of the grid; its upper half is rows 0 to 255."""
    _film(tmp_path / "images" / "a.png", 128, 64)
    runs = " ".join(["0 64", *["64 64"] * 63])
    cache = prepare(_settings(tmp_path, _source(tmp_path, [f"a,{runs}"])))
    expected = np.zeros((512, 512), dtype=np.uint8)
    expected[:256, 128:384] = 1
    assert np.array_equal(cache.masks[0], expected)
    assert (cache.rows[0].rows, cache.rows[0].cols) == (128, 64)


def test_masks_on_a_larger_grid_than_the_mirrored_films(tmp_path: Path) -> None:
    """SIIM mirrors shrink the films to 512 and leave the run lengths on 1024×1024."""
    _film(tmp_path / "images" / "a.png")
    source = _source(tmp_path, ["a,8192 8192"], mask_grid=128)
    cache = prepare(_settings(tmp_path, source))
    expected = np.zeros((512, 512), dtype=np.uint8)
    expected[:, 256:] = 1
    assert np.array_equal(cache.masks[0], expected)


def test_a_lesion_too_thin_for_the_grid_is_still_a_positive(tmp_path: Path) -> None:
    _film(tmp_path / "images" / "a.png")
    cache = prepare(_settings(tmp_path, _source(tmp_path, ["a,5 1"], mask_grid=2048)))
    assert cache.labels.tolist() == [1]
    assert not cache.masks.any()


def test_what_cannot_be_used_is_listed_and_the_rest_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    images = tmp_path / "images"
    for name in ("good", "no-row", "past-grid", "tall"):
        _film(images / f"{name}.png", 128 if name == "tall" else 64)
    (images / "empty.png").write_bytes(b"")
    rows = ["good,-1", "past-grid,0 99999", "tall,0 9", "absent,-1"]
    with caplog.at_level(logging.WARNING):
        cache = prepare(_settings(tmp_path, _source(tmp_path, rows, mask_grid=64)))
    assert [row.image_id for row in cache.rows] == ["good"]
    with (tmp_path / "cache" / "failures.csv").open(newline="") as file:
        failures = {row["file"]: row["code"] for row in csv.DictReader(file)}
    assert failures == {
        "empty.png": "empty-file",
        "past-grid.png": "bad-run-length",
        "tall.png": "mask-grid-mismatch",
    }
    counts = cache.about["sources"]["films"]
    assert counts["left_out"] == {"no-label": 1}
    assert counts["failed"] == 3
    assert counts["masks_without_image"] == 3  # absent, past-grid and tall
    assert "3 files could not be used" in caplog.text
    assert "3 images of its masks CSV have no usable file" in caplog.text
    assert "cannot be used; are there enough patients" in caplog.text


def test_low_silver_probabilities_are_negatives_and_train_only(tmp_path: Path) -> None:
    for name in ("low", "at", "high", "unknown"):
        _film(tmp_path / "images" / f"{name}.png")
    silver = _csv(tmp_path / "silver.csv", "image_id,p", ["low,0.05", "at,0.1", "high,0.9"])
    source = SourceSettings(
        "more",
        tmp_path / "images",
        negatives=silver,
        negatives_column="p",
        negatives_below=0.1,
        parts="train",
    )
    cache = prepare(_settings(tmp_path, source, fractions=Fractions(0.5, 0.5)))
    (row,) = cache.rows
    assert (row.image_id, row.label, row.label_origin, row.part) == ("low", 0, "silver", "train")
    assert cache.about["sources"]["more"]["left_out"] == {"no-label": 1, "not-clear": 2}


def test_high_silver_probabilities_are_positives_without_a_mask(tmp_path: Path) -> None:
    """They may not teach the segmenter that a lesion looks like nothing."""
    for name in ("low", "between", "at", "high"):
        _film(tmp_path / "images" / f"{name}.png")
    cells = ["low,0.05", "between,0.89", "at,0.9", "high,0.95"]
    silver = _csv(tmp_path / "silver.csv", "image_id,silver_probability", cells)
    source = SourceSettings(
        "more", tmp_path / "images", negatives=silver, positives_from=0.9, parts="train"
    )
    cache = prepare(_settings(tmp_path, source))
    labels = {row.image_id: row.label for row in cache.rows}
    assert labels == {"low": 0, "at": 1, "high": 1}
    assert {row.image_id for row, kept in zip(cache.rows, cache.has_mask, strict=True) if kept} == {
        "low"
    }
    assert cache.about["sources"]["more"]["left_out"] == {"not-clear": 1}


def _two_origins(tmp_path: Path) -> PrepareSettings:
    """Patients p0 to p9 each with an evaluable film t and another film o; o-only: patient q."""
    facts, rows = [], []
    for number in range(10):
        for kind, split in (("t", "natural"), ("o", "enriched")):
            _film(tmp_path / "images" / f"{kind}{number}.png", seed=number)
            facts.append(f"{kind}{number},p{number},{split},PA,4{number},F")
            rows.append(f"{kind}{number}," + ("0 64" if kind == "o" or number < 5 else "-1"))
    _film(tmp_path / "images" / "q.png")
    facts.append("q,q,enriched,AP,,")
    rows.append("q,0 64")
    table = _csv(tmp_path / "facts.csv", "image_id,patient_id,split,view,age,sex", facts)
    source = _source(tmp_path, rows, table=table, evaluate_on="natural")
    return _settings(tmp_path, source, fractions=Fractions(0.2, 0.4))


def test_only_one_origin_is_evaluated_and_no_patient_leaks(tmp_path: Path) -> None:
    """Of 5 + 5 patients at 0.2 and 0.4: 2 calibrate, 4 test; their other films are excluded."""
    cache = prepare(_two_origins(tmp_path))
    part = {row.image_id: row.part for row in cache.rows}
    evaluated = {row.image_id for row in cache.rows if row.part in ("calibration", "test")}
    assert len(cache.part("calibration")) == 2
    assert len(cache.part("test")) == 4
    assert all(name.startswith("t") for name in evaluated)
    for number in range(10):
        expected = "excluded" if f"t{number}" in evaluated else "train"
        assert part[f"o{number}"] == expected
    assert part["q"] == "train"
    assert cache.about["parts"]["test"] == {"images": 4, "positives": 2, "patients": 4}
    row = next(row for row in cache.rows if row.image_id == "t3")
    assert (row.patient_id, row.view, row.age, row.sex) == ("p3", "PA", "43", "F")


def test_a_patient_is_one_person_in_every_source(tmp_path: Path) -> None:
    """A training source with a film of a tested patient must not train on it."""
    first, second = tmp_path / "first", tmp_path / "second"
    _film(first / "images" / "a.png")
    _film(second / "images" / "b.png")
    tables = [
        _csv(folder / "t.csv", "image_id,patient_id", [f"{name},p"])
        for folder, name in ((first, "a"), (second, "b"))
    ]
    sources = (
        SourceSettings(
            "one",
            first / "images",
            _csv(first / "m.csv", "ImageId,EncodedPixels", ["a,-1"]),
            table=tables[0],
        ),
        SourceSettings(
            "two",
            second / "images",
            _csv(second / "m.csv", "ImageId,EncodedPixels", ["b,-1"]),
            table=tables[1],
            parts="train",
        ),
    )
    cache = prepare(_settings(tmp_path, *sources, fractions=Fractions(0.0, 1.0)))
    assert [row.part for row in cache.rows] == ["test", "excluded"]


def test_the_same_image_twice_is_one_row(tmp_path: Path) -> None:
    _film(tmp_path / "images" / "one" / "a.png", seed=1)
    _film(tmp_path / "images" / "two" / "a.png", seed=2)
    cache = prepare(_settings(tmp_path, _source(tmp_path, ["a,-1"])))
    assert [row.file for row in cache.rows] == ["one/a.png"]
    assert cache.about["sources"]["films"]["left_out"] == {"duplicate-image": 1}


def test_an_unknown_patient_is_a_patient_of_its_own(tmp_path: Path) -> None:
    _film(tmp_path / "images" / "a.png")
    cache = prepare(_settings(tmp_path, _source(tmp_path, ["a,-1"])))
    assert cache.patients.tolist() == ["a"]


def test_a_finished_cache_is_opened_not_made_or_split_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = _two_origins(tmp_path)
    before = prepare(settings).rows
    monkeypatch.delattr(prepare_film_module, "prepare_film")
    assert prepare(settings).rows == before


def test_changed_settings_or_files_are_refused_unless_overwritten(tmp_path: Path) -> None:
    _film(tmp_path / "images" / "a.png")
    source = _source(tmp_path, ["a,-1"])
    prepare(_settings(tmp_path, source, seed=1))
    with pytest.raises(DataError, match="other settings"):
        prepare(_settings(tmp_path, source, seed=2))
    assert prepare(_settings(tmp_path, source, seed=2), overwrite=True).labels.tolist() == [0]
    _source(tmp_path, ["a,0 4096"])  # the same path, other bytes
    with pytest.raises(DataError, match="other CSVs"):
        prepare(_settings(tmp_path, source, seed=2))
    cache = prepare(_settings(tmp_path, source, seed=2), overwrite=True)
    assert cache.labels.tolist() == [1]
    _film(tmp_path / "images" / "b.png")
    with pytest.raises(DataError, match="cache of 1 files, the sources now have 2"):
        prepare(_settings(tmp_path, source, seed=2))


def test_a_folder_of_something_else_is_never_touched(tmp_path: Path) -> None:
    _film(tmp_path / "images" / "a.png")
    precious = tmp_path / "cache" / "failures.csv"  # another command's, of the same name
    precious.parent.mkdir()
    precious.write_text("years")
    for overwrite in (False, True):
        with pytest.raises(DataError, match="not empty and not a cache"):
            prepare(_settings(tmp_path, _source(tmp_path, ["a,-1"])), overwrite=overwrite)
    assert precious.read_text() == "years"


def test_nothing_usable_says_the_first_reasons(tmp_path: Path) -> None:
    _film(tmp_path / "images" / "a.png")
    with pytest.raises(DataError, match="none of the 1 files.*a.png: no-label"):
        prepare(_settings(tmp_path, _source(tmp_path, ["b,-1"])))


_SCRIPT = """
import sys, time
from pathlib import Path
from pneumoseg.dataset.prepare.run import OneSource, prepare

def report(done, total):
    print(done, flush=True)
    if done >= 64:
        time.sleep(600)

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    one = OneSource(
        folder / "images", folder / "masks.csv", folder / "cache", workers=int(sys.argv[2])
    )
    prepare(one.settings(), on_progress=report)
"""


@pytest.mark.parametrize("workers", [1, 2])
def test_a_killed_run_goes_on_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    """Kill -9 after 64 of 80 files, as in the midst of a write; then no file is done twice."""
    names = [f"f{number:02d}" for number in range(80)]
    for number, name in enumerate(names):
        _film(tmp_path / "images" / f"{name}.png", seed=number)
    _csv(
        tmp_path / "masks.csv",
        "ImageId,EncodedPixels",
        [f"{name},{'0 2048' if number % 3 == 0 else '-1'}" for number, name in enumerate(names)],
    )
    script = tmp_path / "script.py"  # a file: spawned processes import it anew
    script.write_text(_SCRIPT)
    child = subprocess.Popen(
        [sys.executable, str(script), str(tmp_path), str(workers)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert child.stdout is not None
    with child.stdout as output:
        assert [output.readline().strip() for _ in range(3)] == ["0", "32", "64"]
        child.kill()
        assert child.wait() == -signal.SIGKILL
    cache_folder = tmp_path / "cache"
    with pytest.raises(DataError, match="not a finished"):
        Cache.open(cache_folder)
    with (cache_folder / "images.u8").open("ab") as file:
        file.write(b"torn")
    with (cache_folder / "journal.jsonl").open("ab") as file:
        file.write(b'{"source": "films", "fi')

    read = []
    original = prepare_film_module.prepare_film
    monkeypatch.setattr(
        prepare_film_module,
        "prepare_film",
        lambda tables, path: read.append(path) or original(tables, path),
    )
    progress: list[tuple[int, int]] = []
    settings = OneSource(
        tmp_path / "images", tmp_path / "masks.csv", cache_folder, workers=1
    ).settings()
    cache = prepare(settings, on_progress=lambda done, total: progress.append((done, total)))
    assert [path.stem for path in read] == names[64:]
    assert progress == [(64, 80), (80, 80)]
    assert [row.image_id for row in cache.rows] == names
    assert cache.labels.tolist() == [int(number % 3 == 0) for number in range(80)]
    once = OneSource(
        tmp_path / "images", tmp_path / "masks.csv", tmp_path / "once", workers=1
    ).settings()
    assert np.array_equal(prepare(once).images, cache.images)
    assert np.array_equal(cache.masks, Cache.open(tmp_path / "once").masks)
    assert sorted(path.name for path in cache_folder.iterdir()) == [
        "cache.json",
        "failures.csv",
        "images.u8",
        "masks.u8",
        "table.csv",
    ]


def test_an_unfinished_cache_of_other_settings_is_refused(tmp_path: Path) -> None:
    _film(tmp_path / "images" / "a.png")
    source = _source(tmp_path, ["a,-1"])
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "prepare-settings.json").write_text(json.dumps({"seed": 1}))
    with pytest.raises(DataError, match="unfinished cache of other settings"):
        prepare(_settings(tmp_path, source))


def test_a_journal_ahead_of_its_data_is_refused(tmp_path: Path) -> None:
    """A disk that lost the films must not give a cache of black ones."""
    _film(tmp_path / "images" / "a.png")
    settings = _settings(tmp_path, _source(tmp_path, ["a,-1"]))

    def stop(done: int, total: int) -> None:
        if done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(settings, on_progress=stop)
    (tmp_path / "cache" / "images.u8").write_bytes(b"")
    with pytest.raises(DataError, match="0 bytes where the journal says 262144"):
        prepare(settings)
    assert len(prepare(settings, overwrite=True)) == 1


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({}, "has no labels"),
        ({"masks": Path("m.csv"), "mask_grid": 0}, "mask_grid"),
        ({"masks": Path("m.csv"), "evaluate_on": "x"}, "evaluate_on needs a table"),
        ({"negatives": Path("n.csv"), "negatives_below": 1.5}, "negatives_below"),
        ({"negatives": Path("n.csv"), "positives_from": 0.9}, "may train, never evaluate"),
        ({"masks": Path("m.csv"), "parts": "train", "positives_from": 0.9}, "needs the CSV"),
        (
            {"negatives": Path("n.csv"), "parts": "train", "positives_from": 0.05},
            "between negatives_below",
        ),
    ],
)
def test_contradictory_sources_are_refused(more: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        SourceSettings("s", Path("images"), **more)  # type: ignore[arg-type]


def test_a_word_that_no_row_has_is_refused(tmp_path: Path) -> None:
    """A misspelt evaluate_on would leave calibration and test empty."""
    _film(tmp_path / "images" / "a.png")
    table = _csv(tmp_path / "t.csv", "image_id,split", ["a,stage1"])
    source = _source(tmp_path, ["a,-1"], table=table, evaluate_on="stage2")
    with pytest.raises(DataError, match="no row with 'stage2'"):
        prepare(_settings(tmp_path, source))


def test_sources_of_one_name_and_missing_folders_are_refused(tmp_path: Path) -> None:
    source = _source(tmp_path, ["a,-1"])
    with pytest.raises(UsageError, match="own name"):
        _settings(tmp_path, source, source)
    with pytest.raises(UsageError, match="images is not a folder"):
        prepare(_settings(tmp_path, source))


def test_a_table_that_lists_an_image_twice_is_refused(tmp_path: Path) -> None:
    """Two patients for one film: either could be the leak."""
    _film(tmp_path / "images" / "a.png")
    table = _csv(tmp_path / "t.csv", "image_id,patient_id", ["a,p", "a,q"])
    with pytest.raises(DataError, match="line 3: image a is listed twice"):
        prepare(_settings(tmp_path, _source(tmp_path, ["a,-1"], table=table)))


@pytest.mark.skipif(not _REAL.is_dir(), reason="the real films are not beside the repository")
def test_real_dicom_and_its_mirror_agree(tmp_path: Path) -> None:
    """The DICOM film with its own grid and the 512 mirror with mask_grid give one and the same."""
    files = sorted((_REAL / "dicom").iterdir())[:4]
    for name, suffix in (("dicom", ".dcm"), ("images", ".webp")):
        (tmp_path / name).mkdir()
        for file in files:
            (tmp_path / name / f"{file.stem}{suffix}").symlink_to(
                (_REAL / name / f"{file.stem}{suffix}").resolve()
            )
    masks, table = _REAL / "train-rle.csv", _REAL / "manifest.csv"
    caches = [
        prepare(
            OneSource(
                tmp_path / name,
                masks,
                tmp_path / f"cache-{name}",
                table=table,
                mask_grid=grid,
                workers=1,
            ).settings()
        )
        for name, grid in (("dicom", None), ("images", 1024))
    ]
    assert [row.image_id for row in caches[0].rows] == [file.stem for file in files]
    assert np.array_equal(caches[0].labels, caches[1].labels)
    assert np.array_equal(caches[0].masks, caches[1].masks)
    assert np.array_equal(caches[0].patients, caches[1].patients)
    difference = caches[0].images.astype(int) - caches[1].images.astype(int)
    assert np.abs(difference).mean() < 2  # WebP quality 85


def test_the_shipped_recipe_loads() -> None:
    recipe = Path(__file__).parents[2] / "configs" / "prepare_cxr.toml"
    settings = load_settings(PrepareSettings, recipe)
    names = ["siim", "unlabelled", "suspected", "phantom"]
    assert [source.name for source in settings.sources] == names
    assert [source.parts for source in settings.sources] == ["split", "train", "train", "train"]
    assert settings.sources[0].evaluate_on == "stage1_test"
