"""Stage two on ConvNeXt-Tiny: what goes in and comes out, how its layers are called."""

from __future__ import annotations

import pytest
import torch

from pneumoseg.segmenter_convnext_tiny import ConvNeXtTinyUNet, ResidualConvBlock, ShallowBranch


@pytest.fixture(scope="module")
def segmenter() -> ConvNeXtTinyUNet:
    return ConvNeXtTinyUNet().eval()


@pytest.mark.parametrize("size", [64, 96])
def test_one_logit_a_pixel(segmenter: ConvNeXtTinyUNet, size: int) -> None:
    """The map is as large as the film: a smaller one could not hold a pleural line."""
    with torch.inference_mode():
        assert segmenter(torch.zeros(2, 1, size, size)).shape == (2, 1, size, size)


def test_size(segmenter: ConvNeXtTinyUNet) -> None:
    assert 29e6 < sum(p.numel() for p in segmenter.parameters()) < 34e6


def test_logits_are_not_probabilities(segmenter: ConvNeXtTinyUNet) -> None:
    """It ends in a convolution: a sigmoid inside would be applied twice."""
    assert isinstance(segmenter.head, torch.nn.Conv2d)


def test_names_that_weights_files_rely_on(segmenter: ConvNeXtTinyUNet) -> None:
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


def test_the_branch_alone_has_the_channels_it_says() -> None:
    half, full = ShallowBranch((6, 4))(torch.zeros(2, 1, 8, 8))
    assert half.shape == (2, 6, 4, 4) and full.shape == (2, 4, 8, 8)


def test_every_parameter_learns() -> None:
    """A layer that forward leaves out would keep its random weights for ever."""
    model = ConvNeXtTinyUNet(drop_path_rate=0.0).train()
    model(torch.randn(2, 1, 64, 64)).sum().backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []
