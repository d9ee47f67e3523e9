"""Devices and precisions of the torch runtime, as far as they show without a GPU."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hand_network import teach_torch, write_model

from pneumoseg.errors import RuntimeUnavailableError
from pneumoseg.runtime import load_network

torch = pytest.importorskip("torch")


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    teach_torch(monkeypatch)
    return write_model(tmp_path / "net.onnx", average=True)


def test_cuda_that_is_not_there_is_an_error(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(RuntimeUnavailableError, match=r"no device 'cuda' here, only cpu; install"):
        load_network(path, runtime="torch", device="cuda")


def test_a_gpu_without_bf16_is_an_error(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """PyTorch would emulate it, slowly."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(
        torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation
    )
    with pytest.raises(RuntimeUnavailableError, match="this GPU cannot compute in bf16"):
        load_network(path, runtime="torch", device="cuda", precision="bf16")


def test_bf16_on_the_processor_is_refused(path: Path) -> None:
    with pytest.raises(RuntimeUnavailableError, match="f32 reference.*ask for f32, or for cuda"):
        load_network(path, runtime="torch", device="cpu", precision="bf16")


def test_bf16_rounds_convolutions_and_still_returns_float32() -> None:
    """1 + 2^-9 is 1 in bf16, which has 8 bits: breaks if autocast is not in force."""
    from pneumoseg.runtime.torch import TorchNetwork

    convolution = torch.nn.Conv2d(1, 1, 1, bias=False)
    torch.nn.init.ones_(convolution.weight)
    batch = np.full((2, 1, 4, 4), 1 + 2**-9, np.float32)
    plain = TorchNetwork(convolution, size=4).run(batch)
    rounded = TorchNetwork(convolution, size=4, precision="bf16").run(batch)
    np.testing.assert_array_equal(plain, batch)
    np.testing.assert_array_equal(rounded, np.ones_like(batch))
    assert rounded.dtype == np.float32


def test_a_missing_package_of_the_network_names_the_extra(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pneumoseg.runtime.torch import NETWORKS

    monkeypatch.setitem(NETWORKS, "HandAverager", "a_package_that_is_not_installed")
    with pytest.raises(
        RuntimeUnavailableError, match=r"a_package_that_is_not_installed.*pneumoseg\[train\]"
    ):
        load_network(path, runtime="torch", device="cpu")
