"""PyTorch as the reference runtime: the network's own Python class with the file's weights.

The exported graph is not interpreted. The ONNX file keeps every parameter under its PyTorch name
(``pneumoseg.training.export``), so the weights are read back, the class that the file names is
built, and the other runtimes can be compared with the code that was trained. The same road starts
training from a bundle.
"""

from __future__ import annotations

import importlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pneumoseg.errors import BundleError, RuntimeUnavailableError
from pneumoseg.runtime import INSTALL, NETWORK_METADATA, check_batch, check_input_shape

try:
    import onnx
    import torch
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
    from onnx import numpy_helper
except ImportError as error:
    raise RuntimeUnavailableError(
        f"the torch runtime needs PyTorch and onnx; run: {INSTALL['torch']}"
    ) from error

NETWORKS = {
    "EfficientNetB3Classifier": "pneumoseg.classifier_efficientnet_b3",
    "ConvNeXtTinyUNet": "pneumoseg.segmenter_convnext_tiny",
    "EfficientNetB3UNet": "pneumoseg.segmenter_efficientnet_b3",
}
"""Class named in the file -> the module that defines it; built without arguments."""

_BATCH_COUNTER = "num_batches_tracked"
"""BatchNorm's training counter: in a state dict, without effect on inference, not in ONNX."""


class TorchNetwork:
    """A PyTorch module; see :class:`pneumoseg.runtime.Network`.

    The module is moved to the device. Two settings are PyTorch's own and hold for the whole
    process: ``threads``, and on CUDA that f32 is not rounded to TensorFloat-32.
    """

    name = "torch"
    streams = 1

    def __init__(
        self,
        module: torch.nn.Module,
        *,
        size: int,
        threads: int | None = None,
        device: str = "cpu",
        precision: str = "f32",
    ) -> None:
        self.size = size
        self.device = device
        self.precision = precision
        self._module = module.eval().to(device)
        self._layout = torch.preserve_format
        if device == "cuda":
            self._layout = torch.channels_last  # what cuDNN's convolutions compute in
            self._module.to(memory_format=self._layout)
            torch.backends.cudnn.allow_tf32 = False
            torch.backends.cuda.matmul.allow_tf32 = False
        if threads is not None:
            torch.set_num_threads(threads)

    def run(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Compute logits; see :meth:`pneumoseg.runtime.Network.run`."""
        check_batch(batch, self.size)
        images = torch.from_numpy(np.array(batch))
        autocast = torch.autocast(
            self.device, dtype=torch.bfloat16, enabled=self.precision == "bf16"
        )
        with torch.inference_mode(), autocast:
            logits = self._module(images.to(self.device, memory_format=self._layout))
        return np.asarray(logits.float().cpu().numpy(), dtype=np.float32)


def load_torch_network(
    path: Path, *, device: str = "cpu", precision: str = "f32", threads: int | None = None
) -> TorchNetwork:
    """Build the network that an exported file names, with the file's weights.

    Raises:
        BundleError: not an exported network, or of a class this version does not know.
        RuntimeUnavailableError: bf16 on anything but a CUDA device that has it, no CUDA device, or
            a package of the network missing.
    """
    _require_device(device, precision)
    model = _read_model(path)
    network = {entry.key: entry.value for entry in model.metadata_props}.get(NETWORK_METADATA)
    if network not in NETWORKS:
        raise BundleError(
            f"{path} holds the network {network!r}; the torch runtime knows {', '.join(NETWORKS)}"
        )
    module = _build(network)
    load_weights(module, path)
    sides = model.graph.input[0].type.tensor_type.shape.dim
    size = check_input_shape(
        [side.dim_value if side.HasField("dim_value") else None for side in sides], path
    )
    return TorchNetwork(module, size=size, threads=threads, device=device, precision=precision)


def _require_device(device: str, precision: str) -> None:
    if precision != "f32" and device != "cuda":
        raise RuntimeUnavailableError(
            f"on the {device} the torch runtime is the f32 reference and does not compute in "
            f"{precision}; ask for f32, or for cuda"
        )
    if device == "cuda" and not torch.cuda.is_available():
        raise RuntimeUnavailableError(
            "PyTorch finds no device 'cuda' here, only cpu; install NVIDIA's driver and a PyTorch "
            "that is built for CUDA, or ask for cpu"
        )
    if precision == "bf16" and not torch.cuda.is_bf16_supported(including_emulation=False):
        raise RuntimeUnavailableError("this GPU cannot compute in bf16; ask for f32")


def _build(network: str) -> torch.nn.Module:
    try:
        module = importlib.import_module(NETWORKS[network])
    except ImportError as error:
        raise RuntimeUnavailableError(
            f"the torch runtime needs {error.name}; run: {INSTALL['torch']}"
        ) from error
    built: torch.nn.Module = getattr(module, network)()
    return built


def load_weights(module: torch.nn.Module, path: Path) -> None:
    """Fill a module with the weights of an exported file, every parameter and buffer.

    Raises:
        BundleError: the file lacks a parameter, or has it in another shape.
    """
    weights = read_weights(path)
    state = module.state_dict()
    for name, tensor in state.items():
        if name.endswith(_BATCH_COUNTER):
            continue
        if name not in weights or weights[name].shape != tuple(tensor.shape):
            found = weights[name].shape if name in weights else "none"
            raise BundleError(
                f"{path}: the network expects {name} of shape {tuple(tensor.shape)}, found {found}"
            )
        state[name] = torch.from_numpy(weights[name])
    module.load_state_dict(state)


def read_weights(path: Path) -> dict[str, NDArray[np.float32]]:
    """Weights of an exported file by their PyTorch names, int8 ones brought back to float32.

    Raises:
        BundleError: the file is missing or not an ONNX file.
    """
    graph = _read_model(path).graph
    arrays = {item.name: numpy_helper.to_array(item) for item in graph.initializer}
    weights = {name: np.array(a) for name, a in arrays.items() if a.dtype == np.float32}
    for node in graph.node:
        if node.op_type == "DequantizeLinear":
            axis = next(attribute.i for attribute in node.attribute if attribute.name == "axis")
            integers, scale = (arrays[name] for name in node.input[:2])
            sides = [-1 if dimension == axis else 1 for dimension in range(integers.ndim)]
            weights[node.output[0]] = integers.astype(np.float32) * scale.reshape(sides)
    return weights


def _read_model(path: Path) -> onnx.ModelProto:
    try:
        return onnx.load(path)
    except (OSError, DecodeError) as error:
        raise BundleError(f"{path} is not an ONNX file that can be read: {error}") from error
