"""`pneumoseg bench`: the whole command, its JSON and what it shows."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from made_up_bench import RECALL, SPECIFICITY

from pneumoseg.commands.installation import bench as bench_command
from pneumoseg.errors import BundleError, UsageError
from pneumoseg.installation.bench.result import (
    STAGE_ONE,
    STAGE_TWO,
    STEPS,
    read_bench,
)
from pneumoseg.installation.bench.run import BENCH_FILE, run_bench
from pneumoseg.installation.bench.settings import BenchSettings
from pneumoseg.installation.bench.timing import FEWEST_REPEATS
from tiny_bundle import write_tiny_bundle, write_tiny_ct_bundle


def settings_for(folder: Path, out: Path, **changes: object) -> BenchSettings:
    quick = {"films": 3, "size": 128, "seconds": 0.5, "batch_size": 2}
    return BenchSettings(bundle=str(folder), out=out, **{**quick, **changes})


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bench") / "tiny"
    return write_tiny_bundle(folder, figures=(RECALL, SPECIFICITY)).folder


def test_a_whole_run(bundle: Path, tmp_path: Path) -> None:
    made: list[tuple[int, int]] = []
    progress: list[tuple[float, int]] = []
    found = run_bench(
        settings_for(bundle, tmp_path / "out", seconds=1.0, prevalences=(0.05,)),
        on_phantom=lambda *step: made.append(step),
        on_progress=lambda *step: progress.append(step),
    )
    assert made == [(1, 3), (2, 3), (3, 3)]
    assert progress[-1] == (1, 1)
    assert [row.step for row in found.timings] == list(STEPS)
    for row in found.timings:
        assert 0 < row.lower_quartile_ms <= row.median_ms <= row.upper_quartile_ms
        assert row.repeats >= FEWEST_REPEATS and row.films_per_repeat == 2
    assert (found.films.n, found.measured.bundle, found.measured.batch_size) == (3, "tiny", 2)
    one, two = found.timing(STAGE_ONE).median_ms, found.timing(STAGE_TWO).median_ms
    assert found.break_even.pass_rate == (None if one >= two else pytest.approx(1 - one / two))
    assert found.rates == (RECALL, SPECIFICITY)
    assert found.savings[0].cascade_ms == pytest.approx(one + 0.235 * two)
    assert read_bench(tmp_path / "out" / BENCH_FILE) == found
    assert (tmp_path / "out" / "bench.png").stat().st_size > 10_000
    assert {p.name for p in (tmp_path / "out").iterdir()} == {BENCH_FILE, "bench.png"}


def films(folder: Path, count: int) -> Path:
    """Dark films with a bright square; by tiny_bundle all of them are suspected."""
    folder.mkdir()
    pixels = np.zeros((96, 96), np.uint8)
    pixels[16:48, 16:48] = 255
    for number in range(count):
        cv2.imwrite(str(folder / f"{number}.png"), pixels)
    return folder


def test_given_films_are_measured_on(bundle: Path, tmp_path: Path) -> None:
    images = films(tmp_path / "films", 5)
    found = run_bench(settings_for(bundle, tmp_path / "out", images=images, films=4))
    assert (found.films.n, found.films.suspected) == (4, 4)
    assert str(tmp_path) not in json.dumps(found.as_document())  # a path may name a patient


def test_a_card_without_figures_says_so(tmp_path: Path) -> None:
    folder = write_tiny_bundle(tmp_path / "tiny", figures=(RECALL,)).folder
    found = run_bench(settings_for(folder, tmp_path / "out"))
    assert found.rates == () and found.savings == ()


def test_bad_input_leaves_nothing_behind(bundle: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    images = films(tmp_path / "films", 2)
    (images / "1.png").write_bytes(b"no film")
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("")
    ct = write_tiny_ct_bundle(tmp_path / "ct").folder
    for changes, error, message in (
        ({"images": images}, UsageError, "1.png cannot be measured on"),
        ({"images": tmp_path / "empty"}, UsageError, "no file was found"),
        ({"images": tmp_path / "none"}, UsageError, "does not exist"),
        ({"bundle": str(ct)}, BundleError, "cannot be used on xray"),
        ({"bundle": "huge"}, BundleError, "neither a shipped bundle"),
        ({"out": tmp_path / "file"}, UsageError, "is a file"),
        ({"precision": "f3"}, UsageError, "precision"),
    ):
        settings = dataclasses.replace(settings_for(bundle, out), **changes)
        with pytest.raises(error, match=message):
            run_bench(settings)
        assert not out.exists(), changes


def test_the_terminal_shows_both_tables_and_the_sentence(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert bench_command(settings_for(bundle, out, prevalences=(0.05,))) == 0
    shown = " ".join(capsys.readouterr().out.split())
    for words in (
        *STEPS,
        "break-even",
        "23.5%",
        "recall 0.900 of the card: made up, test, n = 100",
    ):
        assert words in shown, words
    assert read_bench(out / BENCH_FILE).conclusion in shown
