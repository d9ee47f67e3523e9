"""One home for every default: frozen dataclasses, read from strict TOML, set by flags.

The docstring under a field is its help text. :mod:`pneumoseg.storage.strict` reads them.
Training recipes live in :mod:`pneumoseg.training.recipes`, which adds to these.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Literal, TypedDict, Unpack, get_args

from pneumoseg.errors import UsageError, at_least, fraction

CLASSIFIER_THRESHOLD = 0.35
SEGMENTER_THRESHOLD = 0.5
MIN_PIXELS = 200
TARGET_RECALL = 0.95

Gate = Literal["hard", "soft", "off"]
"""What stage one's answer does to stage two: see :attr:`PipelineConfig.gate`."""


PointName = Literal["screening", "leaderboard"]
"""Which of a card's operating points: recall first, or the SIIM mean Dice."""


class OperatingPoint(TypedDict, total=False):
    """The fields of :class:`PipelineConfig` as keywords; None keeps what the card says."""

    classifier_threshold: float | None
    segmenter_threshold: float | None
    min_pixels: int | None
    top_threshold: float | None
    top_min_pixels: int | None
    min_volume_ml: float | None
    gate: Gate | None
    mirror: bool | None


@dataclass(frozen=True)
class PipelineConfig:
    """The cascade's operating point: these defaults, then a bundle's card, then flags."""

    classifier_threshold: float = CLASSIFIER_THRESHOLD
    """Probability from which an image is suspected and segmented; lower is more sensitive."""
    segmenter_threshold: float = SEGMENTER_THRESHOLD
    """Probability from which a pixel belongs to the mask."""
    min_pixels: int = MIN_PIXELS
    """Smallest lesion kept, in pixels of the 512×512 grid; smaller components are dropped."""
    top_threshold: float = 0.0
    """A film's mask is emptied unless enough pixels reach this probability; 0 switches it off."""
    top_min_pixels: int = 0
    """How many pixels of the 512×512 grid must reach ``top_threshold``; 0 switches it off."""
    min_volume_ml: float = 0.0
    """Smallest lesion of a CT volume kept, in mL; without a known spacing ``min_pixels`` rules."""
    gate: Gate = "hard"
    """hard: only what is suspected is segmented; soft: all is, and stage one's probability scales
    the map; off: all is, whatever stage one says."""
    mirror: bool = False
    """Average both networks' logits over each image and its mirror image; twice their time."""

    def __post_init__(self) -> None:
        for name in ("classifier_threshold", "segmenter_threshold", "top_threshold"):
            fraction(name, getattr(self, name))
        for name in ("min_pixels", "top_min_pixels", "min_volume_ml"):
            at_least(name, getattr(self, name), 0)
        if self.gate not in get_args(Gate):
            raise UsageError(f"gate must be hard, soft or off, got {self.gate!r}")

    def replaced(self, **numbers: Unpack[OperatingPoint]) -> PipelineConfig:
        """Replace some of the numbers: ``card.config.replaced(min_pixels=0)``.

        Args:
            numbers: the fields by name; None leaves a field as it is.

        Raises:
            UsageError: a value out of its range.
        """
        given = {name: value for name, value in numbers.items() if value is not None}
        return dataclasses.replace(self, **given)  # type: ignore[arg-type]
