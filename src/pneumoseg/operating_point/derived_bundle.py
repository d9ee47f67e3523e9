"""A bundle made from another: the same networks, another operating point or probability.

The new card names its parent by name, version and digest, so that it can be told years later which
weights a finding came from and what was changed.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from pathlib import Path

from pneumoseg.bundle import CARD_FILE, Bundle, CardFigure, write_bundle
from pneumoseg.calibration import Calibration
from pneumoseg.errors import BundleError, UsageError
from pneumoseg.settings import PipelineConfig
from pneumoseg.storage.toml_text import toml_text

_DIGEST_LETTERS = 12
"""Of the parent's card: enough that no two cards share them by chance."""
_VERSION_LETTERS = 8
_THRESHOLD_FREE = "AUROC"
"""Figures whose name begins so rest on the ranking alone, which a monotone map leaves as it is."""


def derive_bundle(
    parent: Bundle,
    folder: Path,
    *,
    config: PipelineConfig | None = None,
    calibration: Calibration | None = None,
    note: str,
    figures: Sequence[CardFigure] = (),
) -> Bundle:
    """Write a bundle with the parent's networks and a changed card, all or nothing.

    Its name is the folder's and its version the parent's with a digest of the change, so that
    findings of the two can be told apart. Of the parent's figures only the AUROC is kept: recall,
    Dice and all the rest were measured at an operating point that may no longer be this one's.

    Args:
        parent: as loaded and verified.
        folder: the bundle to be; an earlier bundle there is replaced.
        config: the new operating point, the parent's when None.
        calibration: the new map from logit to probability, the parent's when None.
        note: appended to the card's notes: what was changed, from what, one sentence or more.
        figures: appended: what was measured of the derived bundle.

    Returns:
        The derived bundle as loaded and verified from ``folder``.

    Raises:
        BundleError: ``folder`` is the parent's own, or exists and is not a bundle.
        UsageError: the folder cannot be written.
    """
    refuse_folder(parent, folder)
    card = parent.card
    changed = dataclasses.replace(
        card,
        name=folder.resolve().name,
        config=config or card.config,
        calibration=calibration or card.calibration,
        training=dataclasses.replace(card.training, notes=(*card.training.notes, note)),
        figures=(*(f for f in card.figures if f.name.startswith(_THRESHOLD_FREE)), *figures),
        parent=parent_line(parent),
        leaderboard=None,  # chosen for the parent's probability and point
    )
    digest = hashlib.sha256(toml_text(changed).encode()).hexdigest()[:_VERSION_LETTERS]
    changed = dataclasses.replace(changed, version=f"{card.version}+{digest}")
    try:
        return write_bundle(folder, changed, parent.classifier_path, parent.segmenter_path)
    except OSError as error:
        raise UsageError(
            f"cannot write the bundle {folder}: {error.strerror}; choose another folder"
        ) from error


def refuse_folder(parent: Bundle, folder: Path) -> None:
    """Refuse a folder that no derived bundle can take, before any work is done.

    Raises:
        BundleError: it is the parent's own, or exists and is not a bundle.
    """
    if folder.resolve() == parent.folder.resolve():
        raise BundleError(
            f"{folder} is the parent bundle itself, which is left as it is; name another folder"
        )
    if folder.exists() and not (folder / CARD_FILE).is_file():
        raise BundleError(f"{folder} exists and is not a bundle; name another folder or remove it")


def parent_line(parent: Bundle) -> str:
    """What a derived card says of its parent: name, version, first digits of the card's SHA-256."""
    digest = hashlib.sha256((parent.folder / CARD_FILE).read_bytes()).hexdigest()
    return f"{parent.card.name} {parent.card.version} {digest[:_DIGEST_LETTERS]}"
