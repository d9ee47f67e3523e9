"""``pneumoseg predict``: many files through the cascade, in order, in bounded memory, resumable.

Here the call is checked and it is decided whether it is about X-rays or CT
(:mod:`pneumoseg.prediction.modality`); then films go their road (:mod:`pneumoseg.prediction.films`)
and volumes theirs (:mod:`pneumoseg.prediction.volumes.run`). Both hold the folder, recover what an
earlier run left, list the inputs, append each result to the journal
(:mod:`pneumoseg.prediction.journal`), and derive the CSVs at the end.

While a run is unfinished its folder has no ``predictions_*.csv``: where they are, they are
complete. Many workers are another engine, :mod:`pneumoseg.prediction.ray`.
"""

from __future__ import annotations

from collections.abc import Callable

from pneumoseg.errors import UsageError
from pneumoseg.prediction.call import load_cascade, with_runtime
from pneumoseg.prediction.films import input_files, run_films
from pneumoseg.prediction.modality import decide_modality
from pneumoseg.prediction.process import prepare_for_many_films
from pneumoseg.prediction.read_ahead import Predictor
from pneumoseg.prediction.settings import (
    PredictionSummary,
    PredictSettings,
    Progress,
    check_out,
)
from pneumoseg.prediction.volumes.run import run_volumes
from pneumoseg.study import Modality

__all__ = ["PredictSettings", "PredictionSummary", "Progress", "run_predict"]


def run_predict(
    settings: PredictSettings,
    *,
    on_progress: Callable[[Progress], None] | None = None,
    load: Callable[[PredictSettings], Predictor] | None = None,
) -> PredictionSummary:
    """Predict all inputs that are not done yet and write the tables.

    Args:
        settings: the call.
        on_progress: told after each input.
        load: makes the cascade; the shipped one by default.

    Returns:
        The counts, the files and the exit code.

    Raises:
        UsageError: another engine is asked for, a path is missing, there is no file at all, the
            folder cannot be written to, holds another call's run, or is being written to by another
            process.
    """
    if settings.engine != "local":
        raise UsageError(
            f"run_predict is the local engine, this call asks for {settings.engine}; call "
            "pneumoseg.prediction.ray.run_archive"
        )
    prepare_for_many_films()
    check_out(settings)
    if next(input_files(settings), None) is None:
        raise UsageError(
            f"no file was found in {', '.join(map(str, settings.paths))}; "
            "give files, or folders that hold some"
        )
    settings = with_runtime(settings)
    decided = decide_modality(settings, input_files(settings))
    if decided.modality is Modality.CT:
        return run_volumes(decided.settings, pictures=decided.pictures, on_progress=on_progress)
    return run_films(decided, on_progress, load or load_cascade)
