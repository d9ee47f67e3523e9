"""Distillation: the segmenter learns from a trained network too (``teacher`` in a recipe).

ConvNeXt-Tiny starts from nothing where no model hub can be reached, and a few hundred masks say too
little about what a film can look like. A classifier that began with ImageNet filters knows: at
each stage the first channels of the student's map are fitted to the teacher's map of the same
resolution, pixel by pixel, on the same augmented film. The teacher has a quarter to half
as many channels, so that the student keeps most of its own. Nothing is added to the network that
ships. Feature distillation in the sense of Romero et al., «FitNets», ICLR 2015 (arXiv 1412.6550),
with a fixed choice of channels in place of a learnt projection.

A teacher that was then trained to segment (:class:`EfficientNetB3UNet`) also predicts masks: they
stand in for those that positive films lack, and its probabilities can soften the targets of every
film (``teacher_share``; Hinton et al., «Distilling the Knowledge in a Neural Network», 2015, arXiv
1503.02531). A teacher that was trained at a higher resolution than the student sees the same films
enlarged (``teacher_zoom``).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F

from pneumoseg.bundle import load_bundle
from pneumoseg.errors import BundleError, UsageError
from pneumoseg.runtime.torch import load_weights as load_exported_weights
from pneumoseg.runtime.torch import read_weights
from pneumoseg.segmenter_efficientnet_b3 import UNUSED, EfficientNetB3UNet
from pneumoseg.training.initialise import UNREADABLE, build_classifier, load_weights
from pneumoseg.training.recipes import SegmenterRecipe

UNKNOWN = -1.0
"""Stands at every pixel of a mask that nobody drew."""


def build_teacher(init: str, *, drop_path_rate: float = 0.2, seed: int = 0) -> EfficientNetB3UNet:
    """Build a teacher and load its first weights.

    Args:
        init: a ``best.pt`` of a teacher's or of a classifier's run, a bundle (its segmenter, where
            that is such a network, else its classifier), or any other start of
            :func:`pneumoseg.training.initialise.build_classifier`.
        drop_path_rate: stochastic depth.
        seed: for what ``init`` does not give.

    Raises:
        UsageError: weights of neither network.
    """
    if _holds_teacher(init):
        torch.manual_seed(seed)
        network = EfficientNetB3UNet(drop_path_rate=drop_path_rate)
        if (exported := _segmenter_of_bundle(init)) is not None:
            load_exported_weights(network, exported)
        else:
            load_weights(network, Path(init), leave_out=UNUSED)
        return network
    return EfficientNetB3UNet(build_classifier(init, drop_path_rate=drop_path_rate, seed=seed))


def _holds_teacher(init: str) -> bool:
    """Whether a file was written by a teacher's run, or a bundle holds such a network."""
    if not Path(init).is_file():
        return _segmenter_of_bundle(init) is not None
    try:
        held = torch.load(init, map_location="cpu", weights_only=True)
    except UNREADABLE:
        return False  # build_classifier says what is wrong with it
    state = held.get("model", held) if isinstance(held, dict) else {}
    return "decoder.0.conv1.weight" in state and any(key.startswith("backbone.") for key in state)


def _segmenter_of_bundle(init: str) -> Path | None:
    """The segmenter of a bundle, where it is a U-Net on EfficientNet-B3."""
    if Path(init).is_file():
        return None
    try:
        path = load_bundle(init).segmenter_path
    except BundleError:
        return None  # build_classifier says what is wrong with it
    return path if "backbone.conv_stem.weight" in read_weights(path) else None


class Teacher:
    """A frozen network whose feature maps, and where it segments whose masks, the student learns.

    Args:
        weights: a ``best.pt`` of a classifier's or of a teacher's run, or a bundle.
        zoom: it sees films this many times larger than the student.

    Raises:
        UsageError: neither a classifier's weights nor a teacher's.
    """

    def __init__(self, weights: str, *, zoom: float = 1.0) -> None:
        if weights in ("scratch", "imagenet", "lite2"):
            raise UsageError(
                f"teacher {weights!r} has never seen a film; give a best.pt of a classifier's run, "
                "or a bundle"
            )
        self.segments = _holds_teacher(weights)
        try:
            network = build_teacher(weights)
        except UsageError as error:
            raise UsageError(f"teacher {weights!r} cannot be loaded: {error}") from error
        self.network = network.eval().requires_grad_(False)
        self.zoom = zoom

    @torch.no_grad()
    def look(self, films: torch.Tensor) -> tuple[list[torch.Tensor], torch.Tensor | None]:
        """What the teacher sees in a batch.

        Args:
            films: float (B, 1, S, S), as the student gets them; S times ``zoom`` a multiple of 32.

        Returns:
            float (B, C, S/4, S/4) to (B, C, S/32, S/32) with C of 32, 48, 136 and 384; each channel
            has mean 0 and standard deviation 1 over the batch. And of a teacher that segments its
            probabilities, float (B, 1, S, S), else None.
        """
        self.network.to(films.device)
        side, wide = films.shape[-1], films
        if self.zoom != 1:
            wide = F.interpolate(films, size=round(side * self.zoom), mode="bilinear")
        predicted = None
        if self.segments:
            logits, maps = self.network(wide, with_features=True)
            predicted = torch.sigmoid(logits.float())
        else:
            maps = self.network.backbone.forward_intermediates(wide, intermediates_only=True)
        maps = maps[1:]
        if self.zoom != 1:
            places = [side // stride for stride in (4, 8, 16, 32)]
            maps = [
                F.adaptive_avg_pool2d(own.float(), place)
                for own, place in zip(maps, places, strict=True)
            ]
            predicted = (
                None if predicted is None else F.interpolate(predicted, size=side, mode="area")
            )
        return [F.batch_norm(shown, None, None, training=True) for shown in maps], predicted


def find_teacher(recipe: SegmenterRecipe) -> Teacher | None:
    """Load the teacher that a recipe names, or None where it names none.

    Raises:
        UsageError: the recipe makes a teacher itself, or names one that cannot do what it needs.
    """
    if not recipe.teacher:
        return None
    if recipe.encoder != "convnext_tiny":
        raise UsageError(
            f"a recipe with encoder {recipe.encoder!r} makes a teacher and has none; leave "
            "teacher empty"
        )
    teacher = Teacher(recipe.teacher, zoom=recipe.teacher_zoom)
    if recipe.teacher_share > 0 and not teacher.segments:
        raise UsageError(
            f"teacher_share needs a teacher's masks, and {recipe.teacher!r} predicts none; give "
            "a best.pt of a run with encoder efficientnet_b3"
        )
    return teacher


def distillation_targets(
    masks: torch.Tensor, predicted: torch.Tensor | None, share: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """What Dice and what the cross-entropy are against, with a teacher.

    Args:
        masks: float (B, 1, S, S), 0/1, or :data:`UNKNOWN` at every pixel of one that nobody drew.
        predicted: the teacher's probabilities, same shape; None of one that does not segment.
        share: of the teacher's probability where there is a mask.

    Returns:
        For Dice the masks, for the cross-entropy masks and probabilities mixed; of a film without a
        mask, for Dice where the probability is above a half, for the cross-entropy the probability.
        With a share of 0 both are the masks, and the probability where there is none.
    """
    if predicted is None:
        return masks, masks
    unknown = masks == UNKNOWN
    if share == 0:
        filled = torch.where(unknown, predicted, masks)
        return filled, filled
    hard = torch.where(unknown, (predicted > 0.5).float(), masks)
    return hard, torch.where(unknown, predicted, torch.lerp(masks, predicted, share))


def feature_loss(student: Sequence[torch.Tensor], teacher: Sequence[torch.Tensor]) -> torch.Tensor:
    """How far the first channels of the student's maps are from the teacher's.

    Args:
        student: float (B, P, H, W) a stage.
        teacher: float (B, T, H, W) a stage, T not above P, of unit variance.

    Returns:
        float scalar, the mean over the stages of the mean squared difference: 1 where the student
        shows nothing, 0 where it shows the same.
    """
    distances = [
        F.mse_loss(own[:, : shown.shape[1]].float(), shown.float())
        for own, shown in zip(student, teacher, strict=True)
    ]
    return torch.stack(distances).mean()
