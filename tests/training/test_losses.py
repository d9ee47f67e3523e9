"""The two losses against numbers worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch

from pneumoseg.training.losses import (
    batch_dice_loss,
    combo_loss,
    evidence_loss,
    film_dice_loss,
    focal_loss,
)


def _logit(p: float) -> float:
    return math.log(p / (1 - p))


def test_focal_loss_by_hand() -> None:
    """Positive at 0.9: 0.75 * 0.1² * -ln 0.9; negative at 0.2: 0.25 * 0.2² * -ln 0.8."""
    logits = torch.tensor([[_logit(0.9)], [_logit(0.2)]])
    targets = torch.tensor([[1.0], [0.0]])
    by_hand = (0.75 * 0.01 * -math.log(0.9) + 0.25 * 0.04 * -math.log(0.8)) / 2
    assert focal_loss(logits, targets).item() == pytest.approx(by_hand, rel=1e-5)


def test_gamma_zero_is_weighted_cross_entropy() -> None:
    logits = torch.tensor([1.5, -0.5, 0.3])
    targets = torch.tensor([1.0, 0.0, 1.0])
    cross_entropy = torch.nn.functional.binary_cross_entropy_with_logits(
        logits, targets, reduction="none"
    )
    weighted = (torch.tensor([0.6, 0.4, 0.6]) * cross_entropy).mean()
    assert focal_loss(logits, targets, alpha=0.6, gamma=0.0).item() == pytest.approx(
        weighted.item(), rel=1e-6
    )


def test_alpha_weighs_the_positive_class() -> None:
    """Equally wrong, a missed positive costs 0.75 / 0.25 = 3 times a false alarm."""
    missed = focal_loss(torch.tensor([-1.0]), torch.tensor([1.0]))
    alarm = focal_loss(torch.tensor([1.0]), torch.tensor([0.0]))
    assert (missed / alarm).item() == pytest.approx(3.0, rel=1e-5)


@pytest.mark.parametrize("logit", [-80.0, 80.0])
@pytest.mark.parametrize("target", [0.0, 1.0])
def test_focal_loss_of_a_sure_network_is_finite(logit: float, target: float) -> None:
    logits = torch.tensor([logit], requires_grad=True)
    loss = focal_loss(logits, torch.tensor([target]))
    loss.backward()
    assert torch.isfinite(loss) and logits.grad is not None and torch.isfinite(logits.grad).all()


def test_dice_is_over_the_whole_batch_by_hand() -> None:
    """Film one: truth of 2 pixels predicted at 0.75; film two: healthy, 4 pixels predicted at 0.25.

    Intersection 1.5, sum of probabilities 1.5 + 1, of truth 2; with 1 pixel of smoothing
    1 - (3 + 1) / (4.5 + 1). Averaged film by film it would be another number.
    """
    logits = torch.full((2, 1, 2, 2), -1e9)
    logits[0, 0, 0] = _logit(0.75)
    logits[1] = _logit(0.25)
    targets = torch.zeros(2, 1, 2, 2)
    targets[0, 0, 0] = 1
    assert batch_dice_loss(logits, targets).item() == pytest.approx(1 - 4 / 5.5, rel=1e-5)


def test_a_perfect_prediction_costs_nothing() -> None:
    targets = torch.zeros(2, 1, 4, 4)
    targets[0, 0, 1:3, 1:3] = 1
    logits = (targets * 2 - 1) * 50
    assert batch_dice_loss(logits, targets).item() == pytest.approx(0.0, abs=1e-6)
    assert combo_loss(logits, targets).item() == pytest.approx(0.0, abs=1e-6)


def test_an_all_negative_batch_lowers_probabilities() -> None:
    """The loss is finite and positive there and its gradient points to an empty mask: a Dice that
    is silently zero would let false positives stand.
    """
    logits = torch.zeros(2, 1, 4, 4, requires_grad=True)
    loss = batch_dice_loss(logits, torch.zeros(2, 1, 4, 4))
    loss.backward()
    assert 0 < loss.item() < 1
    assert logits.grad is not None and (logits.grad > 0).all()


def test_saying_nothing_is_not_perfect_on_a_mixed_batch() -> None:
    """One healthy and one positive film: the empty prediction misses all of the batch's lesion.

    1 - (0 + 1) / (4 + 1) = 0.8.
    """
    targets = torch.zeros(2, 1, 4, 4)
    targets[1, 0, :2, :2] = 1
    silent = batch_dice_loss(torch.full((2, 1, 4, 4), -1e9), targets)
    assert silent.item() == pytest.approx(0.8)


def test_combo_is_the_sum_of_both() -> None:
    """All logits 0 on a quarter of truth: BCE is ln 2, Dice 1 - (2 * 2 + 1) / (8 + 4 + 1)."""
    targets = torch.zeros(1, 1, 4, 4)
    targets[0, 0, 0] = 1
    loss = combo_loss(torch.zeros(1, 1, 4, 4), targets)
    assert loss.item() == pytest.approx(math.log(2) + 1 - 5 / 13, rel=1e-6)


@pytest.mark.parametrize("loss", [focal_loss, batch_dice_loss, film_dice_loss, combo_loss])
def test_half_precision_is_summed_in_single(loss: object) -> None:
    """Summing 100,000 pixels in bf16 stops counting at 256."""
    logits = torch.zeros(1, 1, 320, 320, dtype=torch.bfloat16)
    targets = torch.ones(1, 1, 320, 320)
    single = loss(logits.float(), targets)  # type: ignore[operator]
    half = loss(logits, targets)  # type: ignore[operator]
    assert half.dtype == torch.float32
    assert half.item() == pytest.approx(single.item(), rel=1e-6)


def _two_masks() -> torch.Tensor:
    """A lesion over the left upper cell and half of the right upper one, and no lesion."""
    masks = torch.zeros(2, 1, 4, 4)
    masks[0, 0, 0:2, 0:2] = 1
    masks[0, 0, 0:2, 2] = 1
    return masks


def test_evidence_loss_by_hand() -> None:
    """Wanted 2/3 and 1/3; softmax of ln 3, 0, 0, 0 gives 1/2 and 1/6. The second does not count."""
    cells = torch.tensor([[math.log(3), 0.0, 0.0, 0.0], [9.0, 0.0, 0.0, 0.0]]).view(2, 1, 2, 2)
    by_hand = 2 / 3 * -math.log(1 / 2) + 1 / 3 * -math.log(1 / 6)
    assert evidence_loss(cells, _two_masks()).item() == pytest.approx(by_hand, rel=1e-5)


def test_evidence_loss_leaves_the_logit_alone() -> None:
    """The mean of the cells is the logit: its gradient must be none, or it would fight focal."""
    cells = torch.randn(2, 1, 2, 2, requires_grad=True)
    evidence_loss(cells, _two_masks()).backward()
    assert cells.grad is not None
    assert cells.grad.sum().item() == pytest.approx(0.0, abs=1e-6)
    assert evidence_loss(cells + 5, _two_masks()).item() == pytest.approx(
        evidence_loss(cells, _two_masks()).item(), rel=1e-5
    )


def test_evidence_beside_a_widened_mask() -> None:
    """One pixel of 4×4 in the upper left cell, widened by a quarter of the side, which is a pixel:
    the 3×3 reaches the four cells with 4, 2, 2 and 1 pixels."""
    mask = torch.zeros(1, 1, 4, 4)
    mask[0, 0, 1, 1] = 1
    cells = torch.tensor([[[[math.log(3), 0.0], [0.0, 0.0]]]])
    predicted = [-math.log(1 / 2), -math.log(1 / 6)]
    assert evidence_loss(cells, mask).item() == pytest.approx(predicted[0], rel=1e-5)
    by_hand = 4 / 9 * predicted[0] + 5 / 9 * predicted[1]
    assert evidence_loss(cells, mask, margin=0.25).item() == pytest.approx(by_hand, rel=1e-5)


def test_a_mask_that_nobody_drew_is_not_widened_into_one() -> None:
    cells = torch.randn(1, 1, 2, 2)
    assert evidence_loss(cells, torch.full((1, 1, 4, 4), -1.0), margin=0.25).item() == 0


def test_a_batch_of_negatives_has_no_evidence_to_find() -> None:
    cells = torch.randn(2, 1, 2, 2, requires_grad=True)
    loss = evidence_loss(cells, torch.zeros(2, 1, 4, 4))
    loss.backward()
    assert loss.item() == 0
    assert cells.grad is not None and not cells.grad.any()


def _large_and_small() -> tuple[torch.Tensor, torch.Tensor]:
    """Three films of 36 pixels: a lesion of 12 predicted at 0.5, one of 9 missed, none and all."""
    targets = torch.zeros(3, 1, 6, 6)
    targets[0, 0, :2] = 1
    targets[1, 0, :3, :3] = 1
    logits = torch.full((3, 1, 6, 6), -1e9)
    logits[0, 0, :2] = 0.0
    logits[2] = 1e9
    return logits, targets


def test_film_dice_by_hand() -> None:
    """Film one 1 - (2 * 6 + 1) / (6 + 12 + 1), film two 1 - 1 / (9 + 1); film three has no say."""
    logits, targets = _large_and_small()
    by_hand = ((1 - 13 / 19) + (1 - 1 / 10)) / 2
    assert film_dice_loss(logits, targets).item() == pytest.approx(by_hand, rel=1e-6)


def test_a_lesion_of_fewer_than_nine_pixels_has_no_dice_of_its_own() -> None:
    logits, targets = _large_and_small()
    targets[1, 0, 2, 2] = 0
    assert film_dice_loss(logits, targets).item() == pytest.approx(1 - 13 / 19, rel=1e-6)


def test_films_without_a_lesion_have_no_film_dice() -> None:
    logits = torch.zeros(2, 1, 4, 4, requires_grad=True)
    loss = film_dice_loss(logits, torch.zeros(2, 1, 4, 4))
    loss.backward()
    assert loss.item() == 0
    assert logits.grad is not None and not logits.grad.any()


def test_combo_with_film_dice_by_hand() -> None:
    """All logits 0: ln 2, batch Dice 1 - (2 * 10.5 + 1) / (54 + 21 + 1), and a half of the mean of
    1 - (12 + 1) / (18 + 12 + 1) and 1 - (9 + 1) / (18 + 9 + 1).
    """
    _, targets = _large_and_small()
    logits = torch.zeros(3, 1, 6, 6)
    film = ((1 - 13 / 31) + (1 - 10 / 28)) / 2
    loss = combo_loss(logits, targets, film_dice_weight=0.5)
    assert loss.item() == pytest.approx(math.log(2) + 1 - 22 / 76 + 0.5 * film, rel=1e-6)
    assert torch.equal(
        combo_loss(logits, targets, film_dice_weight=0.0), combo_loss(logits, targets)
    )


def test_soft_targets_are_the_cross_entropys_alone() -> None:
    """All at 0.8 against 0.25: 0.25 * -ln 0.8 + 0.75 * -ln 0.2; Dice keeps to the mask."""
    targets = torch.zeros(1, 1, 4, 4)
    targets[0, 0, 0] = 1
    logits = torch.full((1, 1, 4, 4), _logit(0.8))
    loss = combo_loss(logits, targets, soft_targets=torch.full((1, 1, 4, 4), 0.25))
    cross_entropy = 0.25 * -math.log(0.8) + 0.75 * -math.log(0.2)
    dice = 1 - (2 * 3.2 + 1) / (12.8 + 4 + 1)
    assert loss.item() == pytest.approx(cross_entropy + dice, rel=1e-6)
