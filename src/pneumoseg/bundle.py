"""A bundle: all that inference needs, in one folder.

    card.toml         what the networks are, how to feed them, where they were measured
    classifier.onnx   stage one
    segmenter.onnx    stage two

The card is the bundle's contract. It is read strictly (an unknown, missing or mistyped key is an
error) and carries the SHA-256 of both networks, so that weights and card never part in silence.
"""

from __future__ import annotations

import dataclasses
import hashlib
import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from pneumoseg.calibration import Calibration
from pneumoseg.errors import BundleError, UsageError
from pneumoseg.preprocess import Normalisation, Window
from pneumoseg.settings import PipelineConfig, PointName
from pneumoseg.statistics.estimate import Estimate
from pneumoseg.storage.strict import load_settings
from pneumoseg.storage.toml_text import toml_text
from pneumoseg.study import Modality

CARD_FILE = "card.toml"
CLASSIFIER_FILE = "classifier.onnx"
SEGMENTER_FILE = "segmenter.onnx"

SHIPPED_FOLDER = Path(__file__).parent / "bundles"
"""Where the bundles that come with the package lie, a folder each."""

_SHA256 = re.compile(r"[0-9a-f]{64}")
STRIDE = 32
"""Both backbones halve the image five times: an input side must be a multiple of 2**5."""


@dataclass(frozen=True, kw_only=True)
class CardFigure:
    """One measured number with everything needed to judge it.

    ``low`` and ``high`` bound the bootstrap 95 % interval; ``split`` names the part of the data,
    ``origin`` the data set. ``value`` is None where the data do not define it.
    """

    name: str
    value: float | None = None
    low: float | None = None
    high: float | None = None
    n: int
    n_positive: int
    n_patients: int | None = None
    split: str
    origin: str

    @classmethod
    def of(cls, estimate: Estimate, *, split: str, origin: str, name: str = "") -> CardFigure:
        """An estimate for the card, under another name where one is given."""
        return cls(
            name=name or estimate.name,
            value=estimate.value,
            low=estimate.low,
            high=estimate.high,
            n=estimate.n,
            n_positive=estimate.n_positive,
            n_patients=estimate.n_patients,
            split=split,
            origin=origin,
        )

    @property
    def estimate(self) -> Estimate:
        """The same as an estimate, to be put into words."""
        return Estimate(
            name=self.name,
            value=self.value,
            low=self.low,
            high=self.high,
            n=self.n,
            n_positive=self.n_positive,
            n_patients=self.n_patients,
            unit="image" if self.n_patients is None else "patient",
        )


@dataclass(frozen=True)
class Training:
    """Where the weights come from: data, their licence, and what each stage began with."""

    data: str
    licence: str
    classifier_init: str
    segmenter_init: str
    notes: tuple[str, ...] = ()
    """Limits and anything a user should know, one sentence each."""


@dataclass(frozen=True)
class Digests:
    """SHA-256 of the two network files, 64 lower-case hexadecimal digits each."""

    classifier: str
    segmenter: str

    def __post_init__(self) -> None:
        for name in ("classifier", "segmenter"):
            if not _SHA256.fullmatch(getattr(self, name)):
                raise BundleError(
                    f"sha256.{name} must be 64 hexadecimal digits, got {getattr(self, name)!r}"
                )

    @classmethod
    def of(cls, classifier: Path, segmenter: Path) -> Digests:
        """Digests of two files on disk."""
        return cls(_sha256_of(classifier), _sha256_of(segmenter))


@dataclass(frozen=True)
class Card:
    """What a bundle says about itself; the fields are the keys of ``card.toml``.

    Attributes:
        name: short name, the folder's for a shipped bundle.
        version: of the weights; it goes into every finding.
        modality: the only kind of examination the bundle may be used on.
        classifier_size: side of the classifier's input in pixels, a multiple of 32.
        segmenter_size: side of the segmenter's input in pixels, a multiple of 32.
        normalisation: mean and standard deviation on the unit interval, for both networks.
        config: the calibrated operating point for screening: recall first.
        leaderboard: that of the best SIIM mean Dice, where there is one.
        calibration: from the classifier's logit to a probability.
        training: data, licence, initial weights, limits.
        sha256: digests of the two network files.
        figures: what was measured, on what.
        window: the HU that CT slices are shown with; a CT bundle must have one, no other may.
        parent: name, version and card digest of the bundle this one was derived from, or empty.
    """

    name: str
    version: str
    modality: Modality
    classifier_size: int
    segmenter_size: int
    normalisation: Normalisation
    config: PipelineConfig
    calibration: Calibration
    training: Training
    sha256: Digests
    figures: tuple[CardFigure, ...] = ()
    window: Window | None = None
    parent: str = ""
    leaderboard: PipelineConfig | None = None

    def __post_init__(self) -> None:
        for name in ("classifier_size", "segmenter_size"):
            size = getattr(self, name)
            if size < STRIDE or size % STRIDE:
                raise BundleError(f"{name} must be a multiple of {STRIDE}, got {size}")
        if not self.name or not self.version:
            raise BundleError("a bundle needs a name and a version")
        if self.normalisation.std <= 0:
            raise BundleError(f"normalisation.std must be positive, got {self.normalisation.std}")
        if (self.window is None) == (self.modality is Modality.CT):
            raise BundleError("a CT bundle needs a window in HU, and no other bundle has one")
        if self.window is not None and self.window.width <= 0:
            raise BundleError(f"window.width must be positive, got {self.window.width}")

    def point(self, name: PointName = "screening") -> PipelineConfig:
        """One of the card's operating points.

        Raises:
            UsageError: the card has none of that name.
        """
        if name == "screening":
            return self.config
        if name != "leaderboard" or self.leaderboard is None:
            raise UsageError(
                f"the bundle {self.name!r} has no operating point {name!r}; choose "
                + ("screening" if self.leaderboard is None else "screening or leaderboard")
            )
        return self.leaderboard


@dataclass(frozen=True)
class Bundle:
    """A folder whose card was read and whose files were verified."""

    folder: Path
    card: Card

    @property
    def classifier_path(self) -> Path:
        """The classifier's ONNX file."""
        return self.folder / CLASSIFIER_FILE

    @property
    def segmenter_path(self) -> Path:
        """The segmenter's ONNX file."""
        return self.folder / SEGMENTER_FILE

    def require(self, modality: Modality) -> None:
        """Refuse to be used on another kind of examination.

        Raises:
            BundleError: the bundle is not made for ``modality``.
        """
        if self.card.modality is not modality:
            raise BundleError(
                f"the bundle {self.card.name!r} is made for {self.card.modality.value} and cannot "
                f"be used on {modality.value}; choose a bundle made for {modality.value}"
            )


def shipped_bundles() -> tuple[str, ...]:
    """Names of the bundles that come with the package, sorted."""
    return tuple(sorted(card.parent.name for card in SHIPPED_FOLDER.glob(f"*/{CARD_FILE}")))


def load_bundle(name_or_path: str | Path) -> Bundle:
    """Open a bundle and verify it.

    Args:
        name_or_path: the name of a shipped bundle, or a folder. A shipped name wins over a folder
            of that name in the working directory; write ``./cxr`` for the folder.

    Raises:
        BundleError: there is no such bundle, its card is not valid, or a network file is missing or
            not the one that the card describes.
    """
    folder = Path(name_or_path)
    if str(name_or_path) in (shipped := shipped_bundles()):
        folder = SHIPPED_FOLDER / name_or_path
    if not (folder / CARD_FILE).is_file():
        raise BundleError(
            f"{str(name_or_path)!r} is neither a shipped bundle ({', '.join(shipped) or 'none'}) "
            f"nor a folder with a {CARD_FILE}"
        )
    bundle = Bundle(folder, read_card(folder))
    for path, stage in (
        (bundle.classifier_path, "classifier"),
        (bundle.segmenter_path, "segmenter"),
    ):
        _verify(path, getattr(bundle.card.sha256, stage))
    return bundle


def read_card(folder: Path) -> Card:
    """Read ``card.toml`` strictly, without looking at the networks.

    Raises:
        BundleError: the card cannot be read; the message names the key.
    """
    path = folder / CARD_FILE
    try:
        return load_settings(Card, path)
    except (UsageError, ValueError) as error:
        # A value refused by its own dataclass comes without the file's name.
        named = str(path) in str(error)
        raise BundleError(str(error) if named else f"{path}: {error}") from error


_HEADER = """The card of a pneumoseg bundle: what inference must know about its two networks.
Research use only: not a medical device. Read strictly; an unknown key is an error."""

_COMMENTS = {
    "modality": "The only kind of examination these networks may be used on.",
    "classifier_size": "Sides of the square network inputs, in pixels.",
    "normalisation": "Networks see (x - mean) / std, with x in [0, 1].",
    "config": "The calibrated operating point for screening; a flag or keyword replaces it.",
    "leaderboard": "The operating point of the best SIIM mean Dice, for submissions.",
    "calibration": "From the classifier's logit to the probability that a reader sees.",
    "window": "The HU that CT slices are shown with, from 0 to 1.",
    "parent": "The bundle this one was derived from; empty for one trained from data.",
    "training": "Where the weights come from.",
    "sha256": "Digests of classifier.onnx and segmenter.onnx.",
    "figures": "What was measured: low and high bound the bootstrap 95 % interval.",
}


def write_card(card: Card, folder: Path) -> Path:
    """Write ``card.toml``; it reads back to an equal card. Returns its path."""
    path = folder / CARD_FILE
    path.write_text(toml_text(card, header=_HEADER, comments=_COMMENTS), encoding="utf-8")
    return path


def write_bundle(folder: Path, card: Card, classifier: Path, segmenter: Path) -> Bundle:
    """Make a bundle out of a card and two network files, all or nothing.

    The files are gathered in a neighbouring folder that takes the name at the end, so that a
    half-written bundle is never found under it; a bundle already there is replaced.

    Args:
        folder: the bundle to be.
        card: its ``sha256`` is replaced by the digests of the two files.
        classifier: ONNX file of stage one, copied.
        segmenter: ONNX file of stage two, copied.

    Returns:
        The bundle as loaded and verified from ``folder``.

    Raises:
        BundleError: ``folder`` exists and is not a bundle; or a network file is missing.
    """
    if folder.exists() and not (folder / CARD_FILE).is_file():
        raise BundleError(f"{folder} exists and is not a bundle; name another folder or remove it")
    for path in (classifier, segmenter):
        if not path.is_file():
            raise BundleError(f"the network file {path} does not exist; export it first")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as scratch:
        made = Path(scratch) / "new"
        made.mkdir()
        shutil.copyfile(classifier, made / CLASSIFIER_FILE)
        shutil.copyfile(segmenter, made / SEGMENTER_FILE)
        digests = Digests.of(made / CLASSIFIER_FILE, made / SEGMENTER_FILE)
        write_card(dataclasses.replace(card, sha256=digests), made)
        if folder.exists():
            folder.replace(Path(scratch) / "old")
        made.replace(folder)
    return load_bundle(folder.absolute())


def _verify(path: Path, expected: str) -> None:
    if not path.is_file():
        raise BundleError(f"the bundle lacks {path.name}: {path} does not exist; fetch it again")
    found = _sha256_of(path)
    if found != expected:
        raise BundleError(
            f"{path} is not the file its card describes (sha256 {found[:12]}…, expected "
            f"{expected[:12]}…); the download may be damaged: fetch the bundle again"
        )


def _sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
