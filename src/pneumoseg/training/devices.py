"""What a run computes on, and in which precision: the choices that accelerate is given."""

from __future__ import annotations

import os

import torch
from accelerate import Accelerator

from pneumoseg.errors import UsageError


def open_devices(precision: str) -> Accelerator:
    """Open the devices; the processes of torchrun train together, or not at all."""
    accelerator = Accelerator(
        cpu=not torch.cuda.is_available(), mixed_precision=_precision(precision)
    )
    asked = int(os.environ.get("WORLD_SIZE", "1"))
    if accelerator.num_processes != asked:
        raise UsageError(
            f"{asked} processes were started but {accelerator.num_processes} would train together; "
            "start them with torchrun, or one with plain pneumoseg"
        )
    return accelerator


def _precision(wanted: str) -> str:
    """Turn the recipe's precision into accelerate's: bf16 only where the device computes in it."""
    if wanted == "auto":
        if torch.cuda.is_available():
            fast = torch.cuda.is_bf16_supported()
        else:
            fast = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
        wanted = "bf16" if fast else "fp32"
    return "bf16" if wanted == "bf16" else "no"
