"""Which runtime and device to take, found out without importing any of them.

A package that is installed leaves its folder where Python looks for modules, and its GPU part is a
library in that folder: to look there takes milliseconds, to import PyTorch takes seconds. What is
chosen is loaded and verified by the runtime's own module; nothing else is tried when that fails.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from dataclasses import dataclass
from pathlib import Path

from pneumoseg.errors import RuntimeUnavailableError, UsageError

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
    """Number of NVIDIA GPUs that this process may use, 0 without a driver.

    Asked of the driver itself, by ``cuInit`` and ``cuDeviceGetCount`` of the CUDA Driver API, which
    obey ``CUDA_VISIBLE_DEVICES``.
    """
    import ctypes

    try:
        driver = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return 0
    count = ctypes.c_int(0)
    if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0:
        return 0
    return count.value
