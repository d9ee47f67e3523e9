"""One home for every default: frozen dataclasses, read from strict TOML, set by flags.

The docstring under a field is its help text. :mod:`pneumoseg.storage.strict` reads them.
Training recipes live in :mod:`pneumoseg.training.recipes`, which adds to these.
:func:`at_least` and :func:`fraction` check the range of a setting.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Literal, TypedDict, Unpack, get_args

from pneumoseg.errors import UsageError

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


def at_least(name: str, value: float | None, least: int, unit: str = "") -> None:
    """Refuse a setting that is too small; None is one that was not given.

    Args:
        name: of the setting.
        value: of the setting; NaN is refused.
        least: smallest value that will do.
        unit: named in the message where it helps, as in «1 or more pixels».

    Raises:
        UsageError: the value is smaller.
    """
    if value is not None and not value >= least:
        wanted = f"{least} or more {unit}".rstrip()
        raise UsageError(f"{name} must be {wanted}, got {value}")


def fraction(name: str, value: float | None, *, ends: bool = True) -> None:
    """Refuse a setting that does not lie between 0 and 1; None is one that was not given.

    Args:
        name: of the setting.
        value: of the setting; NaN is refused.
        ends: whether 0 and 1 themselves will do.

    Raises:
        UsageError: the value lies elsewhere.
    """
    if value is None or (0.0 <= value <= 1.0 if ends else 0.0 < value < 1.0):
        return
    where = "between 0 and 1" if ends else "above 0 and below 1"
    raise UsageError(f"{name} must lie {where}, got {value}")
