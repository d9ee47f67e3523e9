"""The archive run on Ray: equal results with two workers, kills, deaths of workers, clusters.

One small cluster serves all tests but those about starting and killing one.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from film_runs import TABLES, make_inputs, rows, write_film
from tiny_bundle import write_tiny_bundle

HERE = Path(__file__).parent
os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"  # before ray is imported: loopback alone
pytest.importorskip("ray", reason="the archive engine needs the extra ray")

import archive_cascades as cascades  # noqa: E402
from archive_runs import archive, assert_equal_results, local, records, settings_for  # noqa: E402

from pneumoseg.errors import RuntimeUnavailableError, UsageError  # noqa: E402
from pneumoseg.prediction.ray import cluster, run_archive  # noqa: E402
from pneumoseg.prediction.ray import engine as archive_engine  # noqa: E402
from pneumoseg.prediction.ray import run as archive_run  # noqa: E402

# Ray's own: what it will change in later versions, and sockets it leaves to the collector.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(scope="module")
def two_workers(tmp_path_factory):
    """A cluster that the runs find connected and leave as it is."""
    log = tmp_path_factory.mktemp("log") / "predicted"
    log.write_text("")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(cascades.LOG, str(log))
        patch.setenv("PYTHONPATH", f"{HERE}:{HERE.parents[1]}")  # workers import the cascades
        with cluster.connected(None, cluster.Request(2, 1), blocks=2):
            yield log


@pytest.fixture
def inputs(tmp_path):
    return make_inputs(tmp_path / "in", 27)


def test_a_bundle_gives_what_the_local_engine_gives(two_workers, tmp_path, monkeypatch):
    """Breaks if order, records, tables or pictures depend on the engine or on the segments."""
    bundle = write_tiny_bundle(tmp_path / "bundle")
    inputs = make_inputs(tmp_path / "in", 27)
    (inputs / "again").mkdir()
    write_film(inputs / "again" / "film000.png", 0)
    monkeypatch.setattr(archive_run, "SEGMENT", 20)
    options = {"bundle": str(bundle.folder), "overlays": True, "masks": True, "modality": "auto"}
    expected = local(inputs, tmp_path / "local", None, **options)
    seen = []
    summary = run_archive(
        settings_for(inputs, tmp_path / "ray", workers=2, **options), on_progress=seen.append
    )
    assert_equal_results(tmp_path / "ray", tmp_path / "local")
    for name in ("overlays", "masks"):
        pictures = {path.name: path.read_bytes() for path in (tmp_path / "ray" / name).iterdir()}
        assert pictures == {p.name: p.read_bytes() for p in (tmp_path / "local" / name).iterdir()}
        assert len(pictures) == 22
    assert (summary.read, summary.failed, summary.suspected, summary.with_lesion) == (
        expected.read,
        expected.failed,
        expected.suspected,
        expected.with_lesion,
    )
    assert [progress.done for progress in seen] == list(range(1, 29))
    codes = {Path(row["path"]).name: row["code"] for row in rows(tmp_path / "ray/failures.csv")}
    assert codes["film000.png"] == "duplicate-id"
    assert codes["film004.png"] == "document"


def test_films_that_end_their_worker_cost_a_line_each(two_workers, inputs, tmp_path):
    """Breaks if a crash in a decoder ends the run, loses other films, or comes to no one's eyes."""
    local(inputs, tmp_path / "reference")
    summary = archive(inputs, tmp_path / "out", cascades.deadly)
    assert (summary.read, summary.failed) == (20, 7)
    failed = {Path(row["path"]).stem: row["code"] for row in rows(tmp_path / "out/failures.csv")}
    assert {name for name, code in failed.items() if code == archive_engine.WORKER_DIED} == {
        "film006",
        "film021",
    }
    expected = [r for r in records(tmp_path / "reference") if r["image_id"] not in failed]
    assert records(tmp_path / "out") == expected


def test_workers_that_die_of_every_film_stop_the_run(two_workers, inputs, tmp_path, monkeypatch):
    """Breaks if a broken machine marks an archive as unreadable."""
    monkeypatch.setattr(archive_engine, "MOST_DEATHS_IN_A_ROW", 2)
    write = [inputs / f"film{number:03}.png" for number in range(3)]
    settings = replace(settings_for(inputs, tmp_path / "out"), paths=tuple(write))
    with pytest.raises(RuntimeUnavailableError, match="2 inputs in a row ended their worker"):
        run_archive(replace(settings, workers=1), load=cascades.always_deadly)
    assert not (tmp_path / "out" / TABLES[0]).exists()


def test_workers_that_cannot_start_are_said(two_workers, inputs, tmp_path, monkeypatch):
    (tmp_path / "no_such_module.py").write_text("def load(settings): ...")
    monkeypatch.syspath_prepend(tmp_path)
    load = importlib.import_module("no_such_module").load
    monkeypatch.setattr(archive_run, "signature", lambda *a, **k: {})
    with pytest.raises(RuntimeUnavailableError, match="no_such_module"):
        archive(inputs, tmp_path / "out", load)


CHILD = """
from pathlib import Path
import archive_cascades
from archive_runs import archive
archive(Path({inputs!r}), Path({out!r}), archive_cascades.slow)
"""


def test_a_run_killed_in_the_middle_ends_as_if_it_never_was(tmp_path, monkeypatch):
    """Breaks if a kill -9 loses an input, does a finished one twice, or leaves Ray behind."""
    inputs, out, log = make_inputs(tmp_path / "in", 60), tmp_path / "out", tmp_path / "log"
    local(inputs, tmp_path / "reference")
    code = CHILD.format(inputs=str(inputs), out=str(out))
    environment = os.environ | {cascades.LOG: str(log), "PYTHONPATH": f"{HERE}:{HERE.parents[1]}"}
    command = [sys.executable, "-W", "ignore", "-c", code]
    log.write_text("")
    with (tmp_path / "err").open("w") as err:
        child = subprocess.Popen(command, env=environment, stderr=err)
        journal, deadline = out / "predictions.jsonl", time.monotonic() + 150
        while time.monotonic() < deadline and child.poll() is None:
            if journal.exists() and journal.read_bytes().count(b"\n") >= 8:
                break
            time.sleep(0.01)
        child.send_signal(signal.SIGKILL)
        assert child.wait() == -signal.SIGKILL, (tmp_path / "err").read_text()
    lines = journal.read_bytes().split(b"\n")[:-1]
    finished = {json.loads(line)["image_id"] for line in lines}
    assert 8 <= len(finished) < 48
    assert not (out / TABLES[0]).exists()
    log.write_text("")
    subprocess.run(command, env=environment, check=True, timeout=150)
    assert finished.isdisjoint(log.read_text().split())
    assert_equal_results(out, tmp_path / "reference")


def test_a_cluster_of_ones_own_listens_on_loopback_alone_and_ends(tmp_path):
    """Breaks if films' names are served to the network, or processes stay when a run is over."""
    code = """
import psutil
from pneumoseg.prediction.ray import cluster
with cluster.connected(None, cluster.Request(1, 1), blocks=1) as workers:
    family = psutil.Process().children(recursive=True)
    found = [c for p in family for c in p.net_connections("inet") if c.status == "LISTEN"]
    addresses = {c.laddr.ip.removeprefix("::ffff:") for c in found}
    print(workers.count, len(found), addresses <= {"127.0.0.1", "::1"})
print(len(psutil.wait_procs(family, timeout=10)[1]))
"""
    command = [sys.executable, "-W", "ignore", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    workers, listening, loopback, left = done.stdout.split()
    assert (workers, loopback, left) == ("1", "True", "0")
    assert int(listening) > 0


@pytest.mark.parametrize("mute", [False, True])
def test_an_address_that_does_not_answer_is_said_in_seconds(monkeypatch, mute):
    """Breaks if the user waits the two minutes that Ray itself takes."""
    monkeypatch.setattr(cluster, "ANSWER_SECONDS", 0.3)
    monkeypatch.setattr("ray.is_initialized", lambda: False)
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        if mute:
            server.listen()
        address = f"127.0.0.1:{server.getsockname()[1]}"
        started = time.monotonic()
        with (
            pytest.raises(UsageError, match=f"no Ray cluster answers at {address}"),
            cluster.connected(address, cluster.Request(), blocks=1),
        ):
            pass
    assert time.monotonic() - started < 5


@pytest.mark.parametrize("address", ["head", "ray://head:10001", "head:"])
def test_an_address_that_is_none_is_refused(monkeypatch, address):
    monkeypatch.setattr("ray.is_initialized", lambda: False)
    with (
        pytest.raises(UsageError, match="give HOST:PORT"),
        cluster.connected(address, cluster.Request(), blocks=1),
    ):
        pass


def test_too_many_workers_for_a_cluster_are_refused(two_workers, inputs, tmp_path):
    with pytest.raises(UsageError, match="too few for 2 workers of 64 threads"):
        archive(inputs, tmp_path / "out", threads=64)
