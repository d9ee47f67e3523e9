"""What needs no Ray: how processors are shared out, and the word for what is not installed."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from pneumoseg.errors import RuntimeUnavailableError, UsageError
from pneumoseg.prediction.ray import cluster, run_archive
from pneumoseg.prediction.settings import PredictSettings


@pytest.mark.parametrize("missing", ["ray", "pyarrow"])
def test_a_missing_extra_is_named(tmp_path, monkeypatch, missing):
    monkeypatch.setattr(cluster, "find_spec", lambda name: None if name == missing else sys)
    with pytest.raises(RuntimeUnavailableError, match=rf"needs {missing}.*'pneumoseg\[ray\]'"):
        run_archive(PredictSettings(paths=(Path(__file__),), out=tmp_path / "out"))
    assert not (tmp_path / "out").exists()


TEN_OF_16 = [cluster.Machine(16)] * 10


@pytest.mark.parametrize(
    ("machines", "wanted", "blocks", "expected"),
    [
        ([cluster.Machine(2)], cluster.Request(2), 99, (2, 1)),
        ([cluster.Machine(2)], cluster.Request(), 99, (1, 2)),
        ([cluster.Machine(16)], cluster.Request(), 99, (4, 4)),
        ([cluster.Machine(16)], cluster.Request(), 3, (3, 4)),
        (TEN_OF_16, cluster.Request(threads=8), 999, (20, 8)),
        (TEN_OF_16, cluster.Request(threads=10), 999, (10, 10)),
        ([cluster.Machine(2)] * 10, cluster.Request(), 99, (10, 2)),
        ([cluster.Machine(6), cluster.Machine(3)], cluster.Request(threads=2), 99, (4, 2)),
        ([cluster.Machine(16, 2)], cluster.Request(gpus=1), 99, (2, 4)),
        ([cluster.Machine(16, 2)], cluster.Request(gpus=0.5), 99, (4, 4)),
        ([cluster.Machine(16, 2), cluster.Machine(16)], cluster.Request(gpus=0.3), 99, (4, 4)),
    ],
)
def test_a_cluster_is_shared_out(machines, wanted, blocks, expected):
    workers = cluster.plan_workers(machines, wanted, blocks=blocks)
    assert (workers.count, workers.threads, workers.gpus) == (*expected, wanted.gpus)


@pytest.mark.parametrize(
    ("machines", "wanted", "said"),
    [
        (
            [cluster.Machine(2)],
            cluster.Request(3),
            "2 processors.*too few for 3 workers of 1",
        ),
        ([cluster.Machine(2)] * 4, cluster.Request(threads=3), "the largest machine 2"),
        ([cluster.Machine(8)], cluster.Request(gpus=1), "0 GPUs.*too few"),
        ([], cluster.Request(), "0 processors"),
    ],
)
def test_a_cluster_that_is_too_small_is_refused(machines, wanted, said):
    with pytest.raises(UsageError, match=said):
        cluster.plan_workers(machines, wanted, blocks=99)


@pytest.mark.parametrize(("workers", "gpus"), [(0, 0), (1, -1), (1, 1.5), (1, float("nan"))])
def test_shares_that_cannot_be_are_refused(workers, gpus):
    with pytest.raises(UsageError):
        cluster.Request(workers, gpus=gpus)
