"""ONNX Runtime, an optional second runtime: ``pip install 'pneumoseg[onnxruntime]'``.

With onnxruntime-gpu its CUDA execution provider reaches NVIDIA's GPUs. ONNX Runtime goes
on with the CPU in silence when a provider cannot start; so what it took is looked up, and another
device than the named one is refused. Its telemetry is switched off.

Sources: https://onnxruntime.ai/docs/execution-providers, one page a provider.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pneumoseg.errors import BundleError, RuntimeUnavailableError
from pneumoseg.runtime import INSTALL, check_batch, check_input_shape

_ERRORS_ONLY = 3
"""ONNX Runtime's log severity: 0 verbose, 1 information, 2 warning, 3 error, 4 fatal."""

_PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
}
"""Device -> the name of its execution provider."""

_CUDA_OPTIONS = {
    "use_tf32": "0",  # f32 means f32: TensorFloat-32 keeps 10 bits of the 23
    "cudnn_conv_algo_search": "HEURISTIC",  # the default tries all, for every new size of a batch
}


class OnnxRuntimeNetwork:
    """A network in an ONNX Runtime session; see :class:`pneumoseg.runtime.Network`.

    A session may be shared between threads by its own guarantee.
    """

    name = "onnxruntime"
    streams = 1
    precision = "f32"

    def __init__(
        self,
        path: Path,
        *,
        device: str = "cpu",
        precision: str = "f32",
        threads: int | None = None,
    ) -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise RuntimeUnavailableError(
                f"ONNX Runtime is not installed; run: {INSTALL['onnxruntime']}"
            ) from error
        if precision != self.precision:
            raise RuntimeUnavailableError(
                f"ONNX Runtime computes in f32 here, not in {precision}; ask for f32, or for "
                "another runtime"
            )
        onnxruntime.disable_telemetry_events()
        self.device = device
        self._session = _open_session(onnxruntime, path, device, threads)
        image = self._session.get_inputs()[0]
        self._input_name = image.name
        self.size = check_input_shape(
            [side if isinstance(side, int) else None for side in image.shape], path
        )

    def run(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Compute logits; see :meth:`pneumoseg.runtime.Network.run`."""
        check_batch(batch, self.size)
        logits = self._session.run(None, {self._input_name: batch})[0]
        return np.asarray(logits, dtype=np.float32)


def _open_session(onnxruntime: Any, path: Path, device: str, threads: int | None) -> Any:
    """Open a session on the device, and see that it is there.

    Raises:
        BundleError: the file is not a network.
        RuntimeUnavailableError: the device's provider is missing, or could not start.
    """
    provider = _PROVIDERS[device]
    present = onnxruntime.get_available_providers()
    if provider not in present:
        devices = ", ".join(name for name, known in _PROVIDERS.items() if known in present)
        raise RuntimeUnavailableError(
            f"this ONNX Runtime has no device {device!r}, only {devices}; {INSTALL[device]}"
        )
    state = onnxruntime.capi.onnxruntime_pybind11_state
    failures = (state.Fail, state.EPFail, state.RuntimeException, state.NotImplemented)
    try:
        if device == "cuda" and hasattr(onnxruntime, "preload_dlls"):
            onnxruntime.preload_dlls()  # finds CUDA and cuDNN where pip put them
        session = onnxruntime.InferenceSession(
            str(path),
            _session_options(onnxruntime, threads),
            providers=[(provider, _CUDA_OPTIONS) if device == "cuda" else provider],
            enable_fallback=0,
        )
    except (state.InvalidArgument, state.InvalidGraph, state.InvalidProtobuf) as error:
        raise BundleError(f"{path} is not a network that ONNX Runtime can read") from error
    except (*failures, ValueError, RuntimeError) as error:
        if device == "cpu":
            raise BundleError(f"{path} is not a network that ONNX Runtime can run") from error
        raise _cannot_start(device, str(error).partition("\n")[0]) from error
    taken = session.get_providers()
    if taken[0] != provider:
        raise _cannot_start(device, f"it took {taken[0]} instead")
    return session


def _cannot_start(device: str, why: str) -> RuntimeUnavailableError:
    return RuntimeUnavailableError(
        f"ONNX Runtime could not start the device {device!r} ({why}); {INSTALL[device]}, or ask "
        "for the device cpu"
    )


def _session_options(onnxruntime: Any, threads: int | None) -> Any:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _ERRORS_ONLY
    # Weights are stored as int8 behind DequantizeLinear: without this they would be brought back to
    # f32 for every batch, and kept from the fused convolutions.
    options.add_session_config_entry("session.disable_quant_qdq", "1")
    if threads is not None:
        options.intra_op_num_threads = threads
    return options
