"""Depthwise convolutions whose gradients are computed faster on a CPU, for training in bf16.

Both networks consist of depthwise convolutions for the most part, and PyTorch's gradients of those
in bfloat16 take longer there than all of the rest. Where a recipe asks for it
(``schedule.fast_depthwise``), ``depthwise.cpp`` beside this file is compiled, once, and kept by
PyTorch (``TORCH_EXTENSIONS_DIR``). The forward pass stays PyTorch's; the gradients are the same
sums, taken in float32. Weights keep their names, and what is kept of a run is a plain network.
"""

from __future__ import annotations

import functools
import platform
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from pneumoseg.errors import RuntimeUnavailableError

KERNELS = (3, 5, 7)
"""Sides of a filter that ``depthwise.cpp`` is compiled for."""

LANES = 16
"""Channels it takes at a time: floats in one AVX-512 register."""


class FastDepthwiseConv2d(nn.Conv2d):
    """A depthwise convolution; while it is trained in bf16 on a CPU, with the faster gradients."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (B, C, H, W) to (B, C, H', W')."""
        in_bf16 = torch.is_autocast_enabled("cpu") and (
            torch.get_autocast_dtype("cpu") is torch.bfloat16
        )
        if not (self.training and torch.is_grad_enabled() and x.device.type == "cpu" and in_bf16):
            return super().forward(x)
        with torch.autocast("cpu", enabled=False):
            y: torch.Tensor = _Convolve.apply(
                x.bfloat16(), self.weight, self.stride[0], int(self.padding[0])
            )
            return y if self.bias is None else y + self.bias.to(y.dtype)[:, None, None]


def use_fast_depthwise(network: nn.Module, precision: str) -> int:
    """Let a network's depthwise convolutions take the faster gradients, in place.

    Args:
        network: what is trained; convolutions of another kind, or of channels that are no multiple
            of :data:`LANES`, stay as they are.
        precision: ``bf16``; gradients in fp32 are PyTorch's own, which nothing here outruns.

    Returns:
        How many convolutions take them.

    Raises:
        RuntimeUnavailableError: another precision, a processor without AVX-512, or no compiler.
    """
    if torch.cuda.is_available() or precision != "bf16":
        raise RuntimeUnavailableError(
            "fast_depthwise is for training in bf16 on a CPU, and this run would compute "
            f"{'on a GPU' if torch.cuda.is_available() else 'in fp32'}; leave it out"
        )
    if platform.machine() != "x86_64" or torch.backends.cpu.get_cpu_capability() != "AVX512":
        raise RuntimeUnavailableError(
            "fast_depthwise needs a processor with AVX-512, and this one has none; leave it out"
        )
    _kernels()
    chosen = [module for module in network.modules() if _fits(module)]
    for module in chosen:
        module.__class__ = FastDepthwiseConv2d
    return len(chosen)


def _fits(module: nn.Module) -> bool:
    """Whether a module is a depthwise convolution of the kind that ``depthwise.cpp`` knows."""
    if type(module) is not nn.Conv2d:
        return False
    depthwise = module.groups == module.in_channels == module.out_channels
    square = all(
        isinstance(pair, tuple) and pair[0] == pair[1]
        for pair in (module.kernel_size, module.stride, module.padding)
    )
    plain = module.dilation == (1, 1) and module.padding_mode == "zeros"
    whole = module.in_channels % LANES == 0 and module.kernel_size[0] in KERNELS
    return depthwise and square and plain and whole


@functools.cache
def _kernels() -> Any:
    """Compile ``depthwise.cpp``, or find it compiled, and load it.

    Raises:
        RuntimeUnavailableError: it cannot be compiled here.
    """
    try:
        from torch.utils import cpp_extension

        cpp_extension.load(
            name="pneumoseg_depthwise",
            sources=[str(Path(__file__).with_suffix(".cpp"))],
            extra_cflags=["-O3", "-mavx512f", "-mfma"],
            is_python_module=False,
        )
    except (ImportError, OSError, RuntimeError) as error:
        # A compiler's words fill pages; what is missing is nearly always the compiler or ninja.
        raise RuntimeUnavailableError(
            f"fast_depthwise could not be compiled here ({type(error).__name__}); it needs a C++ "
            "compiler and ninja on the PATH: install them, or leave it out"
        ) from error
    return torch.ops.pneumoseg_depthwise


class _Convolve(torch.autograd.Function):
    """PyTorch's depthwise convolution in bf16, with the gradients of ``depthwise.cpp``."""

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, weight: torch.Tensor, stride: int, padding: int
    ) -> torch.Tensor:
        """Convolve bf16 (B, C, H, W) with float32 (C, 1, K, K)."""
        x = x.contiguous(memory_format=torch.channels_last)
        ctx.save_for_backward(x, weight)
        ctx.stride, ctx.padding = stride, padding
        return F.conv2d(x, weight.to(x.dtype), None, stride, padding, 1, len(weight))

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Gradients of the input, bf16, and of the filter, float32."""
        x, weight = ctx.saved_tensors
        stride, padding, kernel = ctx.stride, ctx.padding, weight.shape[-1]
        grad = grads[0].contiguous(memory_format=torch.channels_last)
        last = grad.permute(0, 2, 3, 1)  # (B, H', W', C), contiguous
        of_input = of_weight = None
        if ctx.needs_input_grad[1]:
            of_weight = _kernels().weight_gradient(
                x.permute(0, 2, 3, 1), last, kernel, stride, padding
            )
        if ctx.needs_input_grad[0] and stride == 1 and padding == kernel // 2:
            # A convolution with the filter turned by 180 degrees, which PyTorch does fast.
            turned = weight.to(grad.dtype).flip(-1, -2)
            of_input = F.conv2d(grad, turned, None, 1, padding, 1, len(weight))
        elif ctx.needs_input_grad[0]:
            filters = weight[:, 0].permute(1, 2, 0).contiguous()  # (K, K, C)
            rows, cols = x.shape[-2:]
            full = _kernels().input_gradient(last, filters, rows, cols, stride, padding)
            of_input = full.to(grad.dtype).permute(0, 3, 1, 2)
        return of_input, of_weight, None, None
