"""ONNX Runtime, an optional second runtime: ``pip install 'pneumoseg[onnxruntime]'``.

It runs on the CPU here, so that all runtimes answer alike; its telemetry is switched off.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pneumoseg.errors import BundleError, RuntimeUnavailableError
from pneumoseg.runtime import check_batch, check_input_shape

_ERRORS_ONLY = 3
"""ONNX Runtime's log severity: 0 verbose, 1 information, 2 warning, 3 error, 4 fatal."""


class OnnxRuntimeNetwork:
    """A network in an ONNX Runtime session; see :class:`pneumoseg.runtime.Network`.

    A session may be shared between threads by its own guarantee, so there is no lock here.
    """

    name = "onnxruntime"
    precision = "f32"

    def __init__(self, path: Path, *, precision: str, threads: int | None) -> None:
        try:
            import onnxruntime
            from onnxruntime.capi.onnxruntime_pybind11_state import (
                Fail,
                InvalidArgument,
                InvalidGraph,
                InvalidProtobuf,
            )
        except ImportError as error:
            raise RuntimeUnavailableError(
                "ONNX Runtime is not installed; run: pip install 'pneumoseg[onnxruntime]'"
            ) from error
        if precision != self.precision:
            raise RuntimeUnavailableError(
                f"ONNX Runtime computes in f32 here, not in {precision}; ask for f32, or for "
                "another runtime"
            )
        onnxruntime.disable_telemetry_events()
        options = onnxruntime.SessionOptions()
        options.log_severity_level = _ERRORS_ONLY
        if threads is not None:
            options.intra_op_num_threads = threads
        try:
            self._session = onnxruntime.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"]
            )
        except (Fail, InvalidArgument, InvalidGraph, InvalidProtobuf) as error:
            raise BundleError(f"{path} is not a network that ONNX Runtime can read") from error
        image = self._session.get_inputs()[0]
        self._input_name = image.name
        self.size = check_input_shape(
            [side if isinstance(side, int) else None for side in image.shape], path
        )

    def run(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Compute logits; see :meth:`pneumoseg.runtime.Network.run`."""
        check_batch(batch, self.size)
        return np.asarray(self._session.run(None, {self._input_name: batch})[0], dtype=np.float32)
