"""The cascade: from an image to a finding. Start reading here.

    image ─► classifier (EfficientNet-B3) ─ p ≥ threshold? ─ yes ─► segmenter (U-Net)
                                             │                        └─► mask, lesions
                                             └ no ─► no mask: stage two is not run

Stage one asks of every film: is there a pneumothorax? It looks at the whole film, is quick, and is
set to miss almost none, so it suspects more films than are positive. Stage two looks only at those
and answers: where? Most films of a normal day never reach it, which saves most of the work and, as
no mask is drawn on them, most false outlines.

One film takes this road (each step is one line of the code below):

    pixels (rows, cols) ── letterbox ──► grid (512, 512) ── resize, normalise ──► tensor (1, S, S)
    tensor ── classifier ──► logit ── calibration ──► probability ── threshold ──► suspected?
    tensor ── segmenter ──► logits (S, S) ── sigmoid ──► probabilities ── bilinear ──► (rows, cols)
    probabilities ── threshold, triplet rule ──► mask ── components, smallest dropped ──► lesions

:meth:`Cascade.predict_batch` takes it for a few films, :mod:`pneumoseg.prediction.stages` for many:
the same steps, each as soon as it has a batch.

Everything that was learnt or measured (weights, sizes, calibration, thresholds) comes from a
*bundle*; see :mod:`pneumoseg.bundle`. Research use only: not a medical device.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Unpack

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from pneumoseg import postprocess, preprocess
from pneumoseg.bundle import Bundle, load_bundle
from pneumoseg.errors import BundleError, InputError
from pneumoseg.preprocess import Placement
from pneumoseg.runtime import Network, load_network, run_on_grids
from pneumoseg.settings import OperatingPoint, PipelineConfig, PointName
from pneumoseg.study import (
    Detection,
    Finding,
    Image,
    Lesion,
    Mask,
    Modality,
    Provenance,
    Source,
    Units,
)
from pneumoseg.version import __version__

__all__ = ["Cascade", "PipelineConfig"]

LARGEST_BATCH = 16
"""Films that go through a network together; longer sequences are cut, so that memory is bounded."""


@dataclass(frozen=True, eq=False)
class Film:
    """What the stages need of a film; its own pixels may be forgotten.

    Attributes:
        source: the image's.
        shape: (rows, cols) of the image.
        spacing_mm: the image's.
        grid: uint8 (512, 512), letterboxed.
        placement: where the image lies on the grid.
    """

    source: Source
    shape: tuple[int, ...]
    spacing_mm: tuple[float, ...] | None
    grid: NDArray[np.uint8]
    placement: Placement


@dataclass(frozen=True)
class Cascade:
    """Both stages, ready to run.

    Attributes:
        bundle: where the networks and their card come from.
        config: the operating point: the card's, but for what the caller overrides.
        classifier: stage one, (B, 1, S, S) to (B, 1) logits.
        segmenter: stage two, (B, 1, S, S) to (B, 1, S, S) logits.
    """

    bundle: Bundle
    config: PipelineConfig
    classifier: Network
    segmenter: Network

    @classmethod
    def load(
        cls,
        bundle: str | Path | Bundle = "cxr",
        *,
        runtime: str = "openvino",
        device: str = "auto",
        precision: str = "f32",
        threads: int | None = None,
        streams: int | None = None,
        operating_point: PointName = "screening",
        **numbers: Unpack[OperatingPoint],
    ) -> Cascade:
        """Load a bundle into a runtime: ``Cascade.load("cxr").predict(read("chest.dcm"))``.

        Args:
            bundle: name of a shipped bundle, a bundle's folder, or one that is open already.
            runtime: ``openvino``, ``onnxruntime`` or ``torch``; ``auto`` for the best that is here.
            device: ``cpu``, ``cuda`` or ``auto``.
            precision: ``f32``, or ``bf16`` where runtime and device have it.
            threads: threads of each network, or None for the runtime's own choice.
            streams: films OpenVINO computes at the same time; None for one a thread, up to 4.
            operating_point: ``screening``, recall first, or ``leaderboard``, the best SIIM mean
                Dice, where the card has one.
            numbers: fields of :class:`PipelineConfig` that replace the card's, for example
                ``classifier_threshold=0.2``.

        Raises:
            BundleError: no such bundle, or it is damaged.
            RuntimeUnavailableError: the runtime or the precision is not available here.
            UsageError: a value out of its range.
        """
        opened = bundle if isinstance(bundle, Bundle) else load_bundle(bundle)
        config = opened.card.point(operating_point).replaced(**numbers)
        load = functools.partial(
            load_network,
            runtime=runtime,
            device=device,
            precision=precision,
            threads=threads,
            streams=streams,
        )
        with ThreadPoolExecutor(2) as loading:  # to compile a network keeps one core busy
            classifier, segmenter = loading.map(
                load, (opened.classifier_path, opened.segmenter_path)
            )
        card = opened.card
        if (classifier.size, segmenter.size) != (card.classifier_size, card.segmenter_size):
            raise BundleError(
                f"the card of {card.name!r} says inputs of {card.classifier_size} and "
                f"{card.segmenter_size} pixels, its networks take {classifier.size} and "
                f"{segmenter.size}; make the bundle again"
            )
        return cls(opened, config, classifier, segmenter)

    def predict(self, image: Image) -> Finding:
        """Run the cascade on one image; see :meth:`predict_batch`."""
        return self.predict_batch([image])[0]

    def predict_batch(
        self, images: Sequence[Image], *, keep_probability_map: bool = False
    ) -> list[Finding]:
        """Run the cascade on several images, of any sizes.

        Args:
            images: of the bundle's modality; for X-rays (rows, cols) in the unit interval.
            keep_probability_map: also keep stage two's probabilities, float32 on each source grid.

        Returns:
            One finding per image, in order. Mask and lesions lie on the image's own grid.
            ``seconds`` is the image's share of the work on its batch.

        Raises:
            InputError: an image is not of the bundle's modality (code ``wrong-modality``); nothing
                is run then.
        """
        for image in images:
            self._require_modality(image)
        batches = (images[i : i + LARGEST_BATCH] for i in range(0, len(images), LARGEST_BATCH))
        return [finding for batch in batches for finding in self._run(batch, keep_probability_map)]

    def _run(self, images: Sequence[Image], keep_map: bool) -> Iterator[Finding]:
        started = time.perf_counter()
        films = [self.prepare(image) for image in images]
        detections = self.detect([film.grid for film in films])
        detecting = (time.perf_counter() - started) / len(images)

        started = time.perf_counter()
        passed = [i for i, detection in enumerate(detections) if self.passes(detection)]
        maps = self.segment([films[i].grid for i in passed])  # (passed, S, S)
        segmenting = (time.perf_counter() - started) / max(1, len(passed))

        map_of = dict(zip(passed, maps, strict=True))
        for i, (film, detection) in enumerate(zip(films, detections, strict=True)):
            seconds = detecting + (segmenting if i in map_of else 0.0)
            yield self.conclude(film, detection, map_of.get(i), seconds=seconds, keep_map=keep_map)

    def prepare(self, image: Image) -> Film:
        """Letterbox an image onto the grid.

        Raises:
            InputError: the image is not of the bundle's modality (code ``wrong-modality``).
        """
        self._require_modality(image)
        grid, placement = preprocess.to_grid(image)
        return Film(image.source, image.shape, image.spacing_mm, grid, placement)

    @property
    def batches_at_once(self) -> int:
        """How many batches keep the networks busy.

        Two where films are shared out to streams: at the end of one batch the streams that are done
        go on with the next.
        """
        return 2 if max(self.classifier.streams, self.segmenter.streams) > 1 else 1

    def detect(self, grids: Sequence[NDArray[np.uint8]]) -> list[Detection]:
        """Stage one: uint8 grids (512, 512) of :func:`preprocess.to_grid` to detections.

        Raises:
            BundleError: the network gives a logit that is not a number.
        """
        logits = self._logits(self.classifier, grids)  # (B,)
        probabilities = self.bundle.card.calibration.apply(logits)
        return [
            Detection(float(logit), float(probability), self.config.classifier_threshold)
            for logit, probability in zip(logits, probabilities, strict=True)
        ]

    def passes(self, detection: Detection) -> bool:
        """Whether the gate lets a film on to stage two."""
        return detection.positive or self.config.gate != "hard"

    def segment(self, grids: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """Stage two: uint8 grids (512, 512) to the network's probability maps (B, S, S).

        Nothing is run for none.

        Raises:
            BundleError: the network gives a logit that is not a number.
        """
        size = self.segmenter.size
        if not grids:
            return np.zeros((0, size, size), dtype=np.float32)
        return np.asarray(expit(self._logits(self.segmenter, grids)), dtype=np.float32)

    def conclude(
        self,
        film: Film,
        detection: Detection,
        probabilities: NDArray[np.float32] | None,
        *,
        seconds: float = 0.0,
        keep_map: bool = False,
    ) -> Finding:
        """From what both stages predicted to the finding: the map to mask and lesions on the film.

        Args:
            film: from :meth:`prepare`.
            detection: from :meth:`detect`.
            probabilities: float32 (S, S) from :meth:`segment`; None where stage two was not run.
            seconds: what the film took so far.
            keep_map: also keep the probabilities on the film's own grid.
        """
        started = time.perf_counter()
        on_film: NDArray[np.float32] | None = None
        mask: Mask | None = None
        lesions: tuple[Lesion, ...] = ()
        if probabilities is not None:
            if self.config.gate == "soft":
                probabilities = probabilities * np.float32(detection.probability)
            on_film = preprocess.to_source_grid(probabilities, film.placement)  # (rows, cols)
            mask, lesions = self._postprocess(on_film, film)
        return Finding(
            film.source,
            film.shape,
            detection,
            mask,
            lesions,
            self.provenance,
            seconds=seconds + time.perf_counter() - started,
            probability_map=on_film if keep_map else None,
        )

    def _postprocess(
        self, on_film: NDArray[np.float32], film: Film
    ) -> tuple[Mask, tuple[Lesion, ...]]:
        """From a probability map (rows, cols) to mask and lesions."""
        per_grid_pixel = film.placement.source_pixels_per_grid_pixel
        spacing = film.spacing_mm
        return postprocess.find_lesions(
            on_film,
            threshold=self.config.segmenter_threshold,
            min_area_px=self.config.min_pixels * per_grid_pixel,
            spacing_mm=None if spacing is None else (spacing[0], spacing[1]),
            patient_orientation=film.source.patient_orientation,
            top_threshold=self.config.top_threshold,
            top_min_area_px=self.config.top_min_pixels * per_grid_pixel,
        )

    @property
    def provenance(self) -> Provenance:
        """What every finding of this cascade says it was made with."""
        return Provenance(
            bundle=self.bundle.card.name,
            bundle_version=self.bundle.card.version,
            software_version=__version__,
            runtime=self.classifier.name,
            precision=self.classifier.precision,
            device=self.classifier.device,
        )

    def _logits(self, network: Network, grids: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """The only channel of a network's answer: (B,) or (B, S, S)."""
        normalisation = self.bundle.card.normalisation
        return run_on_grids(network, grids, normalisation, mirror=self.config.mirror)[:, 0]

    def _require_modality(self, image: Image) -> None:
        self.bundle.require(Modality.XRAY)  # the one modality that this road is built for
        if (
            image.source.modality is not Modality.XRAY
            or image.units is not Units.UNIT_INTERVAL
            or image.pixels.ndim != 2
        ):
            raise InputError(
                f"{image.source.image_id}: the bundle {self.bundle.card.name!r} reads X-rays "
                f"(rows, cols) in the unit interval, got {image.source.modality.value} "
                f"{image.shape} in {image.units.value}; leave it out",
                code="wrong-modality",
            )
