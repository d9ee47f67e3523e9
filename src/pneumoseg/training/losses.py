"""The two losses of the seed: focal loss for the classifier, BCE + batch Dice for the segmenter.

Where the classifier has few films to learn from, their masks can also tell it where to look; where
the segmenter has, small lesions can be given the weight of large ones, film by film.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

DICE_SMOOTHING = 1.0
"""Added to both sides of the Dice ratio, in pixels: keeps an all-negative batch finite and its
gradient pointing towards an empty mask."""

FILM_DICE_MIN_PIXELS = 9
"""A lesion of fewer pixels of the input has no Dice of its own: it is what the border of a moved
film left of one, and a Dice of single pixels jumps."""


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


def evidence_loss(
    cell_logits: torch.Tensor, masks: torch.Tensor, *, margin: float = 0.0
) -> torch.Tensor:
    """How far a classifier's evidence lies from the lesion, on positive films alone.

    A network that ends in mean pooling and one linear layer gives each cell of its last feature map
    a share of the logit. Their softmax, where the evidence lies, is held against the mask, spread
    to a distribution over the cells, by cross-entropy. Only the *place* is asked for: adding a
    number to all cells changes nothing, so that the loss leaves the logit itself to focal loss.
    In the sense of Ross et al., «Right for the right reasons», IJCAI 2017 (arXiv 1703.03717).

    Args:
        cell_logits: float (B, 1, H, W), shares of the logit.
        masks: float 0/1 (B, 1, S, S), S a multiple of H and W; a film whose mask is negative
            everywhere (nobody drew it) counts as one without a lesion.
        margin: by which share of the side the masks are widened first: the pleural line, which
            shows the lesion, lies at its edge.

    Returns:
        float scalar in nats; 0 where no film has a lesion.
    """
    height, width = cell_logits.shape[-2:]
    if reach := round(margin * masks.shape[-1]):
        masks = F.max_pool2d(masks.float(), 2 * reach + 1, stride=1, padding=reach)
    covered = F.adaptive_avg_pool2d(masks.float(), (height, width)).flatten(1)  # (B, H*W)
    total = covered.sum(dim=1)
    positive = total > 0
    if not bool(positive.any()):
        return cell_logits.sum() * 0.0
    wanted = covered[positive] / total[positive, None]
    predicted = F.log_softmax(cell_logits.float().flatten(1)[positive], dim=1)
    return -(wanted * predicted).sum(dim=1).mean()


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


def film_dice_loss(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """One minus the soft Dice of each film with a lesion, averaged over those films.

    Over the batch a large lesion outweighs a small one by its area; here each film counts the same,
    as it does in the lesion Dice that chooses the epoch. Films without a lesion do not
    count: what is predicted on them is left to the cross-entropy and :func:`batch_dice_loss`.

    Args:
        logits: float (B, 1, S, S).
        targets: float in [0, 1], same shape; a film has a lesion where at least
            :data:`FILM_DICE_MIN_PIXELS` of its pixels lie above 0.5.

    Returns:
        float scalar in [0, 1]; 0 where no film has a lesion.
    """
    lesion = (targets > 0.5).flatten(1).sum(dim=1) >= FILM_DICE_MIN_PIXELS
    if not bool(lesion.any()):
        return logits.sum() * 0.0
    probability = torch.sigmoid(logits.float()).flatten(1)[lesion]  # (films with a lesion, S*S)
    wanted = targets.float().flatten(1)[lesion]
    intersection = (probability * wanted).sum(dim=1)
    total = probability.sum(dim=1) + wanted.sum(dim=1)
    dice = (2 * intersection + DICE_SMOOTHING) / (total + DICE_SMOOTHING)
    return (1 - dice).mean()


def combo_loss(
    logits: torch.Tensor,
    targets: torch.Tensor,
    *,
    film_dice_weight: float = 0.0,
    soft_targets: torch.Tensor | None = None,
) -> torch.Tensor:
    """Mean binary cross-entropy plus :func:`batch_dice_loss`, equally weighted.

    Args:
        logits: float (B, 1, S, S).
        targets: float in [0, 1], same shape.
        film_dice_weight: weight of :func:`film_dice_loss` beside them.
        soft_targets: what the cross-entropy is against in place of ``targets``, same shape; the
            Dice keeps to ``targets``.

    Returns:
        float scalar.
    """
    wanted = targets if soft_targets is None else soft_targets
    loss = F.binary_cross_entropy_with_logits(logits.float(), wanted.float())
    loss = loss + batch_dice_loss(logits, targets)
    if film_dice_weight > 0:
        loss = loss + film_dice_weight * film_dice_loss(logits, targets)
    return loss
