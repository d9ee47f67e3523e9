"""Exported files give what the PyTorch network gave, take a quarter of the space, and read back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from torch import nn

from pneumoseg.errors import BundleError
from pneumoseg.runtime import NETWORK_METADATA, load_network
from pneumoseg.runtime import torch as torch_runtime
from pneumoseg.runtime.torch import load_weights, read_weights
from pneumoseg.segmenter_convnext_tiny import ConvNeXtTinyUNet
from pneumoseg.segmenter_efficientnet_b3 import EfficientNetB3UNet
from pneumoseg.training.export import compare, export_network, quantise, quantise_weights

SIZE = 32
SMALL = 1024


class Everything(nn.Module):
    """One of each operator that the two real networks use, and a weight of each channel order."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 32, 4, stride=4)
        self.norm = nn.BatchNorm2d(32)
        self.depthwise = nn.Conv2d(32, 32, 7, padding=3, groups=32)
        self.linear = nn.Linear(32, 64)  # on channels-last, as in ConvNeXt: Transpose and MatMul
        self.layer_norm = nn.LayerNorm(64)
        self.layer_scale = nn.Parameter(torch.full((64,), 1e-3))
        self.up = nn.ConvTranspose2d(64, 48, 2, stride=2)
        self.head = nn.Linear(48, 1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = nn.functional.silu(self.norm(self.stem(image)))
        x = self.linear(self.depthwise(x).permute(0, 2, 3, 1))
        x = (self.layer_scale * self.layer_norm(x) + x).permute(0, 3, 1, 2)
        return self.head(nn.functional.gelu(self.up(x)).mean(dim=(2, 3)))


def filled_network() -> Everything:
    """Weights and statistics of order one, so that no part is multiplied by nothing."""
    torch.manual_seed(3)
    network = Everything().eval()
    with torch.no_grad():
        network.norm.running_mean.normal_()
        network.norm.running_var.uniform_(0.5, 2.0)
    return network


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Everything, Path, Path]:
    folder = tmp_path_factory.mktemp("export")
    network = filled_network()
    full = export_network(network, folder / "full.onnx", size=SIZE)
    return network, full, quantise_weights(full, folder / "int8.onnx", smallest=SMALL)


def batches() -> list[np.ndarray]:
    """Images of unlike brightness and contrast, so that their logits differ."""
    rng = np.random.default_rng(0)
    noise = [rng.standard_normal((n, 1, SIZE, SIZE)) for n in (1, 3, 8)]
    return [
        (x * rng.uniform(0.2, 2, (len(x), 1, 1, 1)) + rng.normal(0, 2, (len(x), 1, 1, 1))).astype(
            np.float32
        )
        for x in noise
    ]


def test_float32_is_the_network_and_int8_is_close(exported: tuple[Everything, Path, Path]) -> None:
    """For any batch size; int8 moves a logit by about a hundredth of what logits vary."""
    network, full, small = exported
    agreement = compare(network, {"f32": full, "int8": small}, batches())
    with torch.no_grad():
        spread = float(network(torch.from_numpy(batches()[2])).std())
    assert agreement["f32"].n == 12
    assert agreement["f32"].largest < 1e-5
    assert 0 < agreement["int8"].mean < 0.1 * spread
    assert agreement["int8"].mean <= agreement["int8"].largest


def test_the_file_states_its_contract(exported: tuple[Everything, Path, Path]) -> None:
    for path in exported[1:]:
        model = onnx.load(path, load_external_data=False)
        assert [i.name for i in model.graph.input] == ["image"]
        assert [o.name for o in model.graph.output] == ["logits"]
        dims = model.graph.input[0].type.tensor_type.shape.dim
        assert [d.dim_param or d.dim_value for d in dims] == ["batch", 1, SIZE, SIZE]
        assert {p.key: p.value for p in model.metadata_props} == {NETWORK_METADATA: "Everything"}
        assert all(w.data_location == TensorProto.DEFAULT for w in model.graph.initializer)


def test_no_path_of_the_exporting_machine_is_shipped(
    exported: tuple[Everything, Path, Path],
) -> None:
    """PyTorch notes file names and source lines at every node."""
    for path in exported[1:]:
        data = path.read_bytes()
        assert b".py" not in data
        assert b"stack_trace" not in data


def test_large_weights_are_int8_and_small_ones_are_not(
    exported: tuple[Everything, Path, Path],
) -> None:
    graph = onnx.load(exported[2]).graph
    types = {w.name: w.data_type for w in graph.initializer}
    axes = {n.output[0]: n.attribute[0].i for n in graph.node if n.op_type == "DequantizeLinear"}
    assert axes == {"depthwise.weight": 0, "linear.weight": 0, "up.weight": 1}
    assert types["linear.weight.int8"] == TensorProto.INT8
    for name in ("stem.weight", "head.weight", "norm.running_var", "layer_scale", "linear.bias"):
        assert types[name] == TensorProto.FLOAT
    scales = {w.name: list(w.dims) for w in graph.initializer if w.name.endswith(".scale")}
    assert scales == {
        "depthwise.weight.scale": [32],
        "linear.weight.scale": [64],
        "up.weight.scale": [48],
    }


def test_weights_are_read_back_by_name(exported: tuple[Everything, Path, Path]) -> None:
    """float32 to the bit, int8 within half a step: training can start from a bundle."""
    network, full, small = exported
    exact, near = read_weights(full), read_weights(small)
    for name, tensor in network.state_dict().items():
        if name.endswith("num_batches_tracked"):
            continue
        np.testing.assert_array_equal(exact[name], tensor.numpy())
        step = float(tensor.abs().max()) / 127
        np.testing.assert_allclose(near[name], tensor.numpy(), atol=0.5 * step + 1e-7)


def test_the_torch_runtime_rebuilds_the_network(
    exported: tuple[Everything, Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reference and the default runtime agree on the very same int8 file."""
    monkeypatch.setitem(torch_runtime.NETWORKS, "Everything", __name__)
    reference = load_network(exported[2], runtime="torch")
    assert (reference.name, reference.size) == ("torch", SIZE)
    for name in ("openvino", "onnxruntime"):
        other = load_network(exported[2], runtime=name)
        np.testing.assert_allclose(other.run(batches()[1]), reference.run(batches()[1]), atol=1e-5)


def test_weights_of_another_network_are_refused(exported: tuple[Everything, Path, Path]) -> None:
    other = Everything()
    other.head = nn.Linear(48, 2)
    before = {name: tensor.clone() for name, tensor in other.state_dict().items()}
    with pytest.raises(BundleError, match=r"expects head\.weight of shape \(2, 48\)"):
        load_weights(other, exported[1])
    assert all(torch.equal(tensor, before[name]) for name, tensor in other.state_dict().items())


def test_exporting_leaves_the_network_as_it_was(tmp_path: Path) -> None:
    """Training goes on after an export: train() and requires_grad must survive it."""
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2)).train()
    network[0].eval()
    export_network(network, tmp_path / "net.onnx", size=SIZE)
    assert network.training
    assert not network[0].training
    assert network[1].num_batches_tracked == 0


def test_quantise_by_hand() -> None:
    """Scale = largest / 127 per channel; 0.5 of 1.0 is 63.5, which rounds to the even 64."""
    weight = np.array([[1.0, -0.5, 0.0], [0.0, 0.0, 0.0], [-254.0, 2.0, 4.0]], np.float32)
    integers, scale = quantise(weight, 0)
    np.testing.assert_array_equal(integers, [[127, -64, 0], [0, 0, 0], [-127, 1, 2]])
    np.testing.assert_allclose(scale, [1 / 127, 1.0, 2.0], rtol=1e-6)
    assert (integers.dtype, scale.dtype) == (np.int8, np.float32)
    by_column, column_scale = quantise(weight, 1)
    assert by_column[2].tolist() == [-127, 127, 127]
    np.testing.assert_allclose(column_scale, [2.0, 2 / 127, 4 / 127], rtol=1e-6)


def by_hand(path: Path, nodes: list, weight: np.ndarray) -> Path:
    graph = helper.make_graph(
        nodes,
        "by_hand",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 64])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 64])],
        [onnx.numpy_helper.from_array(weight, "w")],
    )
    opsets = [helper.make_opsetid("", 18)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=10), path)
    return path


@pytest.mark.parametrize(
    ("node", "axis"),
    [
        (helper.make_node("MatMul", ["x", "w"], ["y"]), 1),
        (helper.make_node("Gemm", ["x", "w"], ["y"]), 1),
        (helper.make_node("Gemm", ["x", "w"], ["y"], transB=1), 0),
    ],
    ids=["MatMul", "Gemm", "Gemm transB"],
)
def test_the_scale_lies_along_the_output_channels(
    node: onnx.NodeProto, axis: int, tmp_path: Path
) -> None:
    """Output channels a thousandfold apart: scales along the other axis would crush small ones."""
    weight = np.random.default_rng(1).standard_normal((64, 64)).astype(np.float32)
    sizes = np.logspace(-3, 0, 64, dtype=np.float32)
    weight *= sizes[:, None] if axis == 0 else sizes[None, :]
    path = by_hand(tmp_path / "net.onnx", [node], weight)
    back = read_weights(quantise_weights(path, path, smallest=SMALL))["w"]  # in place
    error = np.abs(back - weight).max(axis=1 - axis) / np.abs(weight).max(axis=1 - axis)
    assert error.max() <= 0.5 / 127 + 1e-6


def test_a_weight_with_another_use_stays_float(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["h"]),
        helper.make_node("Add", ["h", "w"], ["y"]),
    ]
    weight = np.ones((64, 64), np.float32)
    path = by_hand(tmp_path / "net.onnx", nodes, weight)
    graph = onnx.load(quantise_weights(path, tmp_path / "int8.onnx", smallest=SMALL)).graph
    assert [w.name for w in graph.initializer] == ["w"]


def test_a_weight_used_in_two_orders_is_an_error(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Gemm", ["x", "w"], ["h"]),
        helper.make_node("Gemm", ["h", "w"], ["y"], transB=1),
    ]
    path = by_hand(tmp_path / "net.onnx", nodes, np.ones((64, 64), np.float32))
    with pytest.raises(BundleError, match="two channel orders"):
        quantise_weights(path, tmp_path / "int8.onnx", smallest=SMALL)


@pytest.mark.parametrize(
    ("kind", "most_bytes"), [(ConvNeXtTinyUNet, 36e6), (EfficientNetB3UNet, 15e6)]
)
def test_the_real_segmenters_make_the_round_trip(
    kind: type[torch.nn.Module], most_bytes: float, tmp_path: Path
) -> None:
    """Every parameter keeps its name through export and int8, layer scales and Linears included."""
    torch.manual_seed(1)
    network = kind().eval()
    path = export_network(network, tmp_path / "segmenter.onnx", size=64)
    path = quantise_weights(path, path)
    assert path.stat().st_size < most_bytes  # 129 and 49 MB as float32; 48 MB is a pair's limit
    reference, default = load_network(path, runtime="torch"), load_network(path)
    batch = np.random.default_rng(2).standard_normal((2, 1, 64, 64)).astype(np.float32)
    np.testing.assert_allclose(default.run(batch), reference.run(batch), atol=1e-4)
