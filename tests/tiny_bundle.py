"""A bundle whose networks are built by hand, so that every result can be worked out on paper.

Stage one: logit = 100 * mean(x) + 98, with x = 2 p - 1 for brightness p. Black gives -2.
Stage two: logit = 20 * x at every pixel: brighter than 0.5 is lesion.
"""

from __future__ import annotations

from pathlib import Path

import onnx
from onnx import TensorProto, helper

from pneumoseg.bundle import (
    Bundle,
    Card,
    CardFigure,
    Digests,
    Training,
    write_bundle,
)
from pneumoseg.calibration import Calibration
from pneumoseg.preprocess import Normalisation, Window
from pneumoseg.settings import PipelineConfig
from pneumoseg.study import Modality

SIZE = 512


def tiny_card(**changes: object) -> Card:
    values: dict = {
        "name": "tiny",
        "version": "1.2",
        "modality": Modality.XRAY,
        "classifier_size": SIZE,
        "segmenter_size": SIZE,
        "normalisation": Normalisation(0.5, 0.5),
        "config": PipelineConfig(0.35, 0.5, 200),
        "calibration": Calibration(),
        "training": Training(
            data='None: "by hand" \\ für Tests',
            licence="MIT",
            classifier_init="none",
            segmenter_init="none",
            notes=("Not for patients.", "Second line\nwith a break and a \x7f."),
        ),
        "sha256": Digests("0" * 64, "1" * 64),
        "figures": (
            CardFigure(
                name="auroc",
                value=0.1 + 0.2,
                low=1e-7,
                high=1.0,
                n=100,
                n_positive=20,
                n_patients=90,
                split="test",
                origin="made up",
            ),
            CardFigure(name="lesion_dice", n=0, n_positive=0, split="test", origin="made up"),
        ),
    }
    return Card(**{**values, **changes})


def write_network(path: Path, *, gain: float, offset: float, average: bool, size: int) -> Path:
    pooling = [
        helper.make_node("GlobalAveragePool", ["image"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
    ]
    nodes = [
        *(pooling if average else []),
        helper.make_node("Mul", ["flat" if average else "image", "gain"], ["scaled"]),
        helper.make_node("Add", ["scaled", "offset"], ["logits"]),
    ]
    shape = ("batch", 1, size, size)
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
            helper.make_tensor("gain", TensorProto.FLOAT, [1], [gain]),
            helper.make_tensor("offset", TensorProto.FLOAT, [1], [offset]),
        ],
    )
    opsets = [helper.make_opsetid("", 18)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=10), path)
    return path


def write_tiny_bundle(folder: Path, *, network_size: int = SIZE, **changes: object) -> Bundle:
    parts = folder.parent / f"{folder.name}_parts"
    parts.mkdir(parents=True, exist_ok=True)
    classifier = write_network(
        parts / "c.onnx", gain=100, offset=98, average=True, size=network_size
    )
    segmenter = write_network(parts / "s.onnx", gain=20, offset=0, average=False, size=network_size)
    return write_bundle(folder, tiny_card(**changes), classifier, segmenter)


def write_tiny_ct_bundle(folder: Path, **changes: object) -> Bundle:
    """The same for CT: 0 HU is black and 1000 HU is white, see ``golden/hand_volumes.py``."""
    wanted = {
        "modality": Modality.CT,
        "window": Window(500.0, 1000.0),
        "config": PipelineConfig(0.35, 0.5, 200, min_volume_ml=1.0),
    }
    return write_tiny_bundle(folder, **{**wanted, **changes})
