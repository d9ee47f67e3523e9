"""The two losses of the seed: focal loss for the classifier, BCE + batch Dice for the segmenter."""

from __future__ import annotations

import torch
import torch.nn.functional as F

DICE_SMOOTHING = 1.0
"""Added to both sides of the Dice ratio, in pixels: keeps an all-negative batch finite and its
gradient pointing towards an empty mask."""


def focal_loss(
    logits: torch.Tensor, targets: torch.Tensor, *, alpha: float = 0.75, gamma: float = 2.0
) -> torch.Tensor:
    """Focal loss, averaged over the batch (Lin et al., ICCV 2017, arXiv 1708.02002).

    Args:
        logits: float (B, 1) or (B,).
        targets: float in [0, 1], same shape; soft labels are allowed.
        alpha: weight of the positive class; 1 - alpha weighs the negative.
        gamma: how fast easy cases lose weight; 0 gives weighted cross-entropy.

    Returns:
        float scalar.
    """
    logits, targets = logits.float(), targets.float()
    cross_entropy = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    probability = torch.sigmoid(logits)
    p_of_truth = probability * targets + (1 - probability) * (1 - targets)
    weight = alpha * targets + (1 - alpha) * (1 - targets)
    return (weight * (1 - p_of_truth) ** gamma * cross_entropy).mean()


def batch_dice_loss(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """One minus the soft Dice over *all* pixels of the batch.

    Dice per image would give an empty prediction on an empty mask the full score and so teach the
    network to say nothing; over the batch the healthy films only add false positives.

    Args:
        logits: float (B, 1, S, S).
        targets: float 0/1, same shape.

    Returns:
        float scalar in [0, 1].
    """
    probability, targets = torch.sigmoid(logits.float()), targets.float()
    intersection = (probability * targets).sum()
    total = probability.sum() + targets.sum()
    return 1 - (2 * intersection + DICE_SMOOTHING) / (total + DICE_SMOOTHING)


def combo_loss(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Mean binary cross-entropy plus :func:`batch_dice_loss`, equally weighted; same arguments."""
    cross_entropy = F.binary_cross_entropy_with_logits(logits.float(), targets.float())
    return cross_entropy + batch_dice_loss(logits, targets)
