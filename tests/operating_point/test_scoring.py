"""Networks run once: what is kept is what they predicted, and a killed run goes on."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from cascade_films import SIZE, square, write_films

from pneumoseg.errors import DataError, UsageError
from pneumoseg.operating_point.scores import FILMS, MAPS, SCORES, TRUTHS, open_scores
from pneumoseg.operating_point.scoring import ScoreSettings, score_films
from pneumoseg.pipeline_inference import Cascade
from pneumoseg.reading import read
from tiny_bundle import write_tiny_bundle


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eleven films, more than a batch; film k has a square of 20 + k pixels; one is wide."""
    folder = tmp_path_factory.mktemp("scoring")
    films = {}
    for k in range(11):
        truth = square(20 + k)
        films[f"f{k:02d}"] = (np.where(truth, 255, 0).astype(np.uint8), truth, f"p{k // 2}")
    wide = np.zeros((256, SIZE), np.uint8)
    wide[100:140, 60:100] = 255
    films["wide"] = (wide, wide > 0, "p9")
    write_films(folder, films)
    write_tiny_bundle(folder / "tiny")
    return folder


def settings(data: Path, scores: Path, **changes: object) -> ScoreSettings:
    values = {
        "images": data / "images",
        "masks": data / "masks.csv",
        "table": data / "table.csv",
        "bundle": str(data / "tiny"),
        "scores": scores,
        "threads": 1,
    }
    return ScoreSettings(**{**values, **changes})  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def cascade(data: Path) -> Cascade:
    return Cascade.load(data / "tiny", threads=1)


def test_what_the_networks_said_is_kept(data: Path, tmp_path: Path, cascade: Cascade) -> None:
    found = score_films(cascade, settings(data, tmp_path))
    assert [film.image_id for film in found.films] == [*(f"f{k:02d}" for k in range(11)), "wide"]
    assert found.label.all()
    assert found.patient[:4].tolist() == ["p0", "p0", "p1", "p1"]
    assert found.films[0].facts["part"] == "train"
    expected = [200 * (20 + k) ** 2 / SIZE**2 - 2 for k in range(11)]
    np.testing.assert_allclose(found.logit[:11], expected, atol=2e-3)
    np.testing.assert_array_equal(found.truth(3), square(23))
    np.testing.assert_array_equal(found.grid_map(3) >= 0.5, square(23))
    assert min(film.seconds_stage_two for film in found.films) > 0
    # the wide film lies in grid rows 128 to 384; the bars outside it say nothing
    assert found.grid_map(11)[:128].max() == 0
    assert found.grid_map(11)[128:].max() > 0.99
    assert np.argwhere(found.truth(11)).min(axis=0).tolist() == [228, 60]


def test_the_kept_map_gives_the_cascade_s_mask(
    data: Path, tmp_path: Path, cascade: Cascade
) -> None:
    found = score_films(cascade, settings(data, tmp_path))
    always = Cascade.load(data / "tiny", threads=1, classifier_threshold=0.0)
    finding = always.predict(read(data / "images" / "f10.png"))
    assert finding.detection.logit == pytest.approx(found.logit[10], abs=1e-4)
    assert finding.mask is not None
    np.testing.assert_array_equal(found.grid_map(10) >= 0.5, finding.mask.pixels)


def test_scores_that_are_there_are_not_made_again(
    data: Path, tmp_path: Path, cascade: Cascade, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = score_films(cascade, settings(data, tmp_path))
    monkeypatch.setattr(Cascade, "segment", None)  # would fail if it were run
    again = score_films(cascade, settings(data, tmp_path))
    assert again.films == first.films
    monkeypatch.undo()
    part = score_films(cascade, settings(data, tmp_path, where=("part=test",)))
    assert len(part.films) == 6
    assert part.folder != first.folder


def test_a_killed_run_goes_on_after_the_last_whole_film(
    data: Path, tmp_path: Path, cascade: Cascade, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = score_films(cascade, settings(data, tmp_path / "a"))
    folder = tmp_path / "b" / whole.folder.name
    folder.mkdir(parents=True)
    lines = (whole.folder / FILMS).read_text().splitlines(keepends=True)
    (folder / FILMS).write_text("".join(lines[:9]) + lines[9][:20])  # a torn line
    (folder / MAPS).write_bytes((whole.folder / MAPS).read_bytes()[: 2 * SIZE * SIZE * 10 + 7])
    (folder / TRUTHS).write_bytes((whole.folder / TRUTHS).read_bytes()[: SIZE * SIZE // 8 * 10])
    seen = []
    resumed = score_films(cascade, settings(data, tmp_path / "b"), on_film=seen.append)
    assert seen == [10, 11, 12]
    np.testing.assert_array_equal(resumed.logit, whole.logit)
    assert (folder / MAPS).read_bytes() == (whole.folder / MAPS).read_bytes()
    assert (folder / TRUTHS).read_bytes() == (whole.folder / TRUTHS).read_bytes()


def test_damaged_scores_are_refused(data: Path, tmp_path: Path, cascade: Cascade) -> None:
    folder = score_films(cascade, settings(data, tmp_path)).folder
    about = json.loads((folder / SCORES).read_text())
    with (folder / MAPS).open("ab") as file:
        file.truncate(100)
    with pytest.raises(DataError, match="cut short"):
        open_scores(folder)
    (folder / SCORES).write_text(json.dumps(about)[:-5])
    with pytest.raises(DataError, match="damaged"):
        open_scores(folder)


def test_missing_folders_are_named(data: Path, tmp_path: Path, cascade: Cascade) -> None:
    with pytest.raises(UsageError, match="not a folder"):
        score_films(cascade, settings(data, tmp_path, images=tmp_path / "none"))
    with pytest.raises(UsageError, match="cannot read"):
        score_films(cascade, settings(data, tmp_path, masks=tmp_path / "none.csv"))


def test_masks_that_do_not_fit_leave_nothing_behind(
    data: Path, tmp_path: Path, cascade: Cascade
) -> None:
    with pytest.raises(DataError, match="does not fit"):
        score_films(cascade, settings(data, tmp_path, mask_grid=64, where=("part=test",)))
    assert list(tmp_path.iterdir()) == []
    own = tmp_path / "scores"  # a folder that was not there goes too
    with pytest.raises(DataError, match="does not fit"):
        score_films(cascade, settings(data, own, mask_grid=64, where=("part=test",)))
    assert list(tmp_path.iterdir()) == []
