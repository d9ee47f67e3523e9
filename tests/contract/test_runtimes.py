"""One contract for every runtime: the same file and the same numbers, whoever computes them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

from pneumoseg.errors import BundleError, RuntimeUnavailableError, UsageError
from pneumoseg.runtime import RUNTIMES, Network, load_network
from pneumoseg.runtime.torch import TorchNetwork

SIZE = 4
GAIN, OFFSET = 2.0, -0.5


class Doubler(torch.nn.Module):
    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return GAIN * image + OFFSET


class Averager(torch.nn.Module):
    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return GAIN * image.mean(dim=(2, 3)) + OFFSET


def write_model(path: Path, *, average: bool, shape: tuple = ("batch", 1, SIZE, SIZE)) -> Path:
    """Logits = 2 * image - 0.5, of every pixel or of the image's mean, built by hand."""
    nodes = [
        helper.make_node("GlobalAveragePool", ["image"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
    ]
    first = "flat" if average else "image"
    nodes = [*(nodes if average else []), helper.make_node("Mul", [first, "gain"], ["scaled"])]
    nodes.append(helper.make_node("Add", ["scaled", "offset"], ["logits"]))
    graph = helper.make_graph(
        nodes,
        "by_hand",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, shape)],
        [
            helper.make_tensor_value_info(
                "logits", TensorProto.FLOAT, ("batch", 1) if average else shape
            )
        ],
        [
            helper.make_tensor("gain", TensorProto.FLOAT, [1], [GAIN]),
            helper.make_tensor("offset", TensorProto.FLOAT, [1], [OFFSET]),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return path


@pytest.fixture(params=RUNTIMES)
def runtime(request: pytest.FixtureRequest) -> str:
    return request.param


def make(runtime: str, path: Path, *, average: bool) -> Network:
    if runtime == "torch":
        return TorchNetwork(Averager() if average else Doubler(), size=SIZE)
    return load_network(write_model(path, average=average), runtime=runtime, threads=1)


def batch_of(count: int) -> np.ndarray:
    """Image k is filled with k, but for its first pixel, which is k + 16."""
    batch = np.zeros((count, 1, SIZE, SIZE), np.float32) + np.arange(count)[:, None, None, None]
    batch[:, 0, 0, 0] += 16
    return batch.astype(np.float32)


@pytest.mark.parametrize("count", [1, 3, 8])
def test_classifier_logits_by_hand_for_any_batch(runtime: str, count: int, tmp_path: Path) -> None:
    """The mean of image k is k + 16 / 16 = k + 1; breaks if the batch dimension is not free."""
    logits = make(runtime, tmp_path / "net.onnx", average=True).run(batch_of(count))
    assert logits.shape == (count, 1)
    assert logits.dtype == np.float32
    np.testing.assert_allclose(logits[:, 0], [2.0 * (k + 1) - 0.5 for k in range(count)], atol=1e-5)


@pytest.mark.parametrize("count", [1, 3, 8])
def test_segmenter_logits_by_hand_for_any_batch(runtime: str, count: int, tmp_path: Path) -> None:
    logits = make(runtime, tmp_path / "net.onnx", average=False).run(batch_of(count))
    assert logits.shape == (count, 1, SIZE, SIZE)
    assert logits[count - 1, 0, 0, 0] == pytest.approx(2.0 * (count - 1 + 16) - 0.5)
    assert logits[count - 1, 0, 3, 2] == pytest.approx(2.0 * (count - 1) - 0.5)


def test_results_are_the_callers_own(runtime: str, tmp_path: Path) -> None:
    """A second run must not overwrite what the first returned, and no run may touch its input."""
    network = make(runtime, tmp_path / "net.onnx", average=False)
    batch = batch_of(2)
    first = network.run(batch)
    kept = first.copy()
    network.run(batch + 1)
    np.testing.assert_array_equal(first, kept)
    np.testing.assert_array_equal(batch, batch_of(2))


def test_reads_an_array_that_is_not_contiguous(runtime: str, tmp_path: Path) -> None:
    batch = np.asfortranarray(batch_of(2))
    logits = make(runtime, tmp_path / "net.onnx", average=False).run(batch)
    np.testing.assert_allclose(logits, 2 * batch_of(2) - 0.5)


@pytest.mark.parametrize(
    ("batch", "words"),
    [
        (np.zeros((1, 1, SIZE, SIZE)), "float32"),
        (np.zeros((1, 3, SIZE, SIZE), np.float32), "expected a batch"),
        (np.zeros((1, 1, SIZE, SIZE + 1), np.float32), "expected a batch"),
        (np.zeros((1, SIZE, SIZE), np.float32), "expected a batch"),
        (np.zeros((0, 1, SIZE, SIZE), np.float32), "expected a batch"),
    ],
)
def test_a_wrong_batch_is_refused(
    runtime: str, batch: np.ndarray, words: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=words):
        make(runtime, tmp_path / "net.onnx", average=False).run(batch)


def test_says_what_it_is(runtime: str, tmp_path: Path) -> None:
    network = make(runtime, tmp_path / "net.onnx", average=True)
    assert (network.name, network.precision, network.size) == (runtime, "f32", SIZE)


def test_a_damaged_file_is_named(runtime: str, tmp_path: Path) -> None:
    path = tmp_path / "damaged.onnx"
    path.write_bytes(b"\x00not a network\xff" * 10)
    with pytest.raises(BundleError, match=r"damaged\.onnx"):
        load_network(path, runtime=runtime)


def test_a_missing_file_is_named(runtime: str, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="does not exist"):
        load_network(tmp_path / "none.onnx", runtime=runtime)


@pytest.mark.parametrize("name", ["openvino", "onnxruntime"])
@pytest.mark.parametrize("shape", [(1, 1, SIZE, SIZE), ("batch", 3, SIZE, SIZE)])
def test_a_network_of_another_shape_is_refused(name: str, shape: tuple, tmp_path: Path) -> None:
    """A fixed batch of one, or three channels: not a network of this project."""
    path = write_model(tmp_path / "net.onnx", average=False, shape=shape)
    with pytest.raises(BundleError, match="expected \\(any, 1, size, size\\)"):
        load_network(path, runtime=name)


def test_torch_refuses_a_network_it_has_no_class_for(tmp_path: Path) -> None:
    path = write_model(tmp_path / "net.onnx", average=True)
    with pytest.raises(BundleError, match="EfficientNetB3Classifier"):
        load_network(path, runtime="torch")


@pytest.mark.parametrize("name", ["onnxruntime", "torch"])
def test_a_precision_that_is_not_there_is_never_replaced(name: str, tmp_path: Path) -> None:
    path = write_model(tmp_path / "net.onnx", average=True)
    with pytest.raises(RuntimeUnavailableError, match="bf16"):
        load_network(path, runtime=name, precision="bf16")


def test_openvino_computes_in_bf16_or_says_that_it_cannot(tmp_path: Path) -> None:
    """What must not happen: asked for bf16, computed in f32, and no word about it."""
    path = write_model(tmp_path / "net.onnx", average=True)
    try:
        network = load_network(path, precision="bf16")
    except RuntimeUnavailableError as error:
        assert "ask for f32" in str(error)
    else:
        assert network.precision == "bf16"


@pytest.mark.parametrize(
    "options", [{"runtime": "tflite"}, {"precision": "int4"}, {"threads": 0}], ids=str
)
def test_a_wrong_option_is_a_usage_error(options: dict, tmp_path: Path) -> None:
    path = write_model(tmp_path / "net.onnx", average=True)
    with pytest.raises(UsageError, match=r"choose one of|1 or more"):
        load_network(path, **options)


def test_openvino_writes_nothing_home_and_loads_no_telemetry(tmp_path: Path) -> None:
    """OpenVINO reports to its maker on import and leaves ~/intel behind unless kept from it."""
    path = write_model(tmp_path / "net.onnx", average=True)
    home = tmp_path / "home"
    home.mkdir()
    program = (
        "import sys; from pathlib import Path; from pneumoseg.runtime import load_network;"
        f"load_network(Path({str(path)!r}));"
        "print([name for name in sys.modules if name.startswith('openvino_telemetry')])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "HOME": str(home)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "[]"
    assert list(home.iterdir()) == []


def test_a_runtime_that_is_not_installed_names_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_model(tmp_path / "net.onnx", average=True)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(RuntimeUnavailableError, match=r"pneumoseg\[onnxruntime\]"):
        load_network(path, runtime="onnxruntime")
    monkeypatch.setitem(sys.modules, "onnx", None)
    monkeypatch.delitem(sys.modules, "pneumoseg.runtime.torch")
    with pytest.raises(RuntimeUnavailableError, match=r"pneumoseg\[train\]"):
        load_network(path, runtime="torch")
