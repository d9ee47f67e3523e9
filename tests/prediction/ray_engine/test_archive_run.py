"""The archive run with its workers in this process: order, journal, parts, URLs, refusals.

What Ray adds, processes that may die and a cluster, is in ``test_archive.py``.
"""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import archive_cascades as cascades
import pytest
from archive_runs import archive, assert_equal_results, local, parquet, records, settings_for

from film_runs import TABLES, make_inputs, rows, write_film
from pneumoseg.errors import RuntimeUnavailableError, UsageError
from pneumoseg.prediction.local import run_predict
from pneumoseg.prediction.ray import parts as archive_parts
from pneumoseg.prediction.ray import run as archive_run
from pneumoseg.prediction.ray import run_archive
from pneumoseg.prediction.ray.cluster import Workers
from pneumoseg.prediction.ray.engine import WORKER_DIED, Engine
from pneumoseg.prediction.ray.worker import FilmWorker, Outcome
from pneumoseg.prediction.read_ahead import Failure


@pytest.fixture(autouse=True)
def here(monkeypatch, tmp_path):
    """Workers in this process, blocks of five inputs; gives the log of what is predicted."""

    @contextmanager
    def connected(address, request, *, blocks):
        yield Workers(1, 1)

    def arriving(engine, entries):
        worker = FilmWorker(engine._work)
        for start in range(0, len(entries), 5):
            yield from enumerate(worker.outcomes(entries[start : start + 5]), start)

    monkeypatch.setattr(archive_run, "connected", connected)
    monkeypatch.setattr(archive_run, "require_ray", lambda: None)
    monkeypatch.setattr(Engine, "_arriving", arriving)
    log = tmp_path / "predicted"
    log.write_text("")
    monkeypatch.setenv(cascades.LOG, str(log))
    return log


@pytest.fixture
def inputs(tmp_path):
    return make_inputs(tmp_path / "in", 27)


def test_equal_results_segment_by_segment(inputs, tmp_path, monkeypatch):
    """Breaks if order, duplicates or pictures depend on where a segment or a block ends."""
    (inputs / "again").mkdir()
    write_film(inputs / "again" / "film000.png", 0)
    monkeypatch.setattr(archive_run, "SEGMENT", 7)
    seen = []
    settings = settings_for(inputs, tmp_path / "ray", overlays=True, masks=True)
    run_archive(settings, on_progress=seen.append, load=cascades.fake)
    local(inputs, tmp_path / "local", overlays=True, masks=True)
    assert_equal_results(tmp_path / "ray", tmp_path / "local")
    for name in ("overlays", "masks"):
        pictures = {path.name: path.read_bytes() for path in (tmp_path / "ray" / name).iterdir()}
        assert pictures == {p.name: p.read_bytes() for p in (tmp_path / "local" / name).iterdir()}
        assert len(pictures) == 22
    assert [progress.done for progress in seen] == list(range(1, 29))


def test_parquet_says_what_the_tables_say(inputs, tmp_path, monkeypatch):
    monkeypatch.setattr(archive_parts, "ROWS_IN_PART", 8)
    out = tmp_path / "out"
    archive(inputs, out)
    files = sorted((out / "predictions_parquet").iterdir())
    assert [file.name for file in files] == [f"part-{number:06}.parquet" for number in range(3)]
    assert [parquet.read_metadata(file).num_rows for file in files] == [8, 8, 6]
    table = parquet.read_table(out / "predictions_parquet").to_pylist()
    aggregated = [(row["ImageId"], row["EncodedPixels"]) for row in rows(out / TABLES[0])]
    assert [(row["image_id"], row["rle"]) for row in table] == aggregated
    split = rows(out / TABLES[1])
    for row in table:
        lesions = [each for each in split if each["ImageId"] == row["image_id"] and each["lesion"]]
        assert row["lesions"] == len(lesions)
        assert row["area_px"] == sum(int(each["area_px"]) for each in lesions)
        assert (row["rows"], row["cols"]) == (64, 80)
        assert json.loads(row["record"])["probability"] == row["probability"]
    assert list(archive_parts.COLUMNS) == list(table[0])
    check_that_parts_are_kept_or_made_again(inputs, out, files)


def check_that_parts_are_kept_or_made_again(inputs: Path, out: Path, parts: list[Path]) -> None:
    """A finished run is left as it is; a lost or torn part comes back, a strange one goes."""
    results = [*parts, *(out / name for name in (*TABLES, "predictions.jsonl", "run.json"))]
    before = {path: path.stat().st_mtime_ns for path in results}
    assert archive(inputs, out).nothing_to_do
    assert before == {path: path.stat().st_mtime_ns for path in results}
    whole = [path.read_bytes() for path in parts]
    for damage in (parts[1].unlink, partial(parts[1].write_bytes, whole[1][:100])):
        damage()
        (parts[0].parent / "part-000007.parquet").write_bytes(whole[0])  # of an earlier, longer run
        archive(inputs, out)
        assert [path.read_bytes() for path in sorted(parts[0].parent.iterdir())] == whole
    assert before[parts[0]] == parts[0].stat().st_mtime_ns


@pytest.mark.parametrize("first", ["local", "ray"])
def test_one_engine_goes_on_where_the_other_stopped(here, inputs, tmp_path, first):
    """Breaks if the folders of the two engines are not the same, or a finished film is redone."""

    def stop(progress):
        if progress.done == 12:
            raise KeyboardInterrupt

    out, reference = tmp_path / "out", tmp_path / "reference"
    settings = settings_for(inputs, out)
    alone = replace(settings, engine="local")
    local(inputs, reference)
    with pytest.raises(KeyboardInterrupt):
        if first == "local":
            run_predict(alone, on_progress=stop, load=cascades.fake)
        else:
            run_archive(settings, on_progress=stop, load=cascades.fake)
    assert not (out / TABLES[0]).exists()
    here.write_text("")
    if first == "local":
        run_archive(settings, load=cascades.logged)
    else:
        run_predict(alone, load=cascades.logged)
        run_archive(settings, load=cascades.logged)  # the parts that are not there yet
    assert len(here.read_text().split()) == 22 - 10  # 12 inputs, two of them no films
    assert_equal_results(out, reference)


def test_lost_blocks_are_filled_in_at_their_place(inputs, tmp_path, monkeypatch):
    """Breaks if a gap is overlooked, filled twice, or shifts what comes after it."""
    whole = Engine._arriving
    lost = {0, 1, 7, 8, 26}

    def gappy(engine, entries):
        return (each for each in whole(engine, entries) if each[0] not in lost)

    def apart(engine, entry):
        if entry.path.endswith("film007.png"):
            return Outcome(failure=Failure(WORKER_DIED, "gone"))
        return FilmWorker(engine._work).outcomes([entry])[0]

    monkeypatch.setattr(Engine, "_arriving", gappy)
    monkeypatch.setattr(Engine, "_isolated", apart)
    summary = archive(inputs, tmp_path / "out")
    local(inputs, tmp_path / "reference")
    kept = [r for r in records(tmp_path / "reference") if r["image_id"] != "film007"]
    assert records(tmp_path / "out") == kept
    assert (summary.read, summary.failed) == (21, 6)


def test_films_another_machine_does_not_see_stop_the_run(inputs, tmp_path, monkeypatch):
    """Breaks if a mount that is missing on one machine fills failures.csv."""
    nothing_there = SimpleNamespace(path=SimpleNamespace(lexists=lambda path: False))
    monkeypatch.setattr("pneumoseg.prediction.ray.worker.os", nothing_there)
    with pytest.raises(UsageError, match=r"does not see .*film004\.png; mount"):
        archive(inputs, tmp_path / "out")


def test_a_worker_with_another_operating_point_is_refused(inputs, tmp_path):
    """Breaks if results of two versions or bundles can mix."""
    made = iter([0.35, 0.9])
    load = lambda settings: cascades.FakeCascade(next(made))  # noqa: E731
    with pytest.raises(RuntimeUnavailableError, match="classifier_threshold is 0.9 here and 0.35"):
        archive(inputs, tmp_path / "out", load)


def test_a_broken_runtime_stops_the_run(inputs, tmp_path):
    with pytest.raises(RuntimeUnavailableError, match="RuntimeError: the device is gone"):
        archive(inputs, tmp_path / "out", cascades.broken_runtime)
    assert not (tmp_path / "out" / TABLES[0]).exists()


def test_a_slip_of_ours_stops_the_run(inputs, tmp_path):
    """Breaks if a fault in our own code ends one worker an input, eight times, and is not named."""
    with pytest.raises(RuntimeUnavailableError, match="TypeError: no such argument"):
        archive(inputs, tmp_path / "out", cascades.slipping)


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass


def test_urls_are_read_as_files_are(tmp_path):
    """Breaks if a film by URL differs from the same film by path, or a dead link ends the run."""
    inputs = make_inputs(tmp_path / "in %41 ü", 6)
    handler = partial(Quiet, directory=inputs)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            base = f"http://127.0.0.1:{server.server_port}"
            paths = tuple(Path(f"{base}/{name}") for name in ("film001.png", "film009.png"))
            folder = Path(inputs.as_uri())
            settings = replace(
                settings_for(inputs, tmp_path / "out"), paths=(*paths, folder, inputs)
            )
            summary = run_archive(settings, load=cascades.fake)
            again = run_archive(settings, load=cascades.fake)
        finally:
            server.shutdown()
    local(inputs, tmp_path / "reference")
    expected = {record["image_id"]: record for record in records(tmp_path / "reference")}
    for record in records(tmp_path / "out"):
        assert record == expected[record["image_id"]] | {"path": record["path"]}
    assert (summary.read, summary.failed) == (5, 9)
    codes = [(row["path"], row["code"]) for row in rows(tmp_path / "out" / "failures.csv")]
    assert [code for _, code in codes] == ["document", "duplicate-id", "unreadable"] + [
        *["duplicate-id"] * 4,
        "document",
        "duplicate-id",
    ]
    assert codes[1][0] == f"{base}/film001.png"
    assert codes[3][0] == f"{inputs.as_uri()}/film000.png"
    assert again.nothing_to_do


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("ftp://host/film.dcm", "ftp is no scheme"),
        ("s3://key:secret@bucket/films", "credentials"),
        ("file:///nothing/here", "does not exist"),
        ("nothing/here", "does not exist"),
    ],
)
def test_inputs_that_cannot_be_are_refused(tmp_path, path, said):
    settings = replace(settings_for(tmp_path, tmp_path / "out"), paths=(Path(path),))
    with pytest.raises(UsageError, match=said) as error:
        run_archive(settings, load=cascades.fake)
    assert "secret" not in str(error.value)


def test_ct_is_refused(tmp_path):
    settings = replace(settings_for(tmp_path, tmp_path / "out"), modality="ct")
    write_film(tmp_path / "film.png", 0)
    with pytest.raises(UsageError, match="for X-rays"):
        run_archive(settings, load=cascades.fake)
