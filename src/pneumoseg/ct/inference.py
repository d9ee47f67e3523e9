"""The cascade on a CT volume: slices in, a finding of the whole volume out.

    slices ── read ahead ──► window, letterbox ──► classifier ──► neighbours agree ──► suspected?
    suspected slices, one more to either side ──► segmenter ──► bilinear ──► threshold ──► masks
    masks, packed ──► 3-D components, smallest dropped ──► lesions: mL, side, thickness
    coarse slices ──► lung found? middle of the body, lung volume of each side

One pass over the slices: a slice is forgotten when it was segmented or is known not to be
suspected, a few slices after it was read (:attr:`~pneumoseg.ct.gating.SliceGate.reach`). So memory
holds some dozens of slices, whatever the length of the series, and the predicted masks. The
networks and their road from grid to probabilities are those of films,
:mod:`pneumoseg.pipeline_inference`.
"""

from __future__ import annotations

import dataclasses
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TypeVar, Unpack

import numpy as np
from numpy.typing import NDArray

from pneumoseg import preprocess
from pneumoseg.bundle import Bundle
from pneumoseg.ct.finding import VolumeFinding
from pneumoseg.ct.gating import SliceGate, with_margin
from pneumoseg.ct.lesions import Smallest, VolumeLesion, find_volume_lesions, lesion_plane
from pneumoseg.ct.lungs import LungField, LungFinder
from pneumoseg.ct.slice_masks import SliceMasks
from pneumoseg.errors import InputError
from pneumoseg.pipeline_inference import Cascade
from pneumoseg.preprocess import Placement, Window
from pneumoseg.settings import OperatingPoint, PipelineConfig
from pneumoseg.study import Detection, Modality, Side, Volume

BATCH_SLICES = 8
"""Slices that go through a network together."""
NO_LUNG = "no-lung"

OnSlices = Callable[[int, int], None]
"""Told slices done and slices in all."""
_Grid = NDArray[np.uint8]
_Item = TypeVar("_Item")


@dataclass(frozen=True)
class VolumeCascade:
    """Both stages, ready to run on volumes.

    Attributes:
        cascade: the networks and the operating point.
        window: the HU that the networks see from 0 to 1, from the card.
        batch_slices: slices the networks take at once.
    """

    cascade: Cascade
    window: Window
    batch_slices: int = BATCH_SLICES

    @classmethod
    def load(
        cls,
        bundle: str | Path = "ct",
        *,
        runtime: str = "openvino",
        device: str = "auto",
        precision: str = "f32",
        threads: int | None = None,
        streams: int | None = None,
        batch_slices: int = BATCH_SLICES,
        **numbers: Unpack[OperatingPoint],
    ) -> VolumeCascade:
        """Load a CT bundle into a runtime: ``VolumeCascade.load().predict(open_volume(found))``.

        Args:
            bundle: name of a shipped bundle, or a bundle's folder.
            runtime: ``openvino``, ``onnxruntime`` or ``torch``; ``auto`` for the best that is here.
            device: ``cpu``, ``cuda`` or ``auto``.
            precision: ``f32``, or ``bf16`` where runtime and device have it.
            threads: threads of each network, or None for the runtime's own choice.
            streams: films OpenVINO computes at the same time; None for one a thread, up to 4.
            batch_slices: slices the networks take at once; results do not depend on it.
            numbers: fields of :class:`pneumoseg.settings.PipelineConfig` that replace the card's,
                for example ``min_volume_ml=5.0``; ``min_pixels`` rules where the spacing is not
                known.

        Raises:
            BundleError: no such bundle, it is damaged, or it is not made for CT.
            RuntimeUnavailableError: the runtime or the precision is not available here.
            UsageError: a value out of its range.
        """
        cascade = Cascade.load(
            bundle,
            runtime=runtime,
            device=device,
            precision=precision,
            threads=threads,
            streams=streams,
            **numbers,
        )
        return cls.of(cascade, batch_slices=batch_slices)

    @classmethod
    def of(cls, cascade: Cascade, *, batch_slices: int = BATCH_SLICES) -> VolumeCascade:
        """Use a loaded cascade.

        Raises:
            BundleError: its bundle is not made for CT.
        """
        cascade.bundle.require(Modality.CT)
        return cls(cascade, cascade.bundle.card.window or Window(), batch_slices)

    @property
    def bundle(self) -> Bundle:
        """Where the networks come from."""
        return self.cascade.bundle

    @property
    def config(self) -> PipelineConfig:
        """The operating point in force."""
        return self.cascade.config

    def predict(self, volume: Volume, *, on_slices: OnSlices | None = None) -> VolumeFinding:
        """Find and outline pneumothorax in a volume.

        Args:
            volume: from :func:`pneumoseg.reading.volumes.open_volume`.
            on_slices: called after each batch.

        Raises:
            InputError: ``wrong-modality``; ``no-lung`` where the spacing is known and no lung is
                found (a picture is flagged in its notes instead); or a slice cannot be read.
        """
        if volume.source.modality is not Modality.CT:
            raise InputError(
                f"{volume.source.image_id}: the bundle {self.bundle.card.name!r} reads CT, got "
                f"{volume.source.modality.value}; leave it out",
                code="wrong-modality",
            )
        started = time.perf_counter()
        run = _VolumeRun(self, volume)
        run.go(on_slices)
        lungs = run.lungs.found()
        notes = _check_lung(volume, lungs)
        lesions = self._lesions(volume, run, lungs)
        detection = run.detection()
        return VolumeFinding(
            source=dataclasses.replace(volume.source, notes=(*volume.source.notes, *notes)),
            shape=volume.shape,
            spacing_mm=volume.spacing_mm,
            geometry=volume.geometry,
            sop_instance_uids=volume.sop_instance_uids,
            detection=detection,
            slice_probabilities=run.probabilities(),
            segmented=run.segmented,
            lesions=lesions,
            hemithorax_shares=_shares(lesions, lungs, volume.shape),
            provenance=self.cascade.provenance,
            seconds=time.perf_counter() - started,
        )

    def _lesions(
        self, volume: Volume, run: _VolumeRun, lungs: LungField
    ) -> tuple[VolumeLesion, ...]:
        placement = Placement.letterbox(*volume.shape[1:])
        smallest = Smallest(
            self.config.min_volume_ml,
            self.config.min_pixels * placement.source_pixels_per_grid_pixel,
        )
        return find_volume_lesions(
            run.masks,
            smallest=smallest,
            midlines=lungs.midlines,
            spacing_mm=volume.spacing_mm,
            geometry=volume.geometry,
        )


@dataclass
class _VolumeRun:
    """One pass over one volume's slices."""

    owner: VolumeCascade
    volume: Volume
    gate: SliceGate = field(init=False)
    lungs: LungFinder = field(init=False)
    masks: SliceMasks = field(init=False)
    segmented: NDArray[np.bool_] = field(init=False)
    logits: list[float] = field(default_factory=list)
    waiting: dict[int, _Grid] = field(default_factory=dict)
    decided: int = 0

    def __post_init__(self) -> None:
        volume = self.volume
        self.gate = SliceGate.of(volume.shape[0], volume.spacing_mm, volume.geometry)
        self.lungs = LungFinder(volume.shape, volume.spacing_mm, volume.geometry)
        self.masks = SliceMasks(volume.shape)
        self.segmented = np.zeros(volume.shape[0], dtype=np.bool_)

    def go(self, on_slices: OnSlices | None) -> None:
        """Read, detect, segment."""
        size, slices = self.owner.batch_slices, self.volume.shape[0]
        prepared = (self._prepare(index, hu) for index, hu in enumerate(self.volume.slices()))
        with closing(prefetch(prepared, 2 * size)) as arriving:
            while batch := list(islice(arriving, size)):
                detections = self.owner.cascade.detect(batch)
                for grid, detection in zip(batch, detections, strict=True):
                    self.waiting[len(self.logits)] = grid
                    self.logits.append(detection.logit)
                self._segment(len(self.logits) - self.gate.reach)
                if on_slices is not None:
                    on_slices(len(self.logits), slices)
        if len(self.logits) != slices:
            raise InputError(
                f"{len(self.logits)} slices were read where {slices} were announced; "
                "copy the volume again from its origin",
                code="truncated",
            )
        self._segment(slices)

    def _prepare(self, index: int, hu: NDArray[np.float32]) -> _Grid:
        """In the reading thread: what is kept of a slice's HU."""
        self.lungs.add(index, hu)
        return preprocess.slice_to_grid(hu, self.owner.window)[0]

    def _smoothed(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Logits and probabilities of the slices so far, their neighbours' agreement included."""
        logits = self.gate.smoothed(np.array(self.logits, dtype=np.float64))
        calibrated = self.owner.bundle.card.calibration.apply(logits)
        return logits, calibrated

    def _segment(self, until: int) -> None:
        """Stage two for the suspected ones among the slices that are now decided."""
        if until <= self.decided:
            return
        _, probabilities = self._smoothed()
        config = self.owner.config
        suspected = probabilities >= config.classifier_threshold
        chosen = with_margin(suspected) if config.gate == "hard" else np.ones_like(suspected)
        indices = [i for i in range(self.decided, until) if chosen[i]]
        size = self.owner.batch_slices
        placement = Placement.letterbox(*self.volume.shape[1:])
        for start in range(0, len(indices), size):
            some = indices[start : start + size]
            maps = self.owner.cascade.segment([self.waiting[i] for i in some])  # (B, S, S)
            for index, one in zip(some, maps, strict=True):
                scaled = one * np.float32(probabilities[index]) if config.gate == "soft" else one
                on_slice = preprocess.to_source_grid(scaled, placement)  # (rows, cols)
                self.masks.add(index, on_slice, config.segmenter_threshold)
        self.segmented[indices] = True
        for index in range(self.decided, until):
            del self.waiting[index]
        self.decided = until

    def probabilities(self) -> NDArray[np.float64]:
        """Of every slice, float64 (slices,)."""
        return self._smoothed()[1]

    def detection(self) -> Detection:
        """The volume's: that of the slice with the highest smoothed logit."""
        logits, probabilities = self._smoothed()
        best = int(np.argmax(logits))
        return Detection(
            float(logits[best]),
            float(probabilities[best]),
            self.owner.config.classifier_threshold,
        )


def prefetch(items: Iterable[_Item], ahead: int) -> Generator[_Item, None, None]:
    """Take items in another thread, in order, at most ``ahead`` of them before they are asked for.

    Close it to stop the thread early; what an item raises comes where the item would.
    """
    arriving = iter(items)
    end = object()
    executor = ThreadPoolExecutor(1, thread_name_prefix="slices")
    try:
        waiting: deque[Future[object]] = deque(
            executor.submit(next, arriving, end) for _ in range(ahead)
        )
        while True:
            item = waiting.popleft().result()
            if item is end:
                return
            waiting.append(executor.submit(next, arriving, end))
            yield item  # type: ignore[misc]  # the end is told apart above
    finally:
        executor.shutdown(wait=True, cancel_futures=True)


def _check_lung(volume: Volume, lungs: LungField) -> tuple[str, ...]:
    """Refuse a volume without lung; a picture, one slice of unknown scale, is only flagged."""
    if lungs.is_found:
        return ()
    if volume.spacing_mm is None:
        return (
            f"{NO_LUNG}: no lung was found on this picture (another part of the body, or another "
            "window than was taken); the result means nothing unless it is a chest",
        )
    raise InputError(
        "no lung was found in this volume (an abdomen, a head, ...?); give a chest CT", code=NO_LUNG
    )


def _shares(
    lesions: Sequence[VolumeLesion], lungs: LungField, shape: tuple[int, int, int]
) -> dict[Side, float]:
    """Pneumothorax as a share of the hemithorax, for each side that has one.

    Pneumothorax over pneumothorax and aerated lung (with airways) of the same side, both of this
    volume; nothing where the spacing is not known.
    """
    predicted_mask = np.stack(
        [lungs.coarse(lesion_plane(lesions, int(index), shape)) for index in lungs.indices]
    )
    shares: dict[Side, float] = {}
    for side in Side:
        volumes = [x.volume_ml for x in lesions if x.side is side and x.volume_ml is not None]
        lung = lungs.lung_ml(side, predicted_mask)
        if volumes and lung is not None:
            shares[side] = sum(volumes) / (sum(volumes) + lung)
    return shares
