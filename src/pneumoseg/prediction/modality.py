"""What a call comes to: X-rays or CT, which bundle, which runtime. Decided before anything is run.

Nothing is guessed. What is said counts first: ``--modality``, else the bundle that was named. Where
nothing is said, the first input that tells by its content does (a DICOM image by its class and
Modality, NIfTI is CT), and every other is held to that: inputs of the other kind end in
``failures.csv``. A picture (PNG, JPEG, WebP, TIFF) does not tell; without a word about it, it is
not used.
"""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from pneumoseg.bundle import Bundle, load_bundle
from pneumoseg.errors import InputError, UsageError
from pneumoseg.prediction.settings import PredictSettings
from pneumoseg.reading.dicom.file import is_other_than_ct
from pneumoseg.reading.file import look
from pneumoseg.reading.sniff import Format
from pneumoseg.runtime import Choice, choose_runtime
from pneumoseg.study import Modality
from pneumoseg.version import __version__

if TYPE_CHECKING:  # OpenVINO takes a second to import
    from pneumoseg.ct.inference import VolumeCascade
    from pneumoseg.pipeline_inference import Cascade

DEFAULT_BUNDLES = {Modality.XRAY: "cxr", Modality.CT: "ct"}
_CT_ONLY = ("min_volume_ml", "window_center", "window_width")
_XRAY_ONLY = ("top_threshold", "top_min_pixels", "mirror", "operating_point")
_OWN = {Modality.XRAY: ("masks",), Modality.CT: ("window_center", "window_width")}
"""Options that must be the same when a run of that modality is resumed."""

_Item = TypeVar("_Item")


class Inputs(Generic[_Item]):
    """Inputs that are listed once: the first may be looked at, and still come."""

    def __init__(self, listed: Iterable[_Item]) -> None:
        self._listed, self._seen = iter(listed), deque[_Item]()

    def look(self) -> Iterator[_Item]:
        """All inputs from the first on; what is looked at is kept until it is taken."""
        yield from tuple(self._seen)
        for item in self._listed:
            self._seen.append(item)
            yield item

    def __iter__(self) -> Iterator[_Item]:
        while self._seen:
            yield self._seen.popleft()
        yield from self._listed


def require_some(inputs: Inputs[_Item], settings: PredictSettings) -> None:
    """Refuse a call without inputs.

    Raises:
        UsageError: there is no file.
    """
    if next(inputs.look(), None) is None:
        raise UsageError(
            f"no file was found in {', '.join(map(str, settings.paths))}; "
            "give files, or folders that hold some"
        )


@dataclass(frozen=True)
class Decided:
    """What a run is about.

    Attributes:
        modality: of the inputs that are used.
        settings: the call with bundle, runtime and device named.
        pictures: whether pictures are known to be of that modality.
        networks: what runs them, and why.
        bundle: the bundle, where it was opened to decide.
    """

    modality: Modality
    settings: PredictSettings
    pictures: bool
    networks: Choice
    bundle: Bundle | None = None


def decide(settings: PredictSettings, inputs: Iterable[Path]) -> Decided:
    """Decide what a run is about.

    Args:
        settings: the call.
        inputs: its files, looked at in order until one tells.

    Raises:
        BundleError: the bundle is damaged, or not made for the modality that was named.
        RuntimeUnavailableError: what is asked for is not available here.
        UsageError: there are only pictures and nothing says what they show; an option was given
            that the modality does not have; or the runtime, device or precision is unknown.
    """
    networks = choose_runtime(
        settings.runtime, device=settings.device, precision=settings.precision
    )
    modality = None if settings.modality == "auto" else Modality(settings.modality)
    bundle = None
    if settings.bundle is not None:
        bundle = load_bundle(settings.bundle)
        if modality is not None:
            bundle.require(modality)
        modality = bundle.card.modality
    pictures = modality is not None
    if modality is None:
        modality = _first_that_tells(inputs)
    _check_options(settings, modality)
    settings = dataclasses.replace(
        settings,
        bundle=settings.bundle or DEFAULT_BUNDLES[modality],
        runtime=networks.runtime,
        device=networks.device,
    )
    return Decided(modality, settings, pictures, networks, bundle)


def signature(
    settings: PredictSettings,
    predictor: Cascade | VolumeCascade,
    modality: Modality,
    *,
    pictures: bool,
) -> dict[str, Any]:
    """What must be the same for a run to be resumed, by whichever engine."""
    return {
        "modality": modality.value,
        "paths": [str(path.resolve()) for path in settings.paths],
        "bundle": predictor.bundle.card.name,
        "bundle_version": str(predictor.bundle.card.version),
        "software_version": __version__,
        "runtime": settings.runtime,
        "device": settings.device,
        "precision": settings.precision,
        **asdict(predictor.config),
        "pictures": pictures,
        "overlays": settings.overlays,
        **{name: getattr(settings, name) for name in _OWN[modality]},
    }


def load_cascade(settings: PredictSettings, bundle: Bundle | None = None) -> Cascade:
    """Load the cascade as a call asks, from the bundle where it is open already."""
    from pneumoseg.pipeline_inference import Cascade

    return Cascade.load(
        bundle or settings.bundle or DEFAULT_BUNDLES[Modality.XRAY],
        runtime=settings.runtime,
        device=settings.device,
        precision=settings.precision,
        threads=settings.threads,
        streams=settings.streams,
        operating_point=settings.operating_point or "screening",
        classifier_threshold=settings.classifier_threshold,
        segmenter_threshold=settings.segmenter_threshold,
        min_pixels=settings.min_pixels,
        top_threshold=settings.top_threshold,
        top_min_pixels=settings.top_min_pixels,
        min_volume_ml=settings.min_volume_ml,
        gate=settings.gate,
        mirror=settings.mirror,
    )


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
                told = Modality.XRAY if is_other_than_ct(path, head) else _by_header(path, head)
                if told is not None:
                    return told
        except InputError:
            continue  # it gets its line among the failures
    if picture is not None:
        raise UsageError(
            f"the picture {picture} does not say whether it is an X-ray or a slice of a CT; add "
            "--modality xray or --modality ct"
        )
    return Modality.XRAY  # nothing here can be used; the run says of each file why


def _by_header(path: Path, head: bytes) -> Modality | None:
    """What the whole header says; None of what may come with either."""
    from pneumoseg.reading.ct.header import LOCALIZER, read_header  # X-rays do without

    header = read_header(path, head)
    if header.slices or header.aside == LOCALIZER:
        return Modality.CT
    return Modality.XRAY if header.modality else None


def _check_options(settings: PredictSettings, modality: Modality) -> None:
    others = _CT_ONLY if modality is Modality.XRAY else _XRAY_ONLY
    for name in others:
        if getattr(settings, name) is not None:
            raise UsageError(
                f"--{name.replace('_', '-')} is not for {modality.value}; leave it out, or give "
                "the --modality it is for"
            )
