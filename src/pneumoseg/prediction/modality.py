"""X-rays or CT? Decided before anything is loaded, and never guessed.

What is said counts first: ``--modality``, else the bundle that was named. Where nothing is said,
the first input that tells by its content does (a DICOM image by its class and Modality, NIfTI is
CT), and every other is held to that: inputs of the other kind end in ``failures.csv``. A picture
(PNG, JPEG, WebP, TIFF) does not tell; without a word about it, it is not used.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pneumoseg.bundle import load_bundle
from pneumoseg.errors import InputError, UsageError
from pneumoseg.prediction.settings import PredictSettings
from pneumoseg.reading.ct.header import LOCALIZER, read_header
from pneumoseg.reading.file import look
from pneumoseg.reading.sniff import Format
from pneumoseg.study import Modality

DEFAULT_BUNDLES = {Modality.XRAY: "cxr", Modality.CT: "ct"}
_CT_ONLY = ("min_volume_ml", "window_center", "window_width")
_XRAY_ONLY = ("top_threshold", "top_min_pixels", "mirror", "operating_point")


@dataclass(frozen=True)
class Decided:
    """What a run is about.

    Attributes:
        modality: of the inputs that are used.
        settings: the call with its bundle named.
        pictures: whether pictures are known to be of that modality.
    """

    modality: Modality
    settings: PredictSettings
    pictures: bool


def decide_modality(settings: PredictSettings, inputs: Iterable[Path]) -> Decided:
    """Decide what a run is about.

    Args:
        settings: the call.
        inputs: its files, looked at in order until one tells.

    Raises:
        BundleError: the bundle is damaged, or not made for the modality that was named.
        UsageError: there are only pictures and nothing says what they show; or an option was given
            that the modality does not have.
    """
    modality = None if settings.modality == "auto" else Modality(settings.modality)
    if settings.bundle is not None:
        bundle = load_bundle(settings.bundle)
        if modality is not None:
            bundle.require(modality)
        modality = bundle.card.modality
    pictures = modality is not None
    if modality is None:
        modality = _first_that_tells(inputs)
    _check_options(settings, modality)
    named = settings.bundle or DEFAULT_BUNDLES[modality]
    return Decided(modality, dataclasses.replace(settings, bundle=named), pictures)


def _first_that_tells(inputs: Iterable[Path]) -> Modality:
    picture: Path | None = None
    for path in inputs:
        try:
            head, found = look(path)
            if found is Format.NIFTI:
                return Modality.CT
            if found is Format.RASTER:
                picture = picture or path
            elif found is Format.DICOM:
                header = read_header(path, head)
                if header.slices or header.aside == LOCALIZER:
                    return Modality.CT
                if header.modality:
                    return Modality.XRAY
        except InputError:
            continue  # it gets its line among the failures
    if picture is not None:
        raise UsageError(
            f"the picture {picture} does not say whether it is an X-ray or a slice of a CT; add "
            "--modality xray or --modality ct"
        )
    return Modality.XRAY  # nothing here can be used; the run says of each file why


def _check_options(settings: PredictSettings, modality: Modality) -> None:
    others = _CT_ONLY if modality is Modality.XRAY else _XRAY_ONLY
    for name in others:
        if getattr(settings, name) is not None:
            raise UsageError(
                f"--{name.replace('_', '-')} is not for {modality.value}; leave it out, or give "
                "the --modality it is for"
            )
