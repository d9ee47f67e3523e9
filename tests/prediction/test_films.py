"""The run over many files: order, memory, what a kill leaves behind, and refusals.

A small fake stands in for the cascade, see ``film_runs.py``.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
import weakref
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from film_runs import TABLES, FakeCascade, make_inputs, predict, rows, write_film
from pneumoseg import rle
from pneumoseg.errors import InputError, UsageError
from pneumoseg.prediction import read_ahead
from pneumoseg.prediction.local import PredictSettings, run_predict
from pneumoseg.storage.files import locked


def content(out: Path) -> dict[str, str]:
    """What must be equal however often a run was killed."""
    names = (*TABLES, "predictions.jsonl", "failures.csv")
    return {name: (out / name).read_text() for name in names}


@pytest.fixture
def inputs(tmp_path: Path) -> Path:
    return make_inputs(tmp_path / "in", 23)


def test_every_input_has_its_line_in_input_order(inputs, tmp_path):
    """Breaks if an input is lost, done twice, or results come in the order the threads ended."""
    out, seen = tmp_path / "out", []
    summary = predict(inputs, out, on_progress=seen.append)
    names = [path.name for path in sorted(inputs.iterdir())]
    good = [name for number, name in enumerate(names) if number % 5 != 4]
    bad = [name for number, name in enumerate(names) if number % 5 == 4]
    records = [json.loads(line) for line in (out / "predictions.jsonl").read_text().splitlines()]
    assert [Path(record["path"]).name for record in records] == good
    assert [row["ImageId"] for row in rows(out / TABLES[0])] == [Path(n).stem for n in good]
    failures = rows(out / "failures.csv")
    assert [Path(row["path"]).name for row in failures] == bad
    assert all(row["code"] and row["message"] for row in failures)
    suspected = sum(int(Path(name).stem[-3:]) % 3 == 0 for name in good)
    assert (summary.read, summary.failed, summary.suspected) == (19, 4, suspected)
    assert summary.with_lesion == suspected
    assert summary.exit_code == 1
    assert [progress.done for progress in seen] == list(range(1, 24))
    assert [Path(progress.path).name for progress in seen] == names
    assert {progress.total for progress in seen} == {23}


def test_masks_decode_and_split_rows_unite(inputs, tmp_path):
    out = tmp_path / "out"
    predict(inputs, out)
    split = rows(out / TABLES[1])
    for row in rows(out / TABLES[0]):
        texts = [part["EncodedPixels"] for part in split if part["ImageId"] == row["ImageId"]]
        mask = rle.decode(row["EncodedPixels"], (64, 80))
        assert np.array_equal(rle.decode_union(texts, (64, 80)), mask)
        number = int(row["ImageId"][-3:])
        assert mask.sum() == (10 * (8 + number % 40) if number % 3 == 0 else 0)


def test_all_read_is_exit_code_0(tmp_path):
    write_film(tmp_path / "one.png", 0)
    assert predict(tmp_path / "one.png", tmp_path / "out").exit_code == 0
    assert (tmp_path / "out" / "failures.csv").read_text() == "path,code,message\n"


def test_pictures_are_written_for_each_film(inputs, tmp_path):
    out = tmp_path / "out"
    predict(inputs, out, overlays=True, masks=True)
    good = {f"film{number:03}.png" for number in range(23) if number % 5 != 4}
    assert {path.name for path in (out / "overlays").iterdir()} == good
    assert {path.name for path in (out / "masks").iterdir()} == good
    mask = cv2.imread(str(out / "masks" / "film003.png"), cv2.IMREAD_UNCHANGED)
    assert mask.shape == (64, 80)
    assert (mask == 255).sum() == 110


def test_a_finished_run_does_nothing_when_called_again(inputs, tmp_path):
    """Breaks if finished work is done twice."""
    out = tmp_path / "out"
    first = predict(inputs, out)
    before = {path: path.stat().st_mtime_ns for path in map(out.joinpath, content(out))}
    cascade = FakeCascade()
    again = predict(inputs, out, cascade=cascade)
    assert cascade.predicted == []
    assert again.nothing_to_do
    assert not first.nothing_to_do
    assert (again.read, again.failed, again.exit_code) == (first.read, first.failed, 1)
    assert before == {path: path.stat().st_mtime_ns for path in before}


def test_new_files_of_a_grown_folder_are_done_after_the_finished_ones(inputs, tmp_path):
    out = tmp_path / "out"
    predict(inputs, out)
    finished = content(out)["predictions.jsonl"]
    write_film(inputs / "aaa.png", 1)
    cascade = FakeCascade()
    summary = predict(inputs, out, cascade=cascade)
    assert cascade.predicted == ["aaa"]
    assert (summary.read, summary.done_before) == (20, 23)
    assert content(out)["predictions.jsonl"].startswith(finished)
    assert rows(out / TABLES[0])[-1] == {"ImageId": "aaa", "EncodedPixels": "-1"}


CHILD = """
import sys, time
sys.path.insert(0, {tests!r})
from pathlib import Path
from film_runs import FakeCascade, predict

class Slow(FakeCascade):
    def detect(self, grids):
        time.sleep(0.25)  # the kill comes up to 0.1 s late
        return super().detect(grids)

    def conclude(self, film, *more, **named):
        with open({log!r}, "a") as log:
            log.write(film.source.image_id + "\\n")
        return super().conclude(film, *more, **named)

predict(Path({inputs!r}), Path({out!r}), cascade=Slow(), masks=True)
"""


def test_a_run_killed_again_and_again_ends_as_if_it_never_was(tmp_path):
    """Breaks if a kill -9 loses an input, does a finished one twice, or leaves half a line."""
    inputs, out, log = make_inputs(tmp_path / "in", 60), tmp_path / "out", tmp_path / "log"
    predict(inputs, tmp_path / "reference", masks=True)
    code = CHILD.format(
        tests=str(Path(__file__).parents[1]), log=str(log), inputs=str(inputs), out=str(out)
    )
    journal, chance = out / "predictions.jsonl", random.Random(7)
    for kill in range(3):
        finished = set() if kill == 0 else {r["image_id"] for r in _whole_records(journal)}
        log.write_text("")
        child = subprocess.Popen([sys.executable, "-W", "ignore", "-c", code])
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and child.poll() is None:
            if journal.exists() and len(_whole_records(journal)) >= 4 + 12 * kill:
                break
            time.sleep(0.002)
        time.sleep(chance.uniform(0.0, 0.1))
        child.send_signal(signal.SIGKILL)
        assert child.wait() == -signal.SIGKILL
        assert finished.isdisjoint(log.read_text().split())
        assert not (out / TABLES[0]).exists()  # a table that is there is complete
    finished = {record["image_id"] for record in _whole_records(journal)}
    assert 4 <= len(finished) < 48
    cascade = FakeCascade()
    predict(inputs, out, cascade=cascade, masks=True)
    assert finished.isdisjoint(cascade.predicted)
    assert content(out) == content(tmp_path / "reference")
    assert len(list((out / "masks").iterdir())) == 48


def _whole_records(journal: Path) -> list[dict[str, object]]:
    return [json.loads(x) for x in journal.read_bytes().split(b"\n")[:-1]]


def test_any_cut_of_the_journal_is_recovered(inputs, tmp_path):
    """Breaks if some byte position of a kill, torn header and torn last line included, is fatal."""
    out = tmp_path / "out"
    predict(inputs, out)
    whole = content(out)
    findings, failures = (whole[name].encode() for name in ("predictions.jsonl", "failures.csv"))
    # How the two files grew, one write after the other.
    steps, lines, bad = [], findings.splitlines(True), failures.splitlines(True)
    written = [b"", b""]
    for number in range(-1, 23):
        which = 1 if number == -1 or number % 5 == 4 else 0
        line = (bad if which else lines).pop(0)
        for cut in {0, 1, len(line) // 2, len(line) - 1}:
            torn = list(written)
            torn[which] += line[:cut]
            steps.append(tuple(torn))
        written[which] += line
    for cut_findings, cut_failures in random.Random(3).sample(steps, 25) + steps[:4]:
        (out / "predictions.jsonl").write_bytes(cut_findings)
        (out / "failures.csv").write_bytes(cut_failures)
        for name in TABLES:
            (out / name).unlink()
        cascade = FakeCascade()
        predict(inputs, out, cascade=cascade)
        assert content(out) == whole
        assert len(cascade.predicted) == 19 - cut_findings.count(b"\n")


def test_a_power_cut_that_keeps_only_one_file_is_recovered(inputs, tmp_path):
    """Breaks if lines beyond the prefix (the last batch) confuse the order."""
    out = tmp_path / "out"
    predict(inputs, out)
    whole = content(out)
    failures = whole["failures.csv"].splitlines(True)
    (out / "failures.csv").write_text("".join(failures[:-1]))  # film019 is gone, film020-022 there
    (out / "predictions.jsonl").write_bytes(whole["predictions.jsonl"].encode() + b"\0" * 50)
    predict(inputs, out)
    assert content(out) == whole


def test_an_edited_journal_is_refused_not_cut(inputs, tmp_path):
    """Breaks if results that somebody edited are silently thrown away."""
    out = tmp_path / "out"
    predict(inputs, out)
    lines = (out / "predictions.jsonl").read_text().splitlines(True)
    (out / "predictions.jsonl").write_text("".join(lines[1:]))
    with pytest.raises(UsageError, match="do not follow"):
        predict(inputs, out)
    assert (out / "predictions.jsonl").read_text() == "".join(lines[1:])


@pytest.mark.parametrize(
    ("options", "named"),
    [({"overlays": True}, "overlays"), ({"precision": "bf16"}, "precision")],
)
def test_another_call_is_refused(inputs, tmp_path, options, named):
    predict(inputs, tmp_path / "out")
    with pytest.raises(UsageError, match=f"{named}.*--overwrite"):
        predict(inputs, tmp_path / "out", **options)


def test_another_threshold_is_refused_and_overwrite_starts_anew(inputs, tmp_path):
    """Breaks if findings at two thresholds can mix in one table."""
    out = tmp_path / "out"
    predict(inputs, out, masks=True)
    (out / "masks" / "mine.png").write_text("not the run's")
    with pytest.raises(UsageError, match="classifier_threshold 0.35, this call has 0.9"):
        predict(inputs, out, cascade=FakeCascade(0.9))
    summary = predict(inputs, out, cascade=FakeCascade(0.9), overwrite=True)
    assert (summary.done_before, summary.suspected) == (0, 0)
    assert [path.name for path in (out / "masks").iterdir()] == ["mine.png"]


def test_a_changed_input_is_refused(inputs, tmp_path):
    predict(inputs, tmp_path / "out")
    write_film(inputs / "film001.png", 3)
    with pytest.raises(UsageError, match=r"film001\.png has changed"):
        predict(inputs, tmp_path / "out")


def test_two_files_of_one_id_never_collapse(tmp_path):
    """Breaks if the second of two films of one name silently replaces or joins the first."""
    for name in ("a", "b"):
        (tmp_path / "in" / name).mkdir(parents=True)
        write_film(tmp_path / "in" / name / "film.png", 0)
    summary = predict(tmp_path / "in", tmp_path / "out")
    assert (summary.read, summary.failed) == (1, 1)
    (failure,) = rows(tmp_path / "out" / "failures.csv")
    assert failure["code"] == "duplicate-id"
    assert Path(failure["path"]).parent.name == "b"


def test_two_runs_into_one_folder_are_refused(inputs, tmp_path):
    (tmp_path / "out").mkdir()
    with locked(tmp_path / "out"), pytest.raises(UsageError, match="another run"):
        predict(inputs, tmp_path / "out")
    predict(inputs, tmp_path / "out")


@pytest.mark.parametrize("error", [MemoryError(), cv2.error("bad size"), InputError("no")])
@pytest.mark.parametrize("step", ["prepare", "detect", "segment", "conclude"])
def test_one_film_that_cannot_be_processed_loses_no_other(inputs, tmp_path, step, error):
    """Breaks if a step that fails for one film of a batch takes the others with it."""
    bright = 8 + 6  # rows of film006, as no other suspected film has them

    def is_the_one(thing):
        if isinstance(thing, np.ndarray):
            return (thing[:, 10] > 200).sum() == bright
        return thing.source.image_id == "film006"

    class Fragile(FakeCascade):
        pass

    def fragile(self, first, *more, **named):
        things = first if isinstance(first, list) else [first]
        if any(is_the_one(thing) for thing in things):
            raise error
        return getattr(FakeCascade, step)(self, first, *more, **named)

    setattr(Fragile, step, fragile)
    summary = predict(inputs, tmp_path / "out", cascade=Fragile())
    assert (summary.read, summary.failed) == (18, 5)
    failed = {Path(row["path"]).stem: row["code"] for row in rows(tmp_path / "out/failures.csv")}
    assert failed["film006"] in ("out-of-memory", "processing-failed", "unusable-input")


def test_an_unforeseen_error_of_a_reader_loses_no_other(inputs, tmp_path, monkeypatch):
    original = read_ahead.read

    def fragile(path):
        if path.stem == "film007":
            raise IndexError("list index out of range")
        return original(path)

    monkeypatch.setattr(read_ahead, "read", fragile)
    summary = predict(inputs, tmp_path / "out")
    assert (summary.read, summary.failed) == (18, 5)


@pytest.mark.parametrize("slip", [TypeError("no such argument"), AttributeError("no such name")])
@pytest.mark.parametrize("step", ["read", "prepare", "detect", "segment", "conclude"])
def test_a_slip_of_ours_stops_the_run(inputs, tmp_path, monkeypatch, step, slip):
    """Breaks if a fault in our own code becomes ten thousand rows of failures.csv."""

    def slipping(*_, **__):
        raise slip

    cascade = FakeCascade()
    if step == "read":
        monkeypatch.setattr(read_ahead, "read", slipping)
    else:
        monkeypatch.setattr(cascade, step, slipping)
    with pytest.raises(type(slip), match="no such"):
        predict(inputs, tmp_path / "out", cascade=cascade)
    assert not (tmp_path / "out" / TABLES[0]).exists()
    monkeypatch.undo()
    summary = predict(inputs, tmp_path / "out")
    assert (summary.read, summary.failed) == (19, 4)


def test_a_damaged_record_is_refused_not_cut(inputs, tmp_path):
    """Breaks if a line that somebody edited is thrown away with all that come after it."""
    out = tmp_path / "out"
    predict(inputs, out)
    edited = (out / "predictions.jsonl").read_text().replace('"positive":true', '"positive":1')
    (out / "predictions.jsonl").write_text(edited)
    with pytest.raises(UsageError, match=r"predictions\.jsonl, line 1: field 'positive' must be"):
        predict(inputs, out)
    assert (out / "predictions.jsonl").read_text() == edited


def test_a_broken_runtime_stops_the_run_and_a_later_call_goes_on(inputs, tmp_path):
    """Breaks if a broken runtime marks thousands of good films as failed, or loses the others."""

    class Broken(FakeCascade):
        batches = 0

        def detect(self, grids):
            self.batches += 1
            if self.batches > 4:
                raise RuntimeError("device lost")
            return super().detect(grids)

    with pytest.raises(RuntimeError, match="device lost"):
        predict(inputs, tmp_path / "out", cascade=Broken())
    summary = predict(inputs, tmp_path / "out")
    assert 0 < summary.done_before < 23
    assert (summary.read, summary.failed) == (19, 4)


@pytest.mark.parametrize(("overlays", "most_images"), [(False, 8 + 2), (True, 4 * (2 + 2 + 1) + 2)])
def test_memory_does_not_grow_with_the_number_of_films(
    tmp_path, monkeypatch, overlays, most_images
):
    """Breaks if films, findings or futures pile up.

    Without pictures a film's pixels live in the reading threads alone (8 at most, and the two that
    are being handed over); with them, in the batches that are read, at the networks and unfinished.
    """
    inputs = make_inputs(tmp_path / "in", 200)
    alive = {name: weakref.WeakSet() for name in ("images", "films", "findings")}
    most = dict.fromkeys(alive, 0)
    original = read_ahead.read

    def counted(path):
        image = original(path)
        alive["images"].add(image)
        return image

    class Counting(FakeCascade):
        def prepare(self, image):
            film = super().prepare(image)
            alive["films"].add(film)
            return film

        def conclude(self, *more, **named):
            finding = super().conclude(*more, **named)
            alive["findings"].add(finding)
            return finding

    def look(_):
        for name, living in alive.items():
            most[name] = max(most[name], len(living))

    monkeypatch.setattr(read_ahead, "read", counted)
    predict(inputs, tmp_path / "out", cascade=Counting(), on_progress=look, overlays=overlays)
    assert most["images"] <= most_images
    assert most["films"] <= 4 * (2 + 2 + 8) + 2  # read, at the networks, under way
    assert most["findings"] <= 2
    assert len(alive["images"]) == 0


def test_results_inside_the_input_folder_are_not_inputs(tmp_path):
    """Breaks if a resumed run takes its own overlays and masks for films."""
    inputs = make_inputs(tmp_path / "in", 6)
    first = predict(inputs, inputs / "out", masks=True)
    again = predict(inputs, inputs / "out", masks=True)
    assert (first.total, again.total, again.nothing_to_do) == (6, 6, True)


def test_wrong_calls_create_nothing(tmp_path):
    (tmp_path / "empty").mkdir()
    film, out = tmp_path / "film.png", tmp_path / "out"
    write_film(film, 0)
    with pytest.raises(UsageError, match="no file was found"):
        predict(tmp_path / "empty", out)
    with pytest.raises(UsageError, match="missing"):
        predict(tmp_path / "missing", out)
    with pytest.raises(UsageError, match="is a file"):
        predict(film, film)
    with pytest.raises(UsageError, match="input folder itself"):
        predict(tmp_path, tmp_path)
    with pytest.raises(UsageError, match="batch_size"):
        predict(film, out, batch_size=0)
    with pytest.raises(UsageError, match="--engine ray"):
        predict(film, out, workers=2)
    with pytest.raises(UsageError, match="unknown runtime 'magic'"):
        predict(film, out, runtime="magic")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "film.png"]


def test_a_folder_with_foreign_results_is_not_taken_over(inputs, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "predictions.jsonl").write_text("mine\n")
    with pytest.raises(UsageError, match=r"no run\.json"):
        predict(inputs, tmp_path / "out")
    assert (tmp_path / "out" / "predictions.jsonl").read_text() == "mine\n"


def test_a_full_disk_is_one_sentence_and_the_run_goes_on_later(inputs, tmp_path):
    """Breaks if a line that did not fit is taken for a finished input."""
    out = tmp_path / "out"
    code = (
        "import resource, sys; from pathlib import Path\n"
        f"sys.path.insert(0, {str(Path(__file__).parents[1])!r})\n"
        "from film_runs import predict\n"
        "from pneumoseg.errors import UsageError\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (8000, 8000))\n"
        f"try: predict(Path({str(inputs)!r}), Path({str(out)!r}))\n"
        "except UsageError as error: sys.exit(f'usage: {error}')\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-B", "-c", code],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "usage: cannot write to" in done.stderr
    assert (out / "predictions.jsonl").stat().st_size == 8000
    predict(inputs, tmp_path / "reference")
    predict(inputs, out)
    assert content(out) == content(tmp_path / "reference")


@pytest.mark.skipif(os.name != "posix", reason="bytes in file names")
def test_a_name_that_is_not_utf8_is_done_and_resumed(tmp_path):
    """Breaks if a name from an old system stops the run or is done again and again."""
    inputs = make_inputs(tmp_path / "in", 3)
    (inputs / "film001.png").rename(inputs / os.fsdecode(b"f\xff\n.png"))
    (inputs / "film002.png").write_bytes(b"")
    first = predict(inputs, tmp_path / "out")
    again = predict(inputs, tmp_path / "out")
    assert (first.read, first.failed) == (2, 1)
    assert again.nothing_to_do
    ids = [row["ImageId"] for row in rows(tmp_path / "out" / TABLES[0])]
    assert sorted(ids) == ["f\\udcff\\n", "film000"]


def test_a_run_from_before_an_option_is_resumed(inputs, tmp_path):
    """Earlier versions knew no mirror: their runs were made without, and go on so."""
    out = tmp_path / "out"
    settings = PredictSettings(paths=(inputs,), out=out, modality="xray")
    run_predict(settings, load=lambda _: FakeCascade())
    document = json.loads((out / "run.json").read_text())
    del document["call"]["mirror"]
    (out / "run.json").write_text(json.dumps(document))
    assert run_predict(settings, load=lambda _: FakeCascade()).nothing_to_do
    mirrored = FakeCascade()
    mirrored.config = replace(mirrored.config, mirror=True)
    with pytest.raises(UsageError, match="mirror False, this call has True"):
        run_predict(settings, load=lambda _: mirrored)


def test_a_smaller_batch_may_resume(inputs, tmp_path):
    """Breaks if a run that ran out of memory cannot be finished with a smaller batch."""
    out = tmp_path / "out"
    settings = PredictSettings(paths=(inputs,), out=out, batch_size=8, modality="xray")

    def stop(progress):
        if progress.done == 10:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_predict(settings, load=lambda _: FakeCascade(), on_progress=stop)
    summary = run_predict(replace(settings, batch_size=1), load=lambda _: FakeCascade())
    assert (summary.done_before, summary.total) == (10, 23)


def test_another_engine_is_refused_not_taken_for_the_local_one(inputs, tmp_path):
    with pytest.raises(UsageError, match="this call asks for ray"):
        predict(inputs, tmp_path / "out", engine="ray")
    assert not (tmp_path / "out").exists()
