"""What ``auto`` stands for, on computers made of folders that look like installed packages."""

from __future__ import annotations

import ctypes
import importlib.util
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hand_network import batch_of, write_model

import pneumoseg.runtime as choice
from pneumoseg.errors import RuntimeUnavailableError, UsageError
from pneumoseg.runtime import RUNTIMES, choose_runtime, load_network

ORT_CUDA = "onnxruntime/capi/libonnxruntime_providers_cuda.so"
ORT_CUDA_ON_WINDOWS = "onnxruntime/capi/onnxruntime_providers_cuda.dll"
ORT_SHARED = "onnxruntime/capi/libonnxruntime_providers_shared.so"
TORCH_CUDA = "torch/lib/libtorch_cuda.so"
TORCH_CPU = "torch/lib/libtorch_cpu.so"
TORCH = ("torch/__init__.py", "onnx/__init__.py", "timm/__init__.py")
OPENVINO = "openvino/__init__.py"
ORT = "onnxruntime/__init__.py"

Computer = Callable[..., None]


@pytest.fixture
def computer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Computer:
    """``computer(*files, gpus=n)``: has these files of packages, and no runtime beside them."""
    really = importlib.util.find_spec

    def find(name: str, package: str | None = None) -> object:
        if name not in (*RUNTIMES, "onnx", "timm"):
            return really(name, package)
        folder = tmp_path / "packages" / name
        return SimpleNamespace(submodule_search_locations=[folder]) if folder.is_dir() else None

    def build(*files: str, gpus: int = 0) -> None:
        for file in files:
            path = tmp_path / "packages" / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        monkeypatch.setattr(importlib.util, "find_spec", find)
        monkeypatch.setattr(choice, "nvidia_gpus", lambda: gpus)

    return build


@pytest.mark.parametrize(
    ("files", "gpus", "expected"),
    [
        ((OPENVINO,), 0, ("openvino", "cpu")),
        ((OPENVINO, ORT, ORT_SHARED, *TORCH, TORCH_CPU), 1, ("openvino", "cpu")),
        ((OPENVINO, ORT_CUDA, *TORCH, TORCH_CUDA), 0, ("openvino", "cpu")),
        ((OPENVINO, ORT_CUDA, *TORCH, TORCH_CUDA), 1, ("onnxruntime", "cuda")),
        ((OPENVINO, ORT_CUDA_ON_WINDOWS), 2, ("onnxruntime", "cuda")),
        ((OPENVINO, ORT, *TORCH, TORCH_CUDA), 1, ("torch", "cuda")),
        ((OPENVINO, TORCH_CUDA), 1, ("openvino", "cpu")),  # torch without onnx is no runtime here
        ((ORT, *TORCH), 0, ("onnxruntime", "cpu")),
        (TORCH, 0, ("torch", "cpu")),
    ],
)
def test_auto_on_each_computer(
    computer: Computer, files: tuple[str, ...], gpus: int, expected: tuple[str, str]
) -> None:
    computer(*files, gpus=gpus)
    chosen = choose_runtime()
    assert (chosen.runtime, chosen.device) == expected
    assert ("no GPU" in chosen.reason) == (expected[1] == "cpu")
    assert str(chosen).startswith(f"{expected[0]} on {expected[1]}: ")


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({"device": "cpu"}, ("openvino", "cpu")),
        ({"device": "cuda"}, ("onnxruntime", "cuda")),
        ({"precision": "bf16"}, ("torch", "cuda")),  # ONNX Runtime has no bf16 here
        ({"precision": "bf16", "device": "cpu"}, ("openvino", "cpu")),
        ({"runtime": "openvino"}, ("openvino", "cpu")),
        ({"runtime": "onnxruntime"}, ("onnxruntime", "cuda")),
        ({"runtime": "torch"}, ("torch", "cuda")),
        ({"runtime": "torch", "device": "cpu"}, ("torch", "cpu")),
        ({"runtime": "onnxruntime", "device": "cpu"}, ("onnxruntime", "cpu")),
    ],
    ids=str,
)
def test_what_is_named_is_kept(
    computer: Computer, asked: dict[str, str], expected: tuple[str, str]
) -> None:
    """On a computer with everything, a name narrows the choice and nothing widens it."""
    computer(OPENVINO, ORT, ORT_CUDA, *TORCH, TORCH_CUDA, gpus=1)
    chosen = choose_runtime(**asked)
    assert (chosen.runtime, chosen.device) == expected


@pytest.mark.parametrize(
    ("files", "asked", "words"),
    [
        ((), {}, r"found: nothing; pip install openvino"),
        ((), {"device": "cpu"}, r"found: nothing; pip install openvino"),
        ((OPENVINO,), {"runtime": "onnxruntime"}, r"pneumoseg\[onnxruntime\]"),
        ((OPENVINO,), {"runtime": "torch"}, r"pneumoseg\[train\]"),
        ((ORT,), {"runtime": "openvino"}, "pip install openvino"),
        ((OPENVINO, ORT), {"device": "cuda"}, r"found: openvino on cpu, onnxruntime on cpu.*-gpu"),
        ((OPENVINO, ORT_CUDA), {"device": "cuda"}, "NVIDIA's driver"),
        ((ORT,), {"precision": "bf16"}, "no installed runtime computes in bf16.*ask for f32"),
        (
            (OPENVINO, ORT),
            {"runtime": "onnxruntime", "precision": "bf16"},
            "onnxruntime does not compute in bf16.*ask for f32",
        ),
    ],
)
def test_what_is_absent_is_an_error_with_a_remedy(
    computer: Computer, files: tuple[str, ...], asked: dict[str, str], words: str
) -> None:
    computer(*files, gpus=0)
    with pytest.raises(RuntimeUnavailableError, match=words):
        choose_runtime(**asked)


@pytest.mark.parametrize(
    "asked",
    [
        {"runtime": "tpu"},
        {"device": "tpu"},
        {"precision": "f8"},
        {"runtime": "openvino", "device": "cuda"},
    ],
    ids=str,
)
def test_a_name_that_means_nothing_is_a_usage_error(asked: dict[str, str]) -> None:
    with pytest.raises(UsageError, match="choose one of") as caught:
        choose_runtime(**asked)
    assert not isinstance(caught.value, RuntimeUnavailableError)


@pytest.mark.parametrize("runtime", ["openvino", "onnxruntime"])
def test_auto_loads_what_was_chosen(computer: Computer, runtime: str, tmp_path: Path) -> None:
    pytest.importorskip(runtime)
    path = write_model(tmp_path / "net.onnx", average=False)
    computer(f"{runtime}/__init__.py")
    network = load_network(path, runtime="auto")
    assert (network.name, network.device) == (runtime, "cpu")
    np.testing.assert_allclose(network.run(batch_of(2)), 2 * batch_of(2) - 0.5)


def test_choosing_imports_no_runtime() -> None:
    """Start-up: torch alone takes seconds to import."""
    program = (
        "import sys; from pneumoseg.runtime import choose_runtime; choose_runtime();"
        "slow = {'torch', 'onnx', 'timm', 'onnxruntime', 'openvino'};"
        "print(sorted(slow.intersection(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


class Driver:
    """NVIDIA's driver, as far as it is asked."""

    def __init__(self, *, starts: int, gpus: int) -> None:
        self.starts, self.gpus = starts, gpus

    def cuInit(self, flags: int) -> int:  # noqa: N802 -- the driver's own name
        return self.starts

    def cuDeviceGetCount(self, count: object) -> int:  # noqa: N802 -- the driver's own name
        count._obj.value = self.gpus  # type: ignore[attr-defined]
        return 0


@pytest.mark.parametrize(
    ("starts", "gpus", "expected"),
    [(0, 3, 3), (0, 0, 0), (100, 3, 0)],  # 100 is CUDA_ERROR_NO_DEVICE
)
def test_the_driver_counts_the_gpus(
    starts: int, gpus: int, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda name: Driver(starts=starts, gpus=gpus))
    assert choice.nvidia_gpus() == expected


def test_no_driver_is_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise OSError(name)

    monkeypatch.setattr(ctypes, "CDLL", missing)
    assert choice.nvidia_gpus() == 0
