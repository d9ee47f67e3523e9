"""Stage one, the filter: EfficientNet-B3 with one grey channel and one logit.

The network and nothing else: how it starts is :mod:`pneumoseg.training.initialise`, how it is
trained :mod:`pneumoseg.training.tasks`. Source: Tan and Le, «EfficientNet», ICML 2019 (arXiv
1905.11946), as built by timm.
"""

from __future__ import annotations

from typing import Any

import timm
import torch
from torch import nn

BACKBONE = "efficientnet_b3"
"""timm's name of the network; its default pretrained tag is what ``--init imagenet`` downloads."""

HEAD_STD = 0.01
"""Standard deviation of the last layer's first weights: the first probabilities are near 0.5."""


class EfficientNetB3Classifier(nn.Module):
    """The filter: does this film contain a pneumothorax?

    Args:
        drop_rate: dropout before the last layer.
        drop_path_rate: stochastic depth of the residual blocks.
    """

    def __init__(self, *, drop_rate: float = 0.3, drop_path_rate: float = 0.2) -> None:
        super().__init__()
        self.backbone: Any = timm.create_model(
            BACKBONE,
            pretrained=False,
            in_chans=1,
            num_classes=1,
            drop_rate=drop_rate,
            drop_path_rate=drop_path_rate,
        )
        # timm draws the last layer by the number of classes: of one, from [-1, 1]. A film's first
        # logit would then be a number near 10, and the first thousands of films spent on that.
        head: Any = self.backbone.classifier
        nn.init.normal_(head.weight, std=HEAD_STD)
        nn.init.zeros_(head.bias)

    def forward(
        self, image: torch.Tensor, evidence: bool = False
    ) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
        """Classify a batch.

        Args:
            image: float (B, 1, S, S), normalised by the bundle's ``Normalisation``; S a multiple of
                32.
            evidence: also give the share of the logit that each cell of the last feature map has
                (class activation map, Zhou et al., CVPR 2016, arXiv 1512.04150); for training.

        Returns:
            float (B, 1), raw logits: the sigmoid is the uncalibrated probability. With
            ``evidence`` also the shares, (B, 1, S/32, S/32): without dropout, their mean and the
            last layer's bias are the logit.
        """
        if not evidence:
            logits: torch.Tensor = self.backbone(image)  # (B, 1)
            return logits
        features = self.backbone.forward_features(image)  # (B, 1536, S/32, S/32)
        weight = self.backbone.classifier.weight[:, :, None, None]  # (1, 1536, 1, 1)
        return self.backbone.forward_head(features), nn.functional.conv2d(features, weight)
