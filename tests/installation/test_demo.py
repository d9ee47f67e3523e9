"""The demonstration: what is promised on the README's first line is there after one call."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from pneumoseg.cli import main
from pneumoseg.installation import check
from pneumoseg.installation import demo as demo_module
from pneumoseg.installation.demo import Demo, DemoSettings, run_demo
from pneumoseg.prediction.local import DEFAULT_BUNDLES, Progress
from pneumoseg.study import Modality
from tiny_bundle import write_tiny_bundle, write_tiny_ct_bundle

STUDIES = 2


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> DemoSettings:
    folder = tmp_path_factory.mktemp("demo")
    return DemoSettings(folder / "out", str(write_tiny_bundle(folder / "tiny").folder))


@pytest.fixture(scope="module")
def reported() -> tuple[list[tuple[int, int]], list[Progress]]:
    return [], []


@pytest.fixture(scope="module")
def done(settings: DemoSettings, reported: tuple[list[tuple[int, int]], list[Progress]]) -> Demo:
    """Two studies instead of twelve, no CT, a bundle by hand: every film is brighter than black."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demo_module, "STUDIES", STUDIES)
        patch.setattr(demo_module, "shipped_bundles", lambda: ("cxr",))
        return run_demo(
            settings,
            on_phantom=lambda done, total: reported[0].append((done, total)),
            on_predict=reported[1].append,
        )


def test_twelve_studies_of_seeds_of_their_own() -> None:
    """Films that the constancy check knows would show less."""
    assert demo_module.STUDIES == 12
    seeds = range(demo_module.FIRST_SEED, demo_module.FIRST_SEED + demo_module.STUDIES)
    assert not set(seeds) & set(check.SEEDS)


def test_studies_are_dicom_with_their_truth(done: Demo) -> None:
    files = sorted((done.studies / "dicom").glob("*.dcm"))
    assert len(files) == STUDIES
    assert all(file.read_bytes()[128:132] == b"DICM" for file in files)
    with (done.studies / "train-rle.csv").open(newline="") as file:
        assert {row["ImageId"] for row in csv.DictReader(file)} == {f.stem for f in files}


def test_tables_overlays_and_page_are_there(done: Demo) -> None:
    names = {path.name for path in done.results.iterdir()}
    assert {"predictions_aggregated.csv", "predictions_split.csv", "overlays"} <= names
    assert len(list((done.results / "overlays").iterdir())) == STUDIES
    assert done.page == done.results / "index.html" and done.page.is_file()
    assert len(done.rows) == STUDIES


def test_rows_tell_the_truth(done: Demo) -> None:
    with (done.studies / "train-rle.csv").open(newline="") as file:
        rows = list(csv.reader(file))[1:]
    truth = {row[0]: row[1].strip() != "-1" for row in rows}
    assert {row.name: row.truth for row in done.rows} == truth


def test_progress_is_reported(
    done: Demo, reported: tuple[list[tuple[int, int]], list[Progress]]
) -> None:
    assert reported[0] == [(1, STUDIES), (2, STUDIES)]
    assert [progress.done for progress in reported[1]] == [1, 2]


def test_again_replaces_it_and_leaves_other_files(
    done: Demo,
    settings: DemoSettings,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The command says where everything lies; what else is in the folder is not its own."""
    monkeypatch.setattr(demo_module, "STUDIES", STUDIES)
    monkeypatch.setattr(demo_module, "shipped_bundles", lambda: ("cxr",))
    (done.results / "my notes.txt").write_text("keep me")
    assert main(["demo", "--out", str(settings.out), "--bundle", settings.bundle]) == 0
    printed = capsys.readouterr().out
    for word in ("study", "probability", "decision", "lesions", "area", "truth"):
        assert word in printed
    for path in (done.page, done.results / "predictions_aggregated.csv", done.results / "overlays"):
        assert str(path) in printed
    assert "not a medical device" in printed
    assert (done.results / "my notes.txt").read_text() == "keep me"


def test_the_bundle_for_ct_is_shipped() -> None:
    """What `make demo` shows a CT with where nothing else is asked for."""
    assert DEFAULT_BUNDLES[Modality.CT] in demo_module.shipped_bundles()


def test_a_ct_is_shown_beside_the_films(
    settings: DemoSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Breaks if the CT, its truth or its page is missing where a CT bundle is there."""
    monkeypatch.setattr(demo_module, "STUDIES", 1)
    monkeypatch.setattr(demo_module, "CT_SPACING_MM", (25.0, 3.0, 3.0))
    ct_bundle = str(write_tiny_ct_bundle(tmp_path / "tiny_ct").folder)
    done = run_demo(DemoSettings(tmp_path / "out", settings.bundle, ct_bundle))
    film, ct = done.rows
    assert (film.is_ct, ct.is_ct) == (False, True)
    assert ct.truth is True and ct.name == "phantom-ct-7309"
    assert done.ct_results is not None and (done.ct_results / "volumes.csv").is_file()
    assert len(list((done.ct_results / "masks").iterdir())) == 1
    text = done.page.read_text(encoding="utf-8")
    assert "Twelve films and a CT" in text and "tiny 1.2" in text


def test_the_ct_has_a_seed_of_its_own() -> None:
    seeds = range(demo_module.FIRST_SEED, demo_module.FIRST_SEED + demo_module.STUDIES)
    assert demo_module.CT_SEED not in {*seeds, *check.SEEDS, *check.CT_SEEDS}
