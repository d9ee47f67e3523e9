"""What a run of films is about, whichever engine does it: signature, cascade, tables."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from pneumoseg.prediction.journal import Tally
from pneumoseg.prediction.modality import DEFAULT_BUNDLES
from pneumoseg.prediction.read_ahead import Predictor, PredictorBundle
from pneumoseg.prediction.run_folder import (
    AGGREGATED,
    FAILURES,
    FINDINGS,
    MASKS,
    OVERLAYS,
    SPLIT,
    run_document,
    write_run,
)
from pneumoseg.prediction.settings import PredictSettings
from pneumoseg.runtime.choice import choose_runtime
from pneumoseg.settings import PipelineConfig
from pneumoseg.study import Modality
from pneumoseg.version import __version__
from pneumoseg.writing.tables import read_records, write_tables


def with_runtime(settings: PredictSettings) -> PredictSettings:
    """Put the runtime and the device that ``auto`` stands for here in its place.

    Raises:
        UsageError: an unknown runtime, device or precision.
        RuntimeUnavailableError: what is asked for is not to be had here.
    """
    choice = choose_runtime(settings.runtime, device=settings.device, precision=settings.precision)
    return replace(settings, runtime=choice.runtime, device=choice.device)


def describe_call(
    settings: PredictSettings, predictor: Predictor, *, pictures: bool
) -> dict[str, Any]:
    """What must be the same for a run of films to be resumed, by whichever engine."""
    own = {"masks": settings.masks}
    return shared_call(settings, predictor.bundle, predictor.config, Modality.XRAY, pictures) | own


def shared_call(
    settings: PredictSettings,
    bundle: PredictorBundle,
    config: PipelineConfig,
    modality: Modality,
    pictures: bool,
) -> dict[str, Any]:
    """What must be the same for any run to be resumed."""
    return {
        "modality": modality.value,
        "paths": [str(path.resolve()) for path in settings.paths],
        "bundle": bundle.card.name,
        "bundle_version": str(bundle.card.version),
        "software_version": __version__,
        "runtime": settings.runtime,
        "device": settings.device,
        "precision": settings.precision,
        **asdict(config),
        "pictures": pictures,
        "overlays": settings.overlays,
    }


def finish_tables(
    settings: PredictSettings, call: dict[str, Any], tally: Tally, *, fresh: bool
) -> tuple[Path, ...]:
    """Derive the CSVs and sign the run off; nothing is written where nothing changed."""
    out = settings.out
    tables = (out / AGGREGATED, out / SPLIT)
    if fresh or not all(path.exists() for path in tables):
        write_tables(read_records(out / FINDINGS), *tables)
        write_run(out, run_document(call, settings.batch_size, asdict(tally)))
    folders = (out / name for name in picture_folders(settings))
    return (*tables, out / FINDINGS, out / FAILURES, *folders)


def picture_folders(settings: PredictSettings) -> list[str]:
    """Names of the folders of pictures that were asked for."""
    asked = ((OVERLAYS, settings.overlays), (MASKS, settings.masks))
    return [name for name, wanted in asked if wanted]


def load_cascade(settings: PredictSettings) -> Predictor:
    """Load the cascade as the call asks."""
    from pneumoseg.pipeline_inference import Cascade  # here: OpenVINO takes a second to import

    return Cascade.load(
        settings.bundle or DEFAULT_BUNDLES[Modality.XRAY],
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
        gate=settings.gate,
        mirror=settings.mirror,
    )
