"""OpenVINO with several films at the same time, and the devices it finds."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hand_network import batch_of, require, write_model

from pneumoseg.bundle import load_bundle
from pneumoseg.errors import RuntimeUnavailableError
from pneumoseg.runtime import load_network
from pneumoseg.runtime.openvino import OpenVinoNetwork

require("openvino")

two_cores = pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="a stream needs a core of its own")


def load(path: Path, **options: Any) -> OpenVinoNetwork:
    network = load_network(path, **options)
    assert isinstance(network, OpenVinoNetwork)
    return network


class Meeting:
    """A request that computes only while another is being computed."""

    def __init__(self, request: Any, others: threading.Barrier) -> None:
        self._request, self._others = request, others

    def infer(self, *args: Any, **options: Any) -> None:
        self._others.wait()
        self._request.infer(*args, **options)

    def get_output_tensor(self, index: int) -> Any:
        return self._request.get_output_tensor(index)


def met(network: OpenVinoNetwork, *, wait_seconds: float) -> bool:
    """Whether two calls from two threads compute at the same time."""
    others = threading.Barrier(2, timeout=wait_seconds)
    for request in [network._idle.get() for _ in range(network.streams)]:
        network._idle.put(Meeting(request, others))
    with ThreadPoolExecutor(2) as callers:
        calls = [callers.submit(network.run, batch_of(1)) for _ in range(2)]
        failures = [call.exception() for call in calls]
    assert all(isinstance(failure, threading.BrokenBarrierError | None) for failure in failures)
    return failures == [None, None]


@two_cores
def test_two_streams_compute_at_the_same_time(tmp_path: Path) -> None:
    path = write_model(tmp_path / "net.onnx", average=False)
    assert met(load(path, threads=2, streams=2), wait_seconds=20)


def test_calls_of_one_stream_take_turns(tmp_path: Path) -> None:
    path = write_model(tmp_path / "net.onnx", average=False)
    network = load(path, threads=2, streams=1)
    assert network.streams == 1
    assert not met(network, wait_seconds=0.3)


@two_cores
def test_a_batch_is_dealt_out_film_by_film(tmp_path: Path) -> None:
    """Two films of one call meet at a barrier: both are in work at the same time."""
    path = write_model(tmp_path / "net.onnx", average=False)
    network = load(path, threads=2, streams=2)
    others = threading.Barrier(2, timeout=20)
    for request in [network._idle.get() for _ in range(2)]:
        network._idle.put(Meeting(request, others))
    assert network.run(batch_of(2)).shape[0] == 2


@pytest.mark.parametrize(
    ("threads", "streams", "expected"),
    [(1, 2, 1), (2, 2, 2), (2, 3, 2), (1, None, 1), (2, None, 2)],
)
def test_never_more_streams_than_threads(
    threads: int, streams: int | None, expected: int, tmp_path: Path
) -> None:
    """``threads`` counts all streams together, and a stream has at least one; None is one each."""
    if (os.cpu_count() or 1) < 2:
        pytest.skip("OpenVINO takes no more threads than cores")
    path = write_model(tmp_path / "net.onnx", average=False)
    assert load(path, threads=threads, streams=streams).streams == expected


@two_cores
def test_streams_change_no_answer() -> None:
    """The shipped networks, from three threads at once: against one stream within rounding, and bit
    for bit whichever stream computes.

    Breaks if a request is handed to two callers, and where OpenVINO is left to dequantize the
    weights for several streams by itself (NaN, or logits of seven digits, with 2026.4.1).
    """
    bundle = load_bundle("cxr")
    noise = np.random.default_rng(3)
    for path in (bundle.classifier_path, bundle.segmenter_path):
        one, two = load(path, threads=2, streams=1), load(path, threads=2, streams=2)
        batches = [
            noise.normal(size=(count, 1, one.size, one.size)).astype(np.float32)
            for count in (1, 2, 1)
        ]
        with ThreadPoolExecutor(3) as callers:
            answers = list(callers.map(two.run, batches))
        for batch, answer in zip(batches, answers, strict=True):
            np.testing.assert_allclose(answer, one.run(batch), atol=1e-5, rtol=0)
            np.testing.assert_array_equal(answer, two.run(batch))
            alone = [two.run(batch[k : k + 1]) for k in range(len(batch))]
            np.testing.assert_array_equal(answer, np.concatenate(alone))


def test_the_first_conversion_of_an_array_is_left_to_no_caller(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two first calls at the same time waited for each other for ever, in 3 of 25 processes."""
    import openvino

    path = write_model(tmp_path / "net.onnx", average=False)
    converted: list[tuple[np.ndarray, str]] = []
    tensor = openvino.Tensor

    def convert(array: np.ndarray) -> Any:
        converted.append((array, threading.current_thread().name))
        return tensor(array)

    monkeypatch.setattr(openvino, "Tensor", convert)
    load(path)
    ((array, thread),) = converted
    assert array.dtype == np.float32
    assert thread == threading.current_thread().name


def test_a_failed_call_leaves_the_network_usable(tmp_path: Path) -> None:
    """Breaks if a request is lost with the call that failed: the next would wait for ever."""
    network = load(write_model(tmp_path / "net.onnx", average=False), streams=1)
    broken = threading.Barrier(2)
    broken.abort()
    request = network._idle.get()
    network._idle.put(Meeting(request, broken))
    for _ in range(2):
        with pytest.raises(threading.BrokenBarrierError):
            network.run(batch_of(1))
        assert network._idle.qsize() == 1


def test_a_precision_that_cannot_compile_is_never_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """OpenVINO has the device and then fails to compile for it."""
    import openvino

    path = write_model(tmp_path / "net.onnx", average=False)
    asked: list[tuple[str, dict[str, Any]]] = []

    def compile_model(core: Any, model: Any, device: str, options: dict[str, Any]) -> None:
        asked.append((device, options))
        raise RuntimeError("no such instruction")

    monkeypatch.setattr(openvino.Core, "compile_model", compile_model)
    with pytest.raises(RuntimeUnavailableError, match="cannot compile the network for cpu"):
        load_network(path, runtime="openvino", threads=2)
    assert asked[0][0] == "CPU"
    assert asked[0][1]["INFERENCE_NUM_THREADS"] == 2
