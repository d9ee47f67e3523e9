"""A trained classifier teaches the segmenter's encoder what to see (``teacher`` in a recipe).

ConvNeXt-Tiny starts from nothing where no model hub can be reached, and a few hundred masks say too
little about what a film can look like. A classifier that began with ImageNet filters knows: at
each stage the first channels of the pupil's map are asked to show what the teacher's map of the
same resolution shows, pixel by pixel, on the same augmented film. The teacher has a quarter to half
as many channels, so that the pupil keeps most of its own. Nothing is added to the network that
ships. Feature distillation in the sense of Romero et al., «FitNets», ICLR 2015 (arXiv 1412.6550),
with a fixed choice of channels in place of a learnt projection.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F

from pneumoseg.errors import UsageError
from pneumoseg.training.initialise import build_classifier


class Teacher:
    """A frozen classifier whose inner maps are the lesson.

    Args:
        weights: a ``best.pt`` of a classifier's run, or a bundle.

    Raises:
        UsageError: not a classifier's weights.
    """

    def __init__(self, weights: str) -> None:
        if weights in ("scratch", "imagenet", "lite2"):
            raise UsageError(
                f"teacher {weights!r} has never seen a film; give a best.pt of a classifier's run, "
                "or a bundle"
            )
        try:
            network = build_classifier(weights)
        except UsageError as error:
            raise UsageError(f"teacher {weights!r} cannot be loaded: {error}") from error
        self.network = network.eval().requires_grad_(False)

    @torch.no_grad()
    def look(self, films: torch.Tensor) -> list[torch.Tensor]:
        """What the teacher sees in a batch.

        Args:
            films: float (B, 1, S, S), as the pupil gets them.

        Returns:
            float (B, C, S/4, S/4) to (B, C, S/32, S/32) with C of 32, 48, 136 and 384; each channel
            has mean 0 and standard deviation 1 over the batch.
        """
        self.network.to(films.device)
        maps: list[torch.Tensor] = self.network.backbone.forward_intermediates(
            films, intermediates_only=True
        )
        return [F.batch_norm(shown, None, None, training=True) for shown in maps[1:]]  # not at 1/2


def lesson_loss(pupil: Sequence[torch.Tensor], teacher: Sequence[torch.Tensor]) -> torch.Tensor:
    """How far the first channels of the pupil's maps are from the teacher's.

    Args:
        pupil: float (B, P, H, W) a stage.
        teacher: float (B, T, H, W) a stage, T not above P, of unit variance.

    Returns:
        float scalar, the mean over the stages of the mean squared difference: 1 where the pupil
        shows nothing, 0 where it shows the same.
    """
    distances = [
        F.mse_loss(own[:, : shown.shape[1]].float(), shown.float())
        for own, shown in zip(pupil, teacher, strict=True)
    ]
    return torch.stack(distances).mean()
