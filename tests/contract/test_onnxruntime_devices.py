"""Devices of ONNX Runtime: what it really took, with a session that only says what it would take.

No GPU is needed: the sessions are made up, as is the list of providers.
"""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
from hand_network import SIZE, batch_of, write_model
from onnx import TensorProto, helper

from pneumoseg.errors import BundleError, RuntimeUnavailableError
from pneumoseg.runtime import load_network
from pneumoseg.runtime.onnxruntime import _session_options

onnxruntime = pytest.importorskip("onnxruntime")

CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"


class Session:
    """Doubles its batch, and notes how it was asked for and how many calls ran at once."""

    def __init__(self, path: str, options: Any, *, providers: list[Any], **flags: Any) -> None:
        self.options, self.flags = options, flags
        self.asked = [entry if isinstance(entry, str) else entry[0] for entry in providers]
        self.settings = {entry[0]: entry[1] for entry in providers if not isinstance(entry, str)}
        self.cannot_start: tuple[str, ...] = ()
        self.running = self.most = 0

    def get_providers(self) -> list[str]:
        """What ONNX Runtime does: a provider that cannot start is left out, the CPU comes last."""
        return [*(name for name in self.asked if name not in self.cannot_start), CPU]

    def get_inputs(self) -> list[SimpleNamespace]:
        return [SimpleNamespace(name="image", shape=["batch", 1, SIZE, SIZE])]

    def run(self, names: None, batches: dict[str, np.ndarray]) -> list[np.ndarray]:
        self.running += 1
        self.most = max(self.most, self.running)
        time.sleep(0.02)
        self.running -= 1
        return [2 * batches["image"]]


class Computer:
    """A computer whose ONNX Runtime has these providers; keeps the sessions it opened."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.patch = monkeypatch
        self.sessions: list[Session] = []
        self.preloaded = 0

    def has(self, *providers: str, cannot_start: tuple[str, ...] = ()) -> None:
        def open_session(*args: Any, **options: Any) -> Session:
            session = Session(*args, **options)
            session.cannot_start = cannot_start
            self.sessions.append(session)
            return session

        def preload() -> None:
            self.preloaded += 1

        self.patch.setattr(onnxruntime, "get_available_providers", lambda: [*providers, CPU])
        self.patch.setattr(onnxruntime, "InferenceSession", open_session)
        self.patch.setattr(onnxruntime, "preload_dlls", preload, raising=False)


@pytest.fixture
def computer(monkeypatch: pytest.MonkeyPatch) -> Computer:
    return Computer(monkeypatch)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write_model(tmp_path / "net.onnx", average=False)


@pytest.mark.parametrize(
    ("device", "asked"),
    [
        ("cpu", [CPU]),
        ("cuda", [CUDA]),
    ],
)
def test_asks_for_the_device_and_says_it(
    computer: Computer, path: Path, device: str, asked: list[str]
) -> None:
    computer.has(CUDA)
    network = load_network(path, runtime="onnxruntime", device=device)
    assert (network.name, network.device, network.size) == ("onnxruntime", device, SIZE)
    (session,) = computer.sessions
    assert session.asked == asked
    assert session.flags == {"enable_fallback": 0}  # else it opens another by itself, and prints
    assert computer.preloaded == (CUDA in asked)
    np.testing.assert_array_equal(network.run(batch_of(2)), 2 * batch_of(2))


def test_another_device_taken_in_silence_is_refused(computer: Computer, path: Path) -> None:
    """What ONNX Runtime does where cuDNN is missing: it computes on, on the CPU."""
    computer.has(CUDA, cannot_start=(CUDA,))
    with pytest.raises(RuntimeUnavailableError, match=f"took {CPU} instead.*device cpu") as caught:
        load_network(path, runtime="onnxruntime", device="cuda")
    assert "could not start the device 'cuda'" in str(caught.value)


def test_an_absent_device_names_what_to_install(computer: Computer, path: Path) -> None:
    computer.has("AzureExecutionProvider")
    with pytest.raises(
        RuntimeUnavailableError, match="no device 'cuda', only cpu; .*onnxruntime-gpu"
    ):
        load_network(path, runtime="onnxruntime", device="cuda")
    assert computer.sessions == []


@pytest.mark.parametrize("error", ["EPFail", "RuntimeException", "Fail", "ValueError"])
def test_a_device_that_fails_at_the_start_is_never_replaced(
    computer: Computer, path: Path, error: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    computer.has(CUDA)
    kind = getattr(onnxruntime.capi.onnxruntime_pybind11_state, error, ValueError)

    def fail(*args: Any, **options: Any) -> None:
        raise kind("CUDA failure 999\nsecond line")

    monkeypatch.setattr(onnxruntime, "InferenceSession", fail)
    with pytest.raises(RuntimeUnavailableError, match=r"\(CUDA failure 999\)"):
        load_network(path, runtime="onnxruntime", device="cuda")


def test_a_damaged_file_is_not_the_devices_fault(tmp_path: Path) -> None:
    """A provider that is really here, so that the session and its error are real."""
    path = tmp_path / "damaged.onnx"
    path.write_bytes(b"no network")
    with pytest.raises(BundleError, match=r"damaged\.onnx"):
        load_network(path, runtime="onnxruntime", device="cpu")


def test_f32_is_not_rounded_to_tf32_on_nvidia(computer: Computer, path: Path) -> None:
    """TensorFloat-32 keeps 10 bits of the fraction; precision would say f32 and not mean it."""
    computer.has(CUDA)
    load_network(path, runtime="onnxruntime", device="cuda")
    assert computer.sessions[-1].settings[CUDA]["use_tf32"] == "0"


def test_a_session_takes_several_calls_at_a_time(computer: Computer, path: Path) -> None:
    """A session may be shared between threads; a lock round it would leave the GPU idle."""
    computer.has(CUDA)
    network = load_network(path, runtime="onnxruntime", device="cuda")
    together = threading.Barrier(4, timeout=20)

    def call(count: int) -> bool:
        together.wait()
        return all(network.run(batch_of(count)).shape[0] == count for _ in range(5))

    with ThreadPoolExecutor(4) as callers:
        assert all(callers.map(call, (1, 2, 3, 4)))
    (session,) = computer.sessions
    assert session.most > 1


def test_stored_int8_weights_are_brought_back_once(tmp_path: Path) -> None:
    """Left in the graph, DequantizeLinear runs for every batch."""
    nodes = [
        helper.make_node("DequantizeLinear", ["integers", "scale"], ["weight"], axis=0),
        helper.make_node("Conv", ["image", "weight"], ["logits"]),
    ]
    shape = ("batch", 1, SIZE, SIZE)
    graph = helper.make_graph(
        nodes,
        "int8",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, shape)],
        [
            helper.make_tensor("integers", TensorProto.INT8, [1, 1, 1, 1], [-3]),
            helper.make_tensor("scale", TensorProto.FLOAT, [1], [0.5]),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.save(model, tmp_path / "int8.onnx")
    options = _session_options(onnxruntime, 1)
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    onnxruntime.InferenceSession(
        str(tmp_path / "int8.onnx"), options, providers=["CPUExecutionProvider"]
    )
    kinds = {node.op_type for node in onnx.load(tmp_path / "optimised.onnx").graph.node}
    assert "DequantizeLinear" not in kinds
    network = load_network(tmp_path / "int8.onnx", runtime="onnxruntime", device="cpu")
    np.testing.assert_allclose(network.run(batch_of(2)), -1.5 * batch_of(2))
