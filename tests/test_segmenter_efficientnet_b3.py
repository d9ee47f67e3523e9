"""Stage two on the filter's backbone: its maps, and what it shares with stage one."""

from __future__ import annotations

import torch

from pneumoseg.classifier_efficientnet_b3 import EfficientNetB3Classifier
from pneumoseg.segmenter_efficientnet_b3 import UNUSED, EfficientNetB3UNet


def test_the_detector_on_the_filters_backbone() -> None:
    """Its maps have the channels it says, and it holds nothing of the classifier's head."""
    network = EfficientNetB3UNet().eval()
    with torch.inference_mode():
        logits, maps = network(torch.zeros(2, 1, 64, 64), with_features=True)
    assert logits.shape == (2, 1, 64, 64)
    assert [tuple(m.shape[1:]) for m in maps] == [
        (24, 32, 32),
        (32, 16, 16),
        (48, 8, 8),
        (136, 4, 4),
        (384, 2, 2),
    ]
    assert not any(name.startswith(UNUSED) for name in network.state_dict())


def test_a_classifier_becomes_the_encoder() -> None:
    classifier = EfficientNetB3Classifier()
    network = EfficientNetB3UNet(classifier)
    assert network.backbone.conv_stem is classifier.backbone.conv_stem


def test_every_parameter_learns() -> None:
    """A layer that forward leaves out would keep its random weights for ever."""
    model = EfficientNetB3UNet(drop_path_rate=0.0).train()
    model(torch.randn(2, 1, 64, 64)).sum().backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []
