"""Stage two, the detector: a U-Net whose encoder is ConvNeXt-Tiny.

The encoder's stem divides the resolution by four at once and so leaves no skip at 1/1 and 1/2,
where the pleural line, one or two pixels wide, lives. A shallow branch of three convolutions reads
the film at full and half resolution and gives the decoder those two skips. Sources: Liu et al., «A
ConvNet for the 2020s», CVPR 2022 (arXiv 2201.03545), as built by timm; Ronneberger et al., «U-Net»,
MICCAI 2015 (arXiv 1505.04597); residual blocks after He et al. 2016.
"""

from __future__ import annotations

from collections.abc import Sequence

import timm
import torch
import torch.nn.functional as F
from torch import nn

BACKBONE = "convnext_tiny"
"""timm's name of the encoder; its default pretrained tag is what ``--init imagenet`` downloads."""

ENCODER_CHANNELS = (96, 192, 384, 768)
"""Output channels of ConvNeXt-Tiny at 1/4, 1/8, 1/16 and 1/32 of the input."""

DECODER_CHANNELS = (256, 128, 64, 32, 16)
"""Output channels of the decoder at 1/16, 1/8, 1/4, 1/2 and 1/1 of the input."""

LAYER_SCALE = 1.0
"""First scale of the encoder's residual blocks where no weights are loaded. The paper's 1e-6 is for
hundreds of epochs: in the first thousands of films such blocks do not take part."""

SHALLOW_CHANNELS = (24, 12)
"""Channels of the shallow skips at 1/2 and 1/1 of the input."""


class ResidualConvBlock(nn.Module):
    """Two 3×3 convolutions with batch norm and GELU beside a 1×1 short cut."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(out_channels)
        self.shortcut = nn.Conv2d(in_channels, out_channels, 1, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (B, in, H, W) to (B, out, H, W)."""
        y = F.gelu(self.norm1(self.conv1(x)))
        y = self.norm2(self.conv2(y))
        return F.gelu(y + self.shortcut(x))


class ShallowBranch(nn.Module):
    """The full- and half-resolution skips that ConvNeXt's stem does not leave."""

    def __init__(self, channels: tuple[int, int] = SHALLOW_CHANNELS) -> None:
        super().__init__()
        half, full = channels
        self.conv_full = nn.Conv2d(1, full, 3, padding=1, bias=False)
        self.full_norm = nn.BatchNorm2d(full)
        self.conv_half = nn.Conv2d(full, half, 3, stride=2, padding=1, bias=False)
        self.half_norm = nn.BatchNorm2d(half)

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the skips at 1/2 (B, 24, S/2, S/2) and at 1/1 (B, 12, S, S)."""
        full = F.gelu(self.full_norm(self.conv_full(image)))
        half = F.gelu(self.half_norm(self.conv_half(full)))
        return half, full


class Decoder(nn.ModuleList):
    """From the deepest map up to the film: double, join the skip, one block, and again.

    Args:
        deepest: channels of the deepest map.
        skips: channels of the skip that joins each block, 0 for none.
        channels: of each block's output.
    """

    def __init__(self, deepest: int, skips: Sequence[int], channels: Sequence[int]) -> None:
        inputs = [deepest, *channels[:-1]]
        super().__init__(
            ResidualConvBlock(below + skip, out)
            for below, skip, out in zip(inputs, skips, channels, strict=True)
        )

    def forward(self, x: torch.Tensor, skips: Sequence[torch.Tensor | None]) -> torch.Tensor:
        """Map (B, deepest, H, W) to (B, out, 2^n H, 2^n W) with n blocks and as many skips."""
        for block, skip in zip(self, skips, strict=True):
            x = F.interpolate(x, scale_factor=2.0, mode="nearest")
            x = block(x if skip is None else torch.cat((x, skip), dim=1))
        return x


class ConvNeXtTinyUNet(nn.Module):
    """The detector: where exactly is it? One logit per pixel of the input.

    Args:
        drop_path_rate: stochastic depth of the encoder's blocks.
        shallow_skips: keep the full- and half-resolution branch; off only to measure what it gives.
    """

    def __init__(self, *, drop_path_rate: float = 0.1, shallow_skips: bool = True) -> None:
        super().__init__()
        self.encoder = timm.create_model(
            BACKBONE,
            pretrained=False,
            in_chans=1,
            features_only=True,
            out_indices=(0, 1, 2, 3),
            drop_path_rate=drop_path_rate,
            ls_init_value=LAYER_SCALE,
        )
        self.shallow = ShallowBranch() if shallow_skips else None
        skips = [*reversed(ENCODER_CHANNELS[:-1])]
        skips += list(SHALLOW_CHANNELS) if shallow_skips else [0, 0]
        self.decoder = Decoder(ENCODER_CHANNELS[-1], skips, DECODER_CHANNELS)
        self.head = nn.Conv2d(DECODER_CHANNELS[-1], 1, 1)

    def forward(
        self, image: torch.Tensor, with_features: bool = False
    ) -> torch.Tensor | tuple[torch.Tensor, list[torch.Tensor]]:
        """Segment a batch.

        Args:
            image: float (B, 1, S, S), normalised by the bundle's ``Normalisation``; S a multiple of
                32.
            with_features: also give what the encoder saw, for a teacher to look at while training.

        Returns:
            float (B, 1, S, S), raw logits: the sigmoid is the probability of pneumothorax. With
            ``with_features`` also the encoder's maps at 1/4, 1/8, 1/16 and 1/32 of the input, of
            :data:`ENCODER_CHANNELS` channels.
        """
        features = self.encoder(image)
        skips: list[torch.Tensor | None] = [*reversed(features[:-1])]
        skips += list(self.shallow(image)) if self.shallow is not None else [None, None]
        logits: torch.Tensor = self.head(self.decoder(features[-1], skips))  # (B, 1, S, S)
        return (logits, features) if with_features else logits
