"""One contract for every runtime: the same file and the same numbers, whoever computes them."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import pytest
from hand_network import SIZE, batch_of, require, teach_torch, write_model

from pneumoseg.errors import BundleError, RuntimeUnavailableError, UsageError
from pneumoseg.runtime import NETWORK_METADATA, RUNTIMES, Network, load_network
from tiny_bundle import write_tiny_bundle


@pytest.fixture(params=RUNTIMES)
def runtime(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    require(request.param)
    if request.param == "torch":
        teach_torch(monkeypatch)
    return request.param


def make(runtime: str, path: Path, *, average: bool) -> Network:
    return load_network(write_model(path, average=average), runtime=runtime, threads=1)


@pytest.mark.parametrize("count", [1, 5, 16])
def test_classifier_logits_by_hand_for_any_batch(runtime: str, count: int, tmp_path: Path) -> None:
    """The mean of image k is k + 16 / 16 = k + 1; breaks if the batch dimension is not free."""
    logits = make(runtime, tmp_path / "net.onnx", average=True).run(batch_of(count))
    assert logits.shape == (count, 1)
    assert logits.dtype == np.float32
    np.testing.assert_allclose(logits[:, 0], [2.0 * (k + 1) - 0.5 for k in range(count)], atol=1e-5)


@pytest.mark.parametrize("count", [1, 5, 16])
def test_segmenter_logits_by_hand_for_any_batch(runtime: str, count: int, tmp_path: Path) -> None:
    logits = make(runtime, tmp_path / "net.onnx", average=False).run(batch_of(count))
    assert logits.shape == (count, 1, SIZE, SIZE)
    assert logits.dtype == np.float32
    assert logits[count - 1, 0, 0, 0] == pytest.approx(2.0 * (count - 1 + 16) - 0.5)
    assert logits[count - 1, 0, 3, 2] == pytest.approx(2.0 * (count - 1) - 0.5)


def test_one_network_takes_batches_of_changing_size(runtime: str, tmp_path: Path) -> None:
    """What a run's last batch is; a buffer kept from a larger batch must not show."""
    network = make(runtime, tmp_path / "net.onnx", average=False)
    for count in (5, 1, 8, 3):
        np.testing.assert_allclose(network.run(batch_of(count)), 2 * batch_of(count) - 0.5)


def test_results_are_the_callers_own(runtime: str, tmp_path: Path) -> None:
    """A second run must not overwrite what the first returned, and no run may touch its input."""
    network = make(runtime, tmp_path / "net.onnx", average=False)
    batch = batch_of(2)
    first = network.run(batch)
    kept = first.copy()
    first_again = network.run(batch + 1)
    np.testing.assert_array_equal(first, kept)
    np.testing.assert_array_equal(batch, batch_of(2))
    first_again[:] = 0  # breaks where the runtime's own memory is handed out, read-only
    np.testing.assert_array_equal(first, kept)


def test_four_threads_get_each_its_own_answer(runtime: str, tmp_path: Path) -> None:
    """Batches of other values and sizes at the same time; breaks if calls share a buffer."""
    network = make(runtime, tmp_path / "net.onnx", average=False)
    together = threading.Barrier(4)

    def call(caller: int) -> int:
        batch = batch_of(caller + 1) + 100 * caller
        together.wait(timeout=20)
        return sum(np.array_equal(network.run(batch), 2 * batch - 0.5) for _ in range(50))

    with ThreadPoolExecutor(4) as callers:
        assert list(callers.map(call, range(4))) == [50, 50, 50, 50]


def test_reads_an_array_that_is_not_contiguous(runtime: str, tmp_path: Path) -> None:
    network = make(runtime, tmp_path / "net.onnx", average=False)
    for batch in (np.asfortranarray(batch_of(2)), batch_of(4)[::2], batch_of(3)[:, :, ::-1]):
        np.testing.assert_allclose(network.run(batch), 2 * batch - 0.5)


@pytest.mark.parametrize(
    ("batch", "words"),
    [
        (np.zeros((1, 1, SIZE, SIZE)), "float32"),
        (np.zeros((1, 1, SIZE, SIZE), np.uint8), "float32"),
        (np.zeros((1, 3, SIZE, SIZE), np.float32), "expected a batch"),
        (np.zeros((1, 1, SIZE, SIZE + 1), np.float32), "expected a batch"),
        (np.zeros((1, SIZE, SIZE), np.float32), "expected a batch"),
        (np.zeros((0, 1, SIZE, SIZE), np.float32), "expected a batch"),
    ],
)
def test_a_wrong_batch_is_refused(
    runtime: str, batch: np.ndarray, words: str, tmp_path: Path
) -> None:
    network = make(runtime, tmp_path / "net.onnx", average=False)
    with pytest.raises(ValueError, match=words):
        network.run(batch)
    assert network.run(batch_of(1)).shape == (1, 1, SIZE, SIZE)  # and is still of use


def test_says_what_it_is(runtime: str, tmp_path: Path) -> None:
    path = write_model(tmp_path / "net.onnx", average=True)
    network = load_network(path, runtime=runtime, device="cpu")
    said = (network.name, network.device, network.precision, network.size)
    assert said == (runtime, "cpu", "f32", SIZE)


@pytest.mark.parametrize("harm", ["noise", "nothing", "half"])
def test_a_damaged_file_is_named(runtime: str, harm: str, tmp_path: Path) -> None:
    path = tmp_path / "damaged.onnx"
    whole = write_model(path, average=True).read_bytes()
    noise = b"\x00not a network\xff" * 10
    path.write_bytes({"noise": noise, "nothing": b"", "half": whole[: len(whole) // 2]}[harm])
    with pytest.raises(BundleError, match=r"damaged\.onnx"):
        load_network(path, runtime=runtime)


def test_a_missing_file_is_named(runtime: str, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="does not exist"):
        load_network(tmp_path / "none.onnx", runtime=runtime)


@pytest.mark.parametrize("shape", [(1, 1, SIZE, SIZE), ("batch", 3, SIZE, SIZE)])
def test_a_network_of_another_shape_is_refused(runtime: str, shape: tuple, tmp_path: Path) -> None:
    """A fixed batch of one, or three channels: not a network of this project."""
    path = write_model(tmp_path / "net.onnx", average=False, shape=shape)
    with pytest.raises(BundleError, match="expected \\(any, 1, size, size\\)"):
        load_network(path, runtime=runtime)


def test_a_precision_is_computed_in_or_refused(runtime: str, tmp_path: Path) -> None:
    """What must not happen: asked for bf16, computed in f32, and no word about it."""
    path = write_model(tmp_path / "net.onnx", average=True)
    try:
        network = load_network(path, runtime=runtime, precision="bf16", device="cpu")
    except RuntimeUnavailableError as error:
        assert "ask for f32" in str(error)
    else:
        assert (runtime, network.precision) == ("openvino", "bf16")


@pytest.mark.parametrize("stage", ["classifier", "segmenter"])
def test_answers_as_torch_on_a_tiny_bundle(
    runtime: str, stage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bundle of the other tests, within 1e-3 of the reference, on images of noise."""
    require("torch")
    teach_torch(monkeypatch)
    bundle = write_tiny_bundle(tmp_path / "tiny", network_size=32)
    path = {"classifier": bundle.classifier_path, "segmenter": bundle.segmenter_path}[stage]
    model = onnx.load(path)
    name = {"classifier": "HandAverager", "segmenter": "HandDoubler"}[stage]
    onnx.helper.set_model_props(model, {NETWORK_METADATA: name})
    onnx.save(model, path)
    batch = np.random.default_rng(5).uniform(-1, 1, (5, 1, 32, 32)).astype(np.float32)
    reference = load_network(path, runtime="torch", device="cpu").run(batch)
    assert np.ptp(reference) > 1  # an answer that tells images apart
    answer = load_network(path, runtime=runtime).run(batch)
    np.testing.assert_allclose(answer, reference, atol=1e-3, rtol=0)


def test_torch_refuses_a_network_it_has_no_class_for(tmp_path: Path) -> None:
    require("torch")
    path = write_model(tmp_path / "net.onnx", average=True)
    with pytest.raises(BundleError, match="EfficientNetB3Classifier"):
        load_network(path, runtime="torch")


@pytest.mark.parametrize(
    "options",
    [
        {"runtime": "tflite"},
        {"precision": "int4"},
        {"device": "npu"},
        {"runtime": "openvino", "device": "cuda"},
        {"runtime": "onnxruntime", "device": "tensorrt"},
        {"threads": 0},
        {"streams": 0},
    ],
    ids=str,
)
def test_a_wrong_option_is_a_usage_error(options: dict, tmp_path: Path) -> None:
    path = write_model(tmp_path / "net.onnx", average=True)
    with pytest.raises(UsageError, match=r"choose one of|1 or more") as caught:
        load_network(path, **options)
    assert not isinstance(caught.value, RuntimeUnavailableError)


def test_openvino_writes_nothing_home_and_loads_no_telemetry(tmp_path: Path) -> None:
    """OpenVINO reports to its maker on import and leaves ~/intel behind unless kept from it."""
    path = write_model(tmp_path / "net.onnx", average=True)
    home = tmp_path / "home"
    home.mkdir()
    program = (
        "import sys; from pathlib import Path; from pneumoseg.runtime import load_network;"
        f"load_network(Path({str(path)!r}), streams=2);"
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
    monkeypatch.delitem(sys.modules, "pneumoseg.runtime.torch", raising=False)
    with pytest.raises(RuntimeUnavailableError, match=r"pneumoseg\[train\]"):
        load_network(path, runtime="torch")
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(RuntimeUnavailableError, match="pip install openvino"):
        load_network(path, runtime="openvino")
