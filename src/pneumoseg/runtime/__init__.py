"""Running a network: one small Protocol, three runtimes behind it, and which of them to take.

OpenVINO is the default and the only one installed with the package. ONNX Runtime serves other
devices, PyTorch is the reference the others are compared with. Each is imported when it is named,
and none is ever replaced by another in silence.

What ``auto`` stands for is found out in milliseconds, without importing any: an installed package
leaves its folder where Python looks for modules, and its GPU part is a library in that folder.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pneumoseg.errors import BundleError, RuntimeUnavailableError, UsageError
from pneumoseg.preprocess import Normalisation, to_tensor
from pneumoseg.settings import at_least

RUNTIMES = ("openvino", "onnxruntime", "torch")
DEVICES = ("cpu", "cuda")
"""CUDA is held by tests with made-up sessions and drivers; on a card it has not run yet."""
PRECISIONS = ("f32", "bf16")

AUTO = "auto"
"""Take the first runtime, or device, of ``_PREFERENCE`` that is here."""

_PREFERENCE = (
    ("onnxruntime", "cuda"),
    ("torch", "cuda"),
    ("openvino", "cpu"),
    ("onnxruntime", "cpu"),
    ("torch", "cpu"),
)
"""Every runtime with each of its devices, the preferred ones first."""

_WITH_BF16 = (("openvino", "cpu"), ("torch", "cuda"))

_PACKAGES = {
    "openvino": ("openvino",),
    "onnxruntime": ("onnxruntime",),
    "torch": ("torch", "onnx", "timm"),
}
"""Import names that a runtime needs."""

_LIBRARIES = {
    ("onnxruntime", "cuda"): ("onnxruntime", "capi/*onnxruntime_providers_cuda.*"),
    ("torch", "cuda"): ("torch", "lib/*torch_cuda.*"),
}
"""The library that a build for the device has and others lack: package, pattern in its folder."""

INSTALL = {
    "openvino": "pip install openvino",
    "onnxruntime": "pip install 'pneumoseg[onnxruntime]'",
    "torch": "pip install 'pneumoseg[train]'",
    "cuda": "install NVIDIA's driver, then: pip uninstall onnxruntime; "
    "pip install 'onnxruntime-gpu[cuda,cudnn]'",
}
"""What to do where a runtime or a device is missing."""


NETWORK_METADATA = "pneumoseg.network"
"""Key of the ONNX metadata that names the network's class, e.g. ``EfficientNetB3Classifier``."""


@dataclass(frozen=True)
class Choice:
    """What runs the networks.

    Attributes:
        runtime: one of ``RUNTIMES``.
        device: one of ``DEVICES``.
        reason: why, as the end of a sentence.
    """

    runtime: str
    device: str
    reason: str

    def __str__(self) -> str:
        return f"{self.runtime} on {self.device}: {self.reason}"


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
        runtime: one of ``RUNTIMES``, or ``auto`` for what :func:`choose_runtime` finds.
        device: ``cpu``, ``cuda`` (ONNX Runtime, torch), or ``auto`` likewise.
        precision: ``f32``, or ``bf16`` where runtime and device have it.
        threads: processor threads, all streams together, or None for the runtime's own choice.
        streams: films OpenVINO computes at the same time, never more than threads; None for one a
            thread, up to 4, which answers most films a second; 1 answers a single film soonest. The
            other runtimes take a batch as one.

    Raises:
        UsageError: an unknown name, a device that the runtime never has, or a count below 1.
        BundleError: the file is missing or not a network.
        RuntimeUnavailableError: the runtime is not installed, or lacks device or precision here.
    """
    at_least("threads", threads, 1)
    at_least("streams", streams, 1)
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


def run_on_grids(
    network: Network,
    grids: Sequence[NDArray[np.uint8]],
    normalisation: Normalisation,
    *,
    mirror: bool = False,
) -> NDArray[np.float32]:
    """The one road from films on the grid to logits: float32 (B, 1) or (B, 1, S, S), all finite.

    Args:
        network: either stage.
        grids: uint8 (512, 512) each, of :func:`pneumoseg.preprocess.to_grid`; at least one.
        normalisation: the card's.
        mirror: average the logits of each film and of its mirror image; takes twice as long.

    Raises:
        BundleError: the network gives a logit that is not a number.
    """
    batch = np.stack([to_tensor(grid, network.size, normalisation) for grid in grids])
    if mirror:
        batch = np.concatenate([batch, batch[..., ::-1]])
    logits = network.run(batch)
    if not np.isfinite(logits).all():
        raise BundleError(
            "a network of the bundle gave a logit that is not a number; the bundle is unusable in "
            f"this runtime ({network.name}) and precision ({network.precision})"
        )
    if not mirror:
        return logits
    plain, mirrored = np.split(logits, 2)
    if logits.ndim == 4:
        mirrored = mirrored[..., ::-1]
    return np.asarray((plain + mirrored) / 2, dtype=np.float32)


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


def choose_runtime(
    runtime: str = AUTO, *, device: str = AUTO, precision: str = PRECISIONS[0]
) -> Choice:
    """Choose what ``auto`` stands for on this computer; what is named is never replaced.

    A GPU first that an installed ONNX Runtime or PyTorch can use, then OpenVINO, ONNX Runtime and
    PyTorch on the processor. Where the names leave nothing to choose, only the runtime is looked
    for; whether it has the device shows when a network is loaded.

    Args:
        runtime: one of ``RUNTIMES``, or ``auto``.
        device: one of ``DEVICES``, or ``auto``.
        precision: one of ``PRECISIONS``; what cannot compute in it is passed over.

    Raises:
        UsageError: an unknown name, or a device that the runtime never has.
        RuntimeUnavailableError: the runtime, or all that could be chosen, is not available here.
    """
    _require_known("runtime", runtime, (AUTO, *RUNTIMES))
    _require_known("device", device, (AUTO, *DEVICES))
    _require_known("precision", precision, PRECISIONS)
    candidates = [
        (name, on) for name, on in _PREFERENCE if runtime in (AUTO, name) and device in (AUTO, on)
    ]
    if not candidates:
        devices = ", ".join(pair[1] for pair in _PREFERENCE if pair[0] == runtime)
        raise UsageError(
            f"the runtime {runtime} has no device {device!r}; choose one of {devices}, or another "
            "runtime"
        )
    named = candidates[0][0] if len(candidates) == 1 else runtime
    if named != AUTO and not _is_installed(named):
        raise RuntimeUnavailableError(
            f"the runtime {named} is not installed; run: {INSTALL[named]}"
        )
    if len(candidates) == 1:
        return Choice(*candidates[0], "as asked for")
    for pair in candidates:
        if (precision == "f32" or pair in _WITH_BF16) and _is_present(pair):
            return Choice(*pair, _reason(pair, runtime, device, precision))
    raise _nothing_found(runtime, device, precision)


def _is_present(pair: tuple[str, str]) -> bool:
    runtime, device = pair
    if not _is_installed(runtime):
        return False
    if pair in _LIBRARIES:
        package, pattern = _LIBRARIES[pair]
        folder = _package_folder(package)
        if folder is None or not any(folder.glob(pattern)):
            return False
    return device != "cuda" or nvidia_gpus() > 0


def _reason(pair: tuple[str, str], runtime: str, device: str, precision: str) -> str:
    name, taken = pair
    if device != AUTO:
        return f"the first installed runtime that computes in {precision} on {device}"
    if taken == "cuda":
        return f"an NVIDIA GPU is here, and {name} is built for it"
    who = "an installed runtime" if runtime == AUTO else name
    return f"no GPU is here that {who} can use in {precision}"


def _nothing_found(runtime: str, device: str, precision: str) -> RuntimeUnavailableError:
    present = [f"{name} on {on}" for name, on in _PREFERENCE if _is_present((name, on))]
    who = "no installed runtime" if runtime == AUTO else f"{runtime} does not"
    verb = "computes" if runtime == AUTO else "compute"
    where = "" if device == AUTO else f" on {device}"
    if precision == "f32":
        advice = INSTALL["openvino" if device in (AUTO, "cpu") else device]
    else:
        advice = "ask for f32, or for another runtime or device"
    return RuntimeUnavailableError(
        f"{who} {verb} in {precision}{where} here; found: {', '.join(present) or 'nothing'}; "
        f"{advice}"
    )


def _require_known(what: str, name: str, known: tuple[str, ...]) -> None:
    if name not in known:
        raise UsageError(f"unknown {what} {name!r}; choose one of {', '.join(known)}")


def _is_installed(runtime: str) -> bool:
    return all(_package_folder(package) is not None for package in _PACKAGES[runtime])


def _package_folder(package: str) -> Path | None:
    """Folder of an installed package, or None; the package is not imported."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(next(iter(spec.submodule_search_locations)))


def available_cores() -> int:
    """Processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def nvidia_gpus() -> int:
    """NVIDIA GPUs that this process may use, by the CUDA Driver API; 0 without a driver."""
    import ctypes

    try:
        driver = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return 0
    count = ctypes.c_int(0)
    if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0:
        return 0
    return count.value
