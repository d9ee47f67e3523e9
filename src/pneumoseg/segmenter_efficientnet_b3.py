"""Stage two on the backbone of stage one: a U-Net whose encoder is EfficientNet-B3.

A classifier that has learnt what a pneumothorax looks like is a better start for segmenting than
random weights of a larger encoder where no model hub can be reached (docs/weights.md). The decoder
is that of :mod:`pneumoseg.segmenter_convnext_tiny`; EfficientNet's stem halves the resolution once,
so that no shallow branch is needed for the skip at 1/2. Sources: Ronneberger et al., «U-Net»,
MICCAI 2015 (arXiv 1505.04597); Tan and Le, «EfficientNet», ICML 2019 (arXiv 1905.11946), as built
by timm.
"""

from __future__ import annotations

import torch
from torch import nn

from pneumoseg.classifier_efficientnet_b3 import EfficientNetB3Classifier
from pneumoseg.segmenter_convnext_tiny import Decoder

ENCODER_CHANNELS = (24, 32, 48, 136, 384)
"""Channels of EfficientNet-B3's maps at 1/2, 1/4, 1/8, 1/16 and 1/32 of the input."""

DECODER_CHANNELS = (128, 64, 48, 32, 16)
"""Output channels of the decoder at 1/16, 1/8, 1/4, 1/2 and 1/1 of the input."""

_UNUSED_LAYERS = ("conv_head", "bn2", "classifier")

UNUSED = tuple(f"backbone.{layer}." for layer in _UNUSED_LAYERS)
"""How the weights are called that a classifier's backbone has beyond its maps; left out here."""


class EfficientNetB3UNet(nn.Module):
    """The detector on the filter's backbone: one logit per pixel of the input.

    Args:
        classifier: its backbone becomes the encoder, and the classifier can no longer classify;
            None for a new one.
        drop_path_rate: stochastic depth of a new backbone.
    """

    def __init__(
        self, classifier: EfficientNetB3Classifier | None = None, *, drop_path_rate: float = 0.2
    ) -> None:
        super().__init__()
        classifier = classifier or EfficientNetB3Classifier(drop_path_rate=drop_path_rate)
        self.backbone = classifier.backbone
        for layer in _UNUSED_LAYERS:
            setattr(self.backbone, layer, nn.Identity())
        skips = [*reversed(ENCODER_CHANNELS[:-1]), 0]
        self.decoder = Decoder(ENCODER_CHANNELS[-1], skips, DECODER_CHANNELS)
        self.head = nn.Conv2d(DECODER_CHANNELS[-1], 1, 1)

    def forward(
        self, image: torch.Tensor, with_features: bool = False
    ) -> torch.Tensor | tuple[torch.Tensor, list[torch.Tensor]]:
        """Segment a batch.

        Args:
            image: float (B, 1, S, S), normalised by the bundle's ``Normalisation``; S a multiple of
                32.
            with_features: also give the backbone's maps, for a student to look at while training.

        Returns:
            float (B, 1, S, S), raw logits: the sigmoid is the probability of pneumothorax. With
            ``with_features`` also the maps at 1/2 to 1/32 of the input, of
            :data:`ENCODER_CHANNELS` channels.
        """
        maps = self.backbone.forward_intermediates(image, intermediates_only=True)
        logits: torch.Tensor = self.head(self.decoder(maps[-1], [*reversed(maps[:-1]), None]))
        return (logits, maps) if with_features else logits
