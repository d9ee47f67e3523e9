"""The training recipes: what a file in ``configs/`` may say, and the seed's values as defaults."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from pneumoseg.errors import UsageError
from pneumoseg.settings import TARGET_RECALL
from pneumoseg.training.augment import AugmentSettings


@dataclass(frozen=True)
class SourceShare:
    """How often a source of the cache is drawn."""

    source: str
    """Name of the source in the cache."""
    share: float
    """Share of the draws of each class that come from it, 0 leaves it out."""

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1:
            raise UsageError(f"the share of a source lies in [0, 1], got {self.share}")


@dataclass(frozen=True)
class Schedule:
    """How long and how fast."""

    epochs: int = 30
    """Epochs at most."""
    films_per_epoch: int = 8000
    """Films drawn for one epoch; the sampler draws with replacement."""
    batch_size: int = 16
    """Films a step and process."""
    minutes: float = 0.0
    """Wall-clock budget of all sessions together, 0 for none; the schedule then follows the clock.
    """
    learning_rate: float = 3e-4
    """Peak learning rate of AdamW."""
    weight_decay: float = 0.02
    """AdamW's weight decay; not applied to biases and norms."""
    warmup: float = 0.05
    """Share of the training over which the learning rate rises linearly; cosine after it."""
    gradient_clip: float = 1.0
    """Largest norm of the gradient."""
    ema_decay: float = 0.998
    """Decay a step of the moving average of the weights, which is what is validated and kept."""
    patience: int = 10
    """Epochs without a better score after which training stops."""
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    """auto: bf16 where the device computes in it, fp32 elsewhere (slow emulation is never chosen).
    """
    workers: int = 2
    """Loader processes; 0 loads in the training process."""
    threads: int = 0
    """CPU threads of the networks, 0 for PyTorch's choice."""
    fast_depthwise: bool = False
    """Faster gradients of depthwise convolutions, for bf16 on a CPU with AVX-512; they are compiled
    before the first such run and need a C++ compiler and ninja."""

    def __post_init__(self) -> None:
        for name in ("epochs", "films_per_epoch", "batch_size", "patience"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} must be 1 or more, got {getattr(self, name)}")
        if self.minutes < 0 or not 0 <= self.warmup < 1 or not 0 <= self.ema_decay < 1:
            raise UsageError("minutes must be 0 or more; warmup and ema_decay lie in [0, 1)")


@dataclass(frozen=True)
class Recipe:
    """What both networks' recipes share."""

    cache: Path = Path("cache/lean")
    """The prepared cache (``pneumoseg prepare``)."""
    out: Path = Path("runs/run")
    """The run folder to write; an unfinished run in it is resumed."""
    init: str = "imagenet"
    """Start: scratch, imagenet (timm's hub), lite2 (classifier), a weights file, or a bundle."""
    size: int = 512
    """Side of the network input in pixels, a multiple of 32."""
    seed: int = 0
    """Seed of sampling and augmentation."""
    source_shares: tuple[SourceShare, ...] = ()
    """Sources whose share is fixed, alike among positives and negatives, so that where a film comes
    from says nothing about its label; the other sources share the rest, film by film."""
    schedule: Schedule = field(default_factory=Schedule)
    """How long and how fast."""
    augment: AugmentSettings = field(default_factory=AugmentSettings)
    """How far films are changed."""

    def __post_init__(self) -> None:
        if self.size < 32 or self.size % 32:
            raise UsageError(f"size must be a multiple of 32, got {self.size}")


@dataclass(frozen=True)
class ClassifierRecipe(Recipe):
    """Stage one: focal loss, balanced batches, best epoch by F2 unless set otherwise."""

    out: Path = Path("runs/classifier")
    """The run folder to write; an unfinished run in it is resumed."""
    positive_share: float = 0.5
    """Share of positives in the batches (``WeightedRandomSampler``)."""
    focal_alpha: float = 0.75
    """Focal loss: weight of the positive class."""
    focal_gamma: float = 2.0
    """Focal loss: focusing exponent."""
    evidence_weight: float = 0.0
    """Weight of the loss that asks for the evidence to lie on the mask, 0 for none."""
    evidence_margin: float = 0.0
    """By which share of the film's side masks are widened for it."""
    relu6_until: float = 0.0
    """Share of the training over which ReLU6 slides to SiLU (0.5 with init lite2), 0 for SiLU."""
    keep_by: Literal["f2", "auroc"] = "f2"
    """Which figure of the calibration part keeps an epoch; F2 hardly moves with many positives."""
    target_recall: float = TARGET_RECALL
    """Recall at which the validation's specificity is reported."""
    drop_path_rate: float = 0.2
    """Stochastic depth."""


@dataclass(frozen=True)
class SegmenterRecipe(Recipe):
    """Stage two: BCE + batch Dice, lesion-enriched set, best epoch by lesion Dice."""

    out: Path = Path("runs/segmenter")
    """The run folder to write; an unfinished run in it is resumed."""
    encoder: Literal["convnext_tiny", "efficientnet_b3"] = "convnext_tiny"
    """convnext_tiny is what ships; efficientnet_b3 makes a teacher of a classifier (init)."""
    lesion_share: float = 0.75
    """Share of films with a lesion in the batches."""
    shallow_skips: bool = True
    """Keep the full- and half-resolution skips."""
    drop_path_rate: float = 0.1
    """Stochastic depth of the encoder."""
    teacher: str = ""
    """Network whose feature maps the encoder shall show: a best.pt of a classifier or of a teacher
    (encoder efficientnet_b3), or a bundle; empty: none. A teacher's masks stand in for those that
    positive films lack; without one such films are left out."""
    teacher_weight: float = 1.0
    """First weight of that feature loss; it fades linearly to 0 over the training."""
    teacher_share: float = 0.0
    """Share of the teacher's probability in what the cross-entropy is against, on every film; the
    rest is the mask. Where nobody drew one, all is the teacher's. Dice keeps to masks: there, what
    the teacher finds more likely than not."""
    teacher_zoom: float = 1.0
    """The teacher sees films this many times larger than the student, as it was trained."""
    film_dice_weight: float = 0.0
    """Weight of the Dice averaged over films with a lesion, beside that of the whole batch."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.teacher_share <= 1:
            raise UsageError(f"teacher_share lies in [0, 1], got {self.teacher_share}")
        if self.film_dice_weight < 0:
            raise UsageError(f"film_dice_weight must be 0 or more, got {self.film_dice_weight}")
        shown = self.size * self.teacher_zoom
        if self.teacher_zoom < 1 or abs(shown - 32 * round(shown / 32)) > 1e-6:
            raise UsageError(
                f"teacher_zoom must be 1 or more and size × teacher_zoom a multiple of 32, got "
                f"{self.size} × {self.teacher_zoom:g} = {shown:g}"
            )
        if not self.teacher and (self.teacher_share > 0 or self.teacher_zoom != 1):
            raise UsageError(
                "teacher_share and teacher_zoom need a teacher; name one, or omit both"
            )
