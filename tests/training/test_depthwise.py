"""The faster gradients of depthwise convolutions against numbers by hand and PyTorch's own."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy

import pytest
import torch
from torch import nn
from torch.utils import cpp_extension

from pneumoseg.classifier_efficientnet_b3 import EfficientNetB3Classifier
from pneumoseg.errors import RuntimeUnavailableError
from pneumoseg.training import depthwise
from pneumoseg.training.depthwise import FastDepthwiseConv2d, use_fast_depthwise

_CHANNELS = 32


@pytest.fixture(scope="module")
def compiled() -> None:
    """The extension, or a skip that says what is missing."""
    try:
        use_fast_depthwise(nn.Identity(), "bf16")
    except RuntimeUnavailableError as error:
        pytest.skip(str(error))


def _convolution(kernel: int, stride: int, padding: int, bias: bool = False) -> nn.Conv2d:
    torch.manual_seed(kernel)
    return nn.Conv2d(_CHANNELS, _CHANNELS, kernel, stride, padding, groups=_CHANNELS, bias=bias).to(
        memory_format=torch.channels_last
    )


def _gradients(
    module: nn.Conv2d, x: torch.Tensor, weighed: torch.Tensor, *, bf16: bool
) -> tuple[torch.Tensor, ...]:
    x = x.clone().requires_grad_(True)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
        y = module(x)
    (y.float() * weighed).sum().backward()
    assert x.grad is not None and module.weight.grad is not None
    bias = torch.zeros(0) if module.bias is None else module.bias.grad
    assert bias is not None
    return y.detach(), x.grad, module.weight.grad, bias


@pytest.mark.usefixtures("compiled")
def test_the_gradient_of_a_filter_by_hand() -> None:
    """Nine pixels of 1 with a border of 0, every output asked for alike: the tap in the middle
    sees nine pixels, one at a side six, one in a corner four.
    """
    module = _convolution(3, 1, 1)
    assert use_fast_depthwise(module, "bf16") == 1
    ones = torch.ones(1, _CHANNELS, 3, 3)
    _, _, of_weight, _ = _gradients(module, ones, ones, bf16=True)
    by_hand = torch.tensor([[4.0, 6.0, 4.0], [6.0, 9.0, 6.0], [4.0, 6.0, 4.0]])
    assert torch.equal(of_weight, by_hand.expand(_CHANNELS, 1, 3, 3))


@pytest.mark.usefixtures("compiled")
def test_the_gradient_of_an_input_by_hand() -> None:
    """Stride 2 over 3×3 pixels, a filter of 1: outputs at the four corners. A corner pixel is read
    by one of them, one at a side by two, the middle by all four.
    """
    module = _convolution(3, 2, 1)
    with torch.no_grad():
        module.weight.fill_(1.0)
    use_fast_depthwise(module, "bf16")
    x, weighed = torch.ones(2, _CHANNELS, 3, 3), torch.ones(2, _CHANNELS, 2, 2)
    _, of_input, _, _ = _gradients(module, x, weighed, bf16=True)
    by_hand = torch.tensor([[1.0, 2.0, 1.0], [2.0, 4.0, 2.0], [1.0, 2.0, 1.0]])
    assert torch.equal(of_input, by_hand.expand(2, _CHANNELS, 3, 3))


@pytest.mark.usefixtures("compiled")
@pytest.mark.parametrize("kernel", [3, 5, 7])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("padded", [True, False])
def test_gradients_are_pytorchs(kernel: int, stride: int, padded: bool) -> None:
    """Beside float32's on the same rounded numbers: the filter's to float32's accuracy, the input's
    to that of bf16, in which it is handed on; the forward pass is PyTorch's own in bf16.
    """
    plain = _convolution(kernel, stride, kernel // 2 if padded else 0, bias=True)
    with torch.no_grad():
        plain.weight.copy_(plain.weight.bfloat16())
    fast = deepcopy(plain)
    assert use_fast_depthwise(fast, "bf16") == 1
    x = torch.randn(3, _CHANNELS, 13, 18).bfloat16().float()
    weighed = torch.randn_like(plain(x)).bfloat16().float()
    output, of_input, of_weight, of_bias = _gradients(fast, x, weighed, bf16=True)
    wanted, input32, weight32, bias32 = _gradients(plain, x, weighed, bf16=False)
    torch.testing.assert_close(of_weight, weight32, rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(of_input, input32, rtol=1e-2, atol=1e-2)
    torch.testing.assert_close(of_bias, bias32, rtol=1e-2, atol=5e-2)
    torch.testing.assert_close(output.float(), wanted, rtol=1e-2, atol=2e-2)


@pytest.mark.usefixtures("compiled")
def test_a_network_keeps_its_names_and_what_it_says() -> None:
    """Weights of a fast run fit a plain network, and a validated one computes as it did."""
    network = EfficientNetB3Classifier()
    names = list(network.state_dict())
    film = torch.rand(1, 1, 64, 64)
    with torch.inference_mode():
        before = network.eval()(film)
    changed = use_fast_depthwise(network, "bf16")
    # One a block; the 40 and the 24 channels of the first two are no multiples of 16.
    depthwise_layers = [m for m in network.modules() if isinstance(m, nn.Conv2d) and m.groups > 1]
    multiples = [m for m in depthwise_layers if m.in_channels % 16 == 0]
    assert changed == len(multiples) == 24 and len(depthwise_layers) == 26
    assert list(network.state_dict()) == names
    with torch.inference_mode():
        assert torch.equal(network(film), before)


@pytest.mark.usefixtures("compiled")
def test_other_convolutions_stay_as_they_are() -> None:
    network = nn.Sequential(
        nn.Conv2d(32, 32, 3, padding=1),
        nn.Conv2d(32, 64, 3, padding=1, groups=32),
        nn.Conv2d(40, 40, 3, padding=1, groups=40),
        nn.Conv2d(32, 32, 9, padding=4, groups=32),
        nn.Conv2d(32, 32, 3, padding="same", groups=32),
        nn.Conv2d(32, 32, 3, padding=2, dilation=2, groups=32),
        nn.Conv2d(32, 32, (3, 5), padding=1, groups=32),
        nn.Conv2d(32, 32, 3, padding=1, groups=32, padding_mode="reflect"),
    )
    assert use_fast_depthwise(network, "bf16") == 0
    assert not any(isinstance(module, FastDepthwiseConv2d) for module in network)


@pytest.fixture
def uncompiled(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As on a machine where nothing was compiled yet, with AVX-512."""
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(depthwise.platform, "machine", lambda: "x86_64")
    depthwise._kernels.cache_clear()
    yield
    depthwise._kernels.cache_clear()


def test_it_is_refused_in_fp32() -> None:
    with pytest.raises(RuntimeUnavailableError, match="for training in bf16 on a CPU.*in fp32"):
        use_fast_depthwise(nn.Identity(), "no")


@pytest.mark.usefixtures("uncompiled")
def test_it_is_refused_without_avx512(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    with pytest.raises(RuntimeUnavailableError, match="needs a processor with AVX-512"):
        use_fast_depthwise(nn.Identity(), "bf16")


@pytest.mark.usefixtures("uncompiled")
def test_it_is_refused_in_one_sentence_without_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(**_: object) -> None:
        raise RuntimeError("Ninja is required\nand a page of a compiler's words")

    monkeypatch.setattr(cpp_extension, "load", load)
    with pytest.raises(RuntimeUnavailableError, match="compiler and ninja on the PATH") as refusal:
        use_fast_depthwise(nn.Identity(), "bf16")
    assert "\n" not in str(refusal.value)
