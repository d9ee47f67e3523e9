"""``pneumoseg predict``: many files through the cascade, in order, in bounded memory, resumable.

Here the call is checked and it is decided whether it is about X-rays or CT
(:mod:`pneumoseg.prediction.modality`); then films go their road (:mod:`pneumoseg.prediction.films`)
and volumes theirs (:mod:`pneumoseg.prediction.volumes.run`), on one skeleton
(:mod:`pneumoseg.prediction.run`). Many workers are another engine, :mod:`pneumoseg.prediction.ray`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from pneumoseg.errors import UsageError
from pneumoseg.prediction.films import FilmRoad
from pneumoseg.prediction.modality import Inputs, decide, load_cascade, require_some
from pneumoseg.prediction.run import OnProgress, finish
from pneumoseg.prediction.settings import (
    PredictionSummary,
    PredictSettings,
    Progress,
    check_out,
    own_results,
)
from pneumoseg.prediction.stages import prepare_for_many_films
from pneumoseg.prediction.volumes.run import VolumeRoad, load_volume_cascade
from pneumoseg.reading import walk
from pneumoseg.study import Modality

__all__ = ["PredictSettings", "PredictionSummary", "Progress", "run_predict"]


def run_predict(
    settings: PredictSettings,
    *,
    on_progress: OnProgress | None = None,
    load: Callable[[PredictSettings], Any] | None = None,
) -> PredictionSummary:
    """Predict all inputs that are not done yet and write the tables.

    Args:
        settings: the call.
        on_progress: told after each input, and after each batch of a volume's slices.
        load: makes the cascade, of films or of volumes; the one of the bundle by default.

    Returns:
        The counts, the files and the exit code.

    Raises:
        UsageError: another engine is asked for, a path is missing, there is no file at all, the
            folder cannot be written to, holds another call's run, or is being written to by another
            process.
    """
    started = time.perf_counter()
    if settings.engine != "local":
        raise UsageError(
            f"run_predict is the local engine, this call asks for {settings.engine}; call "
            "pneumoseg.prediction.ray.run_archive"
        )
    prepare_for_many_films()
    check_out(settings)
    is_own_result = own_results(settings)
    files = Inputs(path for path in walk(settings.paths) if not is_own_result(path))
    require_some(files, settings)
    decided = decide(settings, files.look())
    settings, networks = decided.settings, decided.networks
    if decided.modality is Modality.CT:
        volumes = load(settings) if load else load_volume_cascade(settings, decided.bundle)
        road = VolumeRoad(decided, files, volumes)
        return finish(road, on_progress, networks=networks, started=started)
    cascade = load(settings) if load else load_cascade(settings, decided.bundle)
    films = FilmRoad(decided, files, cascade)
    return finish(films, on_progress, networks=networks, started=started)
