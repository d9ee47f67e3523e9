"""Running a network: one small Protocol, three runtimes behind it.

OpenVINO is the default and the only one installed with the package. ONNX Runtime serves other
devices, PyTorch is the reference the others are compared with. Each is imported when it is named,
and none is ever replaced by another in silence; :mod:`pneumoseg.runtime.choice` says what ``auto``
stands for.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pneumoseg.errors import BundleError, at_least
from pneumoseg.runtime.choice import (
    AUTO,
    DEVICES,
    PRECISIONS,
    RUNTIMES,
    Choice,
    choose_runtime,
)

__all__ = [
    "AUTO",
    "DEVICES",
    "NETWORK_METADATA",
    "PRECISIONS",
    "RUNTIMES",
    "Choice",
    "Network",
    "check_batch",
    "check_input_shape",
    "choose_runtime",
    "load_network",
]

NETWORK_METADATA = "pneumoseg.network"
"""Key of the ONNX metadata that names the network's class, e.g. ``EfficientNetB3Classifier``."""


class Network(Protocol):
    """A loaded network.

    One instance may be shared between threads: each call gets the answer to its own batch, and
    waits its turn where the runtime computes no more batches at the same time.
    """

    @property
    def name(self) -> str:
        """The runtime's name, one of ``RUNTIMES``."""

    @property
    def device(self) -> str:
        """Where it really computes, one of ``DEVICES``."""

    @property
    def precision(self) -> str:
        """The precision it really computes in, one of ``PRECISIONS``."""

    @property
    def size(self) -> int:
        """Side of the square input in pixels."""

    @property
    def streams(self) -> int:
        """Films of a batch that are computed at the same time; 1: the batch is computed as one."""

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
    path: Path,
    *,
    runtime: str = "openvino",
    device: str = AUTO,
    precision: str = "f32",
    threads: int | None = None,
    streams: int | None = None,
) -> Network:
    """Load an ONNX file into a runtime.

    Args:
        path: a file made by ``pneumoseg.training.export``, input ``image``, output ``logits``.
        runtime: ``openvino``, ``onnxruntime`` or ``torch``; ``auto`` for what
            :func:`choose_runtime` finds.
        device: ``cpu``; ``cuda`` (ONNX Runtime, torch); ``auto`` as :func:`choose_runtime`.
        precision: ``f32``, or ``bf16`` where runtime and device have it.
        threads: number of processor threads, all streams together, or None for the runtime's own
            choice.
        streams: how many films OpenVINO computes at the same time; None for one a thread, up to 4,
            which answers most films a second; 1 answers a single film soonest. There are never more
            than threads. The other runtimes take a batch as one, whatever is given.

    Raises:
        UsageError: an unknown runtime, device or precision, a device that the runtime never has,
            or a number of threads or streams below 1.
        BundleError: the file is missing or not a network.
        RuntimeUnavailableError: the runtime is not installed, or lacks the device or the precision
            here.
    """
    for what, count in (("threads", threads), ("streams", streams)):
        at_least(what, count, 1)
    choice = choose_runtime(runtime, device=device, precision=precision)
    if not path.is_file():
        raise BundleError(f"the network file {path} does not exist")
    if choice.runtime == "openvino":
        from pneumoseg.runtime.openvino import OpenVinoNetwork

        return OpenVinoNetwork(path, precision=precision, threads=threads, streams=streams)
    if choice.runtime == "onnxruntime":
        from pneumoseg.runtime.onnxruntime import OnnxRuntimeNetwork

        return OnnxRuntimeNetwork(path, device=choice.device, precision=precision, threads=threads)
    from pneumoseg.runtime.torch import load_torch_network

    return load_torch_network(path, device=choice.device, precision=precision, threads=threads)


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
