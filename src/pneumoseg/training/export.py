"""From a trained PyTorch network to the file a bundle ships.

Two steps. ``export_network`` writes the network as ONNX in float32, every parameter under its
PyTorch name, so that the file can be read back into the class (``runtime.torch``).
``quantise_weights`` then stores large weights as int8 with one scale per output channel behind
``DequantizeLinear``: a quarter of the size, while all arithmetic stays in float32.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from onnxscript import ir, optimizer

from pneumoseg.errors import BundleError
from pneumoseg.runtime import NETWORK_METADATA, load_network
from pneumoseg.runtime.torch import TorchNetwork

OPSET = 18
"""ONNX operator set: the oldest that PyTorch's exporter writes without converting."""

INPUT_NAME, OUTPUT_NAME, BATCH_NAME = "image", "logits", "batch"

SMALLEST_QUANTISED = 20_000
"""Weights of fewer elements stay float32.

The many small filters (depthwise, squeeze-and-excite, stems) cost little and hurt most: from 1,024
to 20,000 the pair of networks grows from 44.7 to 46.5 MB and the classifier's int8 error in logits
halves. Beyond, only the size goes on growing.
"""

_INT8_MAX = 127  # symmetric: -128 is not used, zero stays exactly zero

_OUTPUT_AXIS = {"Conv": 0, "ConvTranspose": 1}
"""Axis of the output channels in a weight, by operator (ONNX operator reference)."""


def export_network(module: torch.nn.Module, path: Path, *, size: int) -> Path:
    """Write a network as one self-contained float32 ONNX file.

    Args:
        module: (B, 1, size, size) -> logits; a copy in inference form is exported, on the CPU.
        path: the file to be.
        size: side of the square input in pixels.

    Returns:
        ``path``. The file has one input ``image`` and one output ``logits`` with a free, named
        batch dimension, no external data, and the class's name in its metadata.
    """
    example = torch.zeros(2, 1, size, size)  # not 1: the exporter would take that for a constant
    program = torch.onnx.export(
        copy.deepcopy(module).eval().cpu(),
        (example,),
        dynamo=True,
        dynamic_shapes=({0: torch.export.Dim(BATCH_NAME)},),
        input_names=[INPUT_NAME],
        output_names=[OUTPUT_NAME],
        opset_version=OPSET,
        optimize=False,  # the full optimiser fuses BatchNorm and loses the parameters' names
        verbose=False,
    )
    if program is None:
        raise BundleError(f"PyTorch exported nothing for {type(module).__name__}")
    parameters = set(program.model.graph.initializers)
    optimizer.fold_constants(
        program.model,
        # A folded parameter would come back under another name. None: decide as usual.
        should_fold=lambda node: False if _computes_from(node, parameters) else None,
    )
    optimizer.remove_unused_nodes(program.model)
    model = _without_traces(program.model_proto)
    onnx.helper.set_model_props(model, {NETWORK_METADATA: type(module).__name__})
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)
    return path


def quantise_weights(path_in: Path, path_out: Path, *, smallest: int = SMALLEST_QUANTISED) -> Path:
    """Store large weights as int8 per output channel, symmetric, behind ``DequantizeLinear``.

    For each output channel scale = max|w| / 127, so a weight moves by at most half of that. The
    node's output carries the weight's old name; what reads it does not change.

    Args:
        path_in: a file of :func:`export_network`.
        path_out: the file to be; may be ``path_in``.
        smallest: weights of fewer elements stay float32.

    Returns:
        ``path_out``.

    Raises:
        BundleError: a large weight feeds two operators that order its channels differently.
    """
    model = onnx.load(path_in)
    axes = _quantisable(model.graph, smallest)
    kept, nodes = [], []
    for weight in model.graph.initializer:
        if weight.name not in axes:
            kept.append(weight)
            continue
        axis = axes[weight.name]
        integers, scale = quantise(numpy_helper.to_array(weight), axis)
        names = [f"{weight.name}.int8", f"{weight.name}.scale"]
        kept += [numpy_helper.from_array(integers, names[0])]
        kept += [numpy_helper.from_array(scale, names[1])]
        nodes.append(
            onnx.helper.make_node(
                "DequantizeLinear", names, [weight.name], f"dequantise {weight.name}", axis=axis
            )
        )
    nodes += list(model.graph.node)
    del model.graph.initializer[:], model.graph.node[:]
    model.graph.initializer.extend(kept)
    model.graph.node.extend(nodes)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path_out)
    return path_out


def quantise(
    weight: NDArray[np.float32], axis: int
) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Symmetric int8 with one scale per index of ``axis``.

    Returns:
        int8 of the weight's shape, in [-127, 127], and float32 (channels,) scales, all positive;
        ``int8 * scale`` is within half a scale of the weight.
    """
    others = tuple(dimension for dimension in range(weight.ndim) if dimension != axis)
    largest = np.abs(weight).max(axis=others, keepdims=True)
    # A channel of zeros gets scale 1: any positive number will do.
    scale = np.where(largest > 0, largest / _INT8_MAX, 1.0).astype(np.float32)
    integers = np.clip(np.rint(weight / scale), -_INT8_MAX, _INT8_MAX).astype(np.int8)
    return integers, scale.reshape(-1)


@dataclass(frozen=True)
class Agreement:
    """How far an exported file is from its PyTorch network on the same inputs, in logits."""

    largest: float
    mean: float
    sign_flips: int
    """Outputs on the other side of logit 0, among ``n``."""
    n: int


def compare(
    module: torch.nn.Module, files: Mapping[str, Path], batches: Sequence[NDArray[np.float32]]
) -> dict[str, Agreement]:
    """Hold exported files against the network they came from, in the default runtime.

    Args:
        module: the PyTorch network.
        files: ONNX files by a name of the caller's choice, e.g. ``{"f32": ..., "int8": ...}``.
        batches: float32 (B, 1, size, size) each; at least one.

    Returns:
        Agreement of each file over all outputs of all batches.
    """
    reference = TorchNetwork(module, size=batches[0].shape[-1])
    networks = {name: load_network(path) for name, path in files.items()}
    largest, total = dict.fromkeys(files, 0.0), dict.fromkeys(files, 0.0)
    flips, count = dict.fromkeys(files, 0), 0
    for batch in batches:
        expected = reference.run(batch)
        count += expected.size
        for name, network in networks.items():
            logits = network.run(batch)
            difference = np.abs(logits - expected)
            largest[name] = max(largest[name], float(difference.max()))
            total[name] += float(difference.sum(dtype=np.float64))
            flips[name] += int(np.count_nonzero((logits > 0) != (expected > 0)))
    return {
        name: Agreement(largest[name], total[name] / count, flips[name], count) for name in files
    }


def _quantisable(graph: onnx.GraphProto, smallest: int) -> dict[str, int]:
    """Weights of at least ``smallest`` elements and the axis of their output channels."""
    sizes = {w.name: int(np.prod(w.dims)) for w in graph.initializer if len(w.dims) > 1}
    axes: dict[str, int] = {}
    for node in graph.node:
        for position, name in enumerate(node.input):
            if sizes.get(name, 0) < smallest:
                continue
            axis = _output_axis(node, position, graph)
            if axis is None:
                sizes[name] = 0  # some other use: leave the weight as it is
                axes.pop(name, None)
            elif axes.setdefault(name, axis) != axis:
                raise BundleError(f"the weight {name} is used with two channel orders")
    return axes


def _output_axis(node: onnx.NodeProto, position: int, graph: onnx.GraphProto) -> int | None:
    """Axis of the output channels of the weight at an operator's second input, or None."""
    attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    if node.op_type == "Transpose":
        # PyTorch's Linear: the weight (out, in) is transposed, then multiplied.
        readers = [n for n in graph.node if node.output[0] in n.input]
        if all(n.op_type == "MatMul" and n.input[1] == node.output[0] for n in readers):
            return int(attributes["perm"][-1])
        return None
    if position != 1:
        return None
    if node.op_type == "Gemm":
        return 0 if attributes.get("transB") else 1
    if node.op_type == "MatMul":
        weight = next(w for w in graph.initializer if w.name == node.input[1])
        return len(weight.dims) - 1
    return _OUTPUT_AXIS.get(node.op_type)


def _computes_from(node: ir.Node, parameters: Set[str]) -> bool:
    """Whether a node reads a parameter's values, not merely its shape."""
    return node.op_type != "Shape" and any(
        value is not None and value.name in parameters for value in node.inputs
    )


def _without_traces(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy without the exporter's notes: source lines and paths of the machine it ran on."""
    clean = onnx.ModelProto()
    clean.CopyFrom(model)
    graph = clean.graph
    parts = [*graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer]
    for part in [clean, graph, *parts]:
        part.ClearField("doc_string")
        part.ClearField("metadata_props")
    del graph.value_info[:]  # inferred again by every reader
    return clean
