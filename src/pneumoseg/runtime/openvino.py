"""OpenVINO, the default runtime: it reads the ONNX file as it is.

The precision is set explicitly, because OpenVINO would choose bf16 by itself on processors with
AMX, and numbers would then depend on the machine. Nothing is written to disk, nothing is sent: see
``_import_openvino``.
"""

from __future__ import annotations

import queue
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pneumoseg.errors import BundleError, RuntimeUnavailableError
from pneumoseg.runtime import available_cores, check_batch, check_input_shape

MOST_STREAMS = 4
"""Where none are given: each has the memory of a film of its own in both networks."""
_TELEMETRY = "openvino_telemetry"
_FIRST_USE = threading.Lock()


class OpenVinoNetwork:
    """A compiled network; see :class:`pneumoseg.runtime.Network`.

    With several streams a batch is divided among them film by film: a thread that works alone waits
    for no other at the end of each layer, one film's maps stay in the cache, and an answer does not
    depend on what else was in the batch. With one stream a batch is computed as one.

    Attributes:
        streams: how many films (with one stream: batches) are computed at the same time; further
            calls wait.
    """

    name = "openvino"
    device = "cpu"

    def __init__(
        self,
        path: Path,
        *,
        precision: str = "f32",
        threads: int | None = None,
        streams: int | None = None,
    ) -> None:
        with _FIRST_USE:
            openvino = _import_openvino()
            # OpenVINO's first conversion of an array sets up a table. Two threads that come to it
            # at the same time wait for each other for ever, so it is done here, by one.
            _ = openvino.Tensor(np.zeros(1, np.float32)).data
        core = openvino.Core()
        try:
            model = core.read_model(path)
        except RuntimeError as error:
            raise BundleError(f"{path} is not a network that OpenVINO can read") from error
        shape = model.input(0).partial_shape
        self.size = check_input_shape(
            [side.get_length() if side.is_static else None for side in shape], path
        )
        # One stream for each thread of the processor, unless a number is given.
        streams = streams or min(threads or available_cores(), MOST_STREAMS)
        if streams > 1:
            _dequantize_weights(model)
        compiled = _compile(core, model, _options(precision, threads, streams))
        self.precision = _precision_of(compiled)
        if self.precision != precision:
            raise RuntimeUnavailableError(
                f"the processor here cannot compute in {precision}; ask for {self.precision}"
            )
        self.streams = max(1, int(compiled.get_property("NUM_STREAMS")))
        # Last in, first out: a single caller keeps to one request, and to one request's memory.
        self._idle: queue.LifoQueue[Any] = queue.LifoQueue()
        for _ in range(self.streams):
            self._idle.put(compiled.create_infer_request())
        self._workers = ThreadPoolExecutor(self.streams, thread_name_prefix="openvino")

    def run(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Compute logits; see :meth:`pneumoseg.runtime.Network.run`."""
        check_batch(batch, self.size)
        if self.streams == 1 or len(batch) == 1:
            return self._infer(batch)
        films = (batch[k : k + 1] for k in range(len(batch)))
        return np.concatenate(list(self._workers.map(self._infer, films)))

    def _infer(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        request = self._idle.get()
        try:
            request.infer([np.ascontiguousarray(batch)], share_inputs=True)
            return np.array(request.get_output_tensor(0).data, dtype=np.float32)
        finally:
            self._idle.put(request)


def _dequantize_weights(model: Any) -> None:
    """Bring int8 weights back to f32 in the model, before it is compiled for several streams.

    Left to the CPU plugin, that goes wrong with more than one stream: with OpenVINO 2026.4.1 the
    exported networks answer NaN, or numbers of seven digits. One stream is right, and is spared the
    memory that the model's own f32 weights take. Logits move by rounding, less than 1e-5.
    """
    from openvino.passes import ConstantFolding, Manager

    manager = Manager()
    manager.register_pass(ConstantFolding())
    manager.run_passes(model)


def _options(precision: str, threads: int | None, streams: int) -> dict[str, Any]:
    # LATENCY: all threads of a stream on one batch, and not more streams than given.
    options: dict[str, Any] = {
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": streams,
        "INFERENCE_PRECISION_HINT": precision,
        # Else int8 weights make the plugin round the other factor to int8 as well, where the
        # processor has AVX-512 or AMX and one stream keeps the weights int8: f32 would not be f32.
        "DYNAMIC_QUANTIZATION_GROUP_SIZE": 0,
    }
    if threads is not None:
        options["INFERENCE_NUM_THREADS"] = threads
    return options


def _compile(core: Any, model: Any, options: dict[str, Any]) -> Any:
    """Compile for the processor.

    Raises:
        RuntimeUnavailableError: OpenVINO cannot compile for it.
    """
    try:
        return core.compile_model(model, "CPU", options)
    except RuntimeError as error:
        raise RuntimeUnavailableError(
            f"OpenVINO cannot compile the network for cpu with "
            f"{options['INFERENCE_PRECISION_HINT']}; ask for f32, or for another device or runtime"
        ) from error


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
