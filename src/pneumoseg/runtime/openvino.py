"""OpenVINO on the CPU, the default runtime: it reads the ONNX file as it is.

The precision is set explicitly, because OpenVINO would choose bf16 by itself on processors with
AMX, and numbers would then depend on the machine. Nothing is written to disk, nothing is sent: see
``_import_openvino``.
"""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pneumoseg.errors import BundleError, RuntimeUnavailableError
from pneumoseg.runtime import check_batch, check_input_shape

_TELEMETRY = "openvino_telemetry"


class OpenVinoNetwork:
    """A network compiled for the CPU; see :class:`pneumoseg.runtime.Network`."""

    name = "openvino"

    def __init__(self, path: Path, *, precision: str, threads: int | None) -> None:
        openvino = _import_openvino()
        core = openvino.Core()
        # One stream, all threads on one batch: batches come one after another.
        options: dict[str, Any] = {
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": 1,
            "INFERENCE_PRECISION_HINT": precision,
        }
        if threads is not None:
            options["INFERENCE_NUM_THREADS"] = threads
        try:
            model = core.read_model(path)
        except RuntimeError as error:
            raise BundleError(f"{path} is not a network that OpenVINO can read") from error
        shape = model.input(0).partial_shape
        self.size = check_input_shape(
            [side.get_length() if side.is_static else None for side in shape], path
        )
        self._compiled = core.compile_model(model, "CPU", options)
        self.precision = _precision_of(self._compiled)
        if self.precision != precision:
            raise RuntimeUnavailableError(
                f"this processor cannot compute in {precision}; ask for {self.precision}"
            )
        self._request = self._compiled.create_infer_request()
        self._lock = threading.Lock()

    def run(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Compute logits; see :meth:`pneumoseg.runtime.Network.run`."""
        check_batch(batch, self.size)
        with self._lock:
            self._request.infer([np.ascontiguousarray(batch)], share_inputs=True)
            return np.array(self._request.get_output_tensor(0).data, dtype=np.float32)


def _precision_of(compiled: Any) -> str:
    """The precision OpenVINO settled on, in this project's words."""
    words = {"f32": "f32", "float32": "f32", "bf16": "bf16", "bfloat16": "bf16"}
    word = str(compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name())
    return words.get(word, word)


def _import_openvino() -> Any:
    """Import OpenVINO without its telemetry.

    ``import openvino`` alone reports to its maker and writes a client id to ``~/intel`` when the
    package openvino_telemetry, which it depends on, is found. Hidden during the import, OpenVINO
    uses its own silent stub (``openvino.tools.ovc.telemetry_stub``) for the life of the process.
    """
    if "openvino" in sys.modules or _TELEMETRY in sys.modules:
        import openvino

        return openvino
    sys.modules[_TELEMETRY] = None  # type: ignore[assignment]  # an import of it now fails
    try:
        import openvino
    finally:
        del sys.modules[_TELEMETRY]
    return openvino
