"""Both networks: what goes in and comes out, how large they are, how their layers are called."""

from __future__ import annotations

import pytest
import torch

from pneumoseg.classifier_efficientnet_b3 import EfficientNetB3Classifier
from pneumoseg.segmenter_convnext_tiny import ConvNeXtTinyUNet, ResidualConvBlock, ShallowBranch
from pneumoseg.segmenter_efficientnet_b3 import UNUSED, EfficientNetB3UNet


def _count(model: torch.nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


@pytest.fixture(scope="module")
def classifier() -> EfficientNetB3Classifier:
    return EfficientNetB3Classifier().eval()


@pytest.fixture(scope="module")
def segmenter() -> ConvNeXtTinyUNet:
    return ConvNeXtTinyUNet().eval()


@pytest.mark.parametrize("size", [64, 96])
def test_one_logit_a_film(classifier: EfficientNetB3Classifier, size: int) -> None:
    with torch.inference_mode():
        assert classifier(torch.zeros(2, 1, size, size)).shape == (2, 1)


def test_the_cells_of_the_last_map_share_the_logit(classifier: EfficientNetB3Classifier) -> None:
    """Mean of the shares and the last bias: what the loss on the evidence rests on."""
    films = torch.randn(2, 1, 96, 96, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        logits, cells = classifier(films, evidence=True)
        assert cells.shape == (2, 1, 3, 3)
        assert torch.allclose(logits, classifier(films))
        bias = classifier.backbone.classifier.bias
        assert torch.allclose(cells.mean(dim=(1, 2, 3)) + bias, logits[:, 0], atol=1e-5)


@pytest.mark.parametrize("size", [64, 96])
def test_one_logit_a_pixel(segmenter: ConvNeXtTinyUNet, size: int) -> None:
    """The map is as large as the film: a smaller one could not hold a pleural line."""
    with torch.inference_mode():
        assert segmenter(torch.zeros(2, 1, size, size)).shape == (2, 1, size, size)


def test_sizes(classifier: EfficientNetB3Classifier, segmenter: ConvNeXtTinyUNet) -> None:
    """B3 has 12.2 M parameters with its 1000-class head (1536 * 1000 + 1000), 10.7 M without it."""
    assert _count(classifier) == pytest.approx(10.7e6, rel=0.01)
    assert 29e6 < _count(segmenter) < 34e6


def test_logits_are_not_probabilities(
    classifier: EfficientNetB3Classifier, segmenter: ConvNeXtTinyUNet
) -> None:
    """Both end in a linear layer: a sigmoid inside would be applied twice."""
    assert isinstance(classifier.backbone.classifier, torch.nn.Linear)
    assert isinstance(segmenter.head, torch.nn.Conv2d)


def test_names_that_weights_files_rely_on(
    classifier: EfficientNetB3Classifier, segmenter: ConvNeXtTinyUNet
) -> None:
    assert all(name.startswith("backbone.") for name in classifier.state_dict())
    first = {name.partition(".")[0] for name in segmenter.state_dict()}
    assert first == {"encoder", "shallow", "decoder", "head"}


def test_without_shallow_skips_the_branch_is_gone() -> None:
    bare = ConvNeXtTinyUNet(shallow_skips=False).eval()
    assert not any(name.startswith("shallow.") for name in bare.state_dict())
    with torch.inference_mode():
        assert bare(torch.zeros(1, 1, 64, 64)).shape == (1, 1, 64, 64)


def test_shallow_skips_carry_single_pixels(segmenter: ConvNeXtTinyUNet) -> None:
    """Half resolution first, as the decoder takes them; one pixel of the film is not lost."""
    film = torch.zeros(1, 1, 64, 64)
    film[0, 0, 20, 30] = 1
    assert segmenter.shallow is not None
    with torch.inference_mode():
        dark = segmenter.shallow(torch.zeros(1, 1, 64, 64))
        half, full = segmenter.shallow(film)
    assert half.shape == (1, 24, 32, 32) and full.shape == (1, 12, 64, 64)
    seen = (full - dark[1]).abs().sum(dim=1)[0].nonzero()
    assert seen.min(dim=0).values.tolist() == [19, 29]
    assert seen.max(dim=0).values.tolist() == [21, 31]


def test_a_block_is_residual() -> None:
    """With its convolutions at zero only the short cut is left: GELU(1 * x)."""
    block = ResidualConvBlock(1, 1).eval()
    with torch.no_grad():
        block.conv1.weight.zero_()
        block.conv2.weight.zero_()
        block.shortcut.weight.fill_(1.0)
        x = torch.linspace(-2, 2, 16).reshape(1, 1, 4, 4)
        assert torch.allclose(block(x), torch.nn.functional.gelu(x))


def test_every_parameter_learns() -> None:
    """A layer that forward leaves out would keep its random weights for ever."""
    models = (
        EfficientNetB3Classifier(),
        ConvNeXtTinyUNet(drop_path_rate=0.0),
        EfficientNetB3UNet(drop_path_rate=0.0),
    )
    for model in models:
        model.train()
        model(torch.randn(2, 1, 64, 64)).sum().backward()
        assert [name for name, p in model.named_parameters() if p.grad is None] == []


def test_the_branch_alone_has_the_channels_it_says() -> None:
    half, full = ShallowBranch((6, 4))(torch.zeros(2, 1, 8, 8))
    assert half.shape == (2, 6, 4, 4) and full.shape == (2, 4, 8, 8)


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
