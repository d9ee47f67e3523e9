"""Networks small enough for paper: logits = 2 * image - 0.5, of every pixel or of the mean."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from pneumoseg.runtime import NETWORK_METADATA

SIZE = 4
GAIN, OFFSET = 2.0, -0.5
IN_TORCH = {True: "HandAverager", False: "HandDoubler"}
"""Does it average? -> its class in ``hand_torch``."""


def write_model(path: Path, *, average: bool, shape: tuple = ("batch", 1, SIZE, SIZE)) -> Path:
    nodes = [
        helper.make_node("GlobalAveragePool", ["image"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
    ]
    first = "flat" if average else "image"
    nodes = [*(nodes if average else []), helper.make_node("Mul", [first, "gain"], ["scaled"])]
    nodes.append(helper.make_node("Add", ["scaled", "offset"], ["logits"]))
    graph = helper.make_graph(
        nodes,
        "by_hand",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, shape)],
        [
            helper.make_tensor_value_info(
                "logits", TensorProto.FLOAT, ("batch", 1) if average else shape
            )
        ],
        [
            helper.make_tensor("gain", TensorProto.FLOAT, [1], [GAIN]),
            helper.make_tensor("offset", TensorProto.FLOAT, [1], [OFFSET]),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    helper.set_model_props(model, {NETWORK_METADATA: IN_TORCH[average]})
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return path


def teach_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the torch runtime find the classes that the files above name."""
    from pneumoseg.runtime.torch import NETWORKS

    for name in IN_TORCH.values():
        monkeypatch.setitem(NETWORKS, name, "hand_torch")


def require(runtime: str) -> None:
    """Skip where a runtime is not installed."""
    if importlib.util.find_spec(runtime) is None:
        pytest.skip(f"{runtime} is not installed")


def batch_of(count: int) -> np.ndarray:
    """Image k is filled with k, but for its first pixel, which is k + 16."""
    batch = np.zeros((count, 1, SIZE, SIZE), np.float32) + np.arange(count)[:, None, None, None]
    batch[:, 0, 0, 0] += 16
    return batch.astype(np.float32)
