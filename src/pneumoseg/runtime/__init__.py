"""Running a network: one small Protocol, three runtimes behind it.

OpenVINO is the default and the only one installed with the package. ONNX Runtime serves other
devices, PyTorch is the reference the others are compared with. Each is imported when asked for,
and none is ever replaced by another in silence.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pneumoseg.errors import BundleError, UsageError

RUNTIMES = ("openvino", "onnxruntime", "torch")
PRECISIONS = ("f32", "bf16")

NETWORK_METADATA = "pneumoseg.network"
"""Key of the ONNX metadata that names the network's class, e.g. ``EfficientNetB3Classifier``."""


class Network(Protocol):
    """A loaded network. One instance may be shared between threads; calls wait for each other."""

    @property
    def name(self) -> str:
        """The runtime's name, one of ``RUNTIMES``."""

    @property
    def precision(self) -> str:
        """The precision it really computes in, one of ``PRECISIONS``."""

    @property
    def size(self) -> int:
        """Side of the square input in pixels."""

    def run(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Compute logits.

        Args:
            batch: float32 (B, 1, size, size), normalised by ``preprocess.to_tensor``; any B ≥ 1.

        Returns:
            float32 logits the caller owns: (B, 1) of a classifier, (B, 1, size, size) of a
            segmenter.

        Raises:
            ValueError: the batch has another shape or type.
        """


def load_network(
    path: Path, *, runtime: str = "openvino", precision: str = "f32", threads: int | None = None
) -> Network:
    """Load an ONNX file into a runtime.

    Args:
        path: a file made by ``pneumoseg.export``, input ``image``, output ``logits``.
        runtime: ``openvino``, ``onnxruntime`` or ``torch``.
        precision: ``f32``, or ``bf16`` where runtime and processor have it.
        threads: number of threads, or None for the runtime's own choice.

    Raises:
        UsageError: an unknown runtime or precision, or a thread count below 1.
        BundleError: the file is missing or not a network.
        RuntimeUnavailableError: the runtime is not installed, or lacks the precision here.
    """
    if runtime not in RUNTIMES:
        raise UsageError(f"unknown runtime {runtime!r}; choose one of {', '.join(RUNTIMES)}")
    if precision not in PRECISIONS:
        raise UsageError(f"unknown precision {precision!r}; choose one of {', '.join(PRECISIONS)}")
    if threads is not None and threads < 1:
        raise UsageError(f"threads must be 1 or more, got {threads}")
    if not path.is_file():
        raise BundleError(f"the network file {path} does not exist")
    if runtime == "openvino":
        from pneumoseg.runtime.openvino import OpenVinoNetwork

        return OpenVinoNetwork(path, precision=precision, threads=threads)
    if runtime == "onnxruntime":
        from pneumoseg.runtime.onnxruntime import OnnxRuntimeNetwork

        return OnnxRuntimeNetwork(path, precision=precision, threads=threads)
    from pneumoseg.runtime.torch import load_torch_network

    return load_torch_network(path, precision=precision, threads=threads)


def check_batch(batch: NDArray[np.float32], size: int) -> None:
    """Refuse what a network was not made for; see :meth:`Network.run`."""
    if batch.dtype != np.float32:
        raise ValueError(f"a batch must be float32, not {batch.dtype}; see preprocess.to_tensor")
    if batch.ndim != 4 or batch.shape[0] < 1 or batch.shape[1:] != (1, size, size):
        raise ValueError(f"expected a batch (B, 1, {size}, {size}), got {batch.shape}")


def check_input_shape(shape: list[int | None], path: Path) -> int:
    """Side of a network's square input, from its declared shape (None where dynamic).

    Raises:
        BundleError: the input is not (any batch, 1, size, size).
    """
    if len(shape) == 4 and shape[0] is None and shape[1] == 1:
        rows, cols = shape[2], shape[3]
        if rows is not None and rows == cols:
            return rows
    shown = ", ".join("any" if side is None else str(side) for side in shape)
    raise BundleError(f"{path} takes ({shown}), expected (any, 1, size, size); export it again")
