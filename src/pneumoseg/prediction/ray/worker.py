"""What a worker does: it holds the compiled networks and turns inputs into outcomes.

A worker writes nothing of the run. It sends back records, failures and pictures, and says where it
cannot go on at all: an exception would only tell that a block of inputs is lost.
"""

from __future__ import annotations

import logging
import os
import pickle
import socket
import tempfile
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pneumoseg.errors import InputError, PneumosegError
from pneumoseg.prediction.ray.remote_files import fetch, url_of
from pneumoseg.prediction.read_ahead import Failure, Prepared, read_ahead
from pneumoseg.prediction.run_folder import Entry
from pneumoseg.prediction.settings import PredictSettings, signature
from pneumoseg.prediction.stages import in_stages, prepare_for_many_films
from pneumoseg.storage.record import MASKS, OVERLAYS, FindingRecord
from pneumoseg.study import Finding, Modality
from pneumoseg.writing.overlay import write_mask, write_overlay
from pneumoseg.writing.tables import finding_record, printable

if TYPE_CHECKING:
    import pyarrow

    from pneumoseg.pipeline_inference import Cascade

FETCHERS = 8
"""Threads that fetch inputs by URL: they wait for the network, not for the processor."""

_FATAL = (PneumosegError, RuntimeError, OSError, ImportError, AttributeError, TypeError)
"""What is wrong with the worker or with our own code, not with one input."""
_log = logging.getLogger(__name__)

Load = Callable[[PredictSettings], "Cascade"]


@dataclass(frozen=True)
class Work:
    """What every worker of a run is told.

    Attributes:
        settings: the call, with the threads of one worker.
        pictures: whether files that do not say what they show are taken for X-rays.
        load: makes the cascade; must be importable on the worker.
        call: the run's signature, which the worker's own cascade must agree with.
    """

    settings: PredictSettings
    pictures: bool
    load: Load
    call: dict[str, Any]


@dataclass(frozen=True)
class Outcome:
    """What became of one input: a record, or a failure, or word that the worker cannot go on.

    Attributes:
        image_id: the film's, where it was read.
        record: what is kept of the finding.
        failure: why there is no record.
        pictures: PNG files by the name of their folder.
        unseen_by: the machine that does not see a file the listing machine saw.
        fatal: why no worker can go on.
    """

    image_id: str | None = None
    record: FindingRecord | None = None
    failure: Failure | None = None
    pictures: dict[str, bytes] = field(default_factory=dict)
    unseen_by: str | None = None
    fatal: str | None = None


class FilmWorker:
    """Both stages on one machine; the networks are compiled at the first call and kept."""

    def __init__(self, work: Work) -> None:
        prepare_for_many_films()
        self._work = work
        self._predictor: Cascade | None = None
        self._loading = threading.Lock()

    def __call__(self, block: pyarrow.Table) -> pyarrow.Table:
        """A block of Ray Data: numbers and pickled entries in, numbers and pickled outcomes out."""
        import pyarrow

        outcomes = self.outcomes([pickle.loads(row) for row in block["entry"].to_pylist()])
        pickled = pyarrow.array([pickle.dumps(each) for each in outcomes], pyarrow.large_binary())
        return pyarrow.table({"number": block["number"], "outcome": pickled})

    def outcomes(self, entries: Sequence[Entry]) -> list[Outcome]:
        """Predict inputs, order kept; may be called in several threads."""
        try:
            with tempfile.TemporaryDirectory(prefix="pneumoseg-") as folder:
                return _Block(self._work, self._loaded(), entries, Path(folder)).outcomes()
        except _FATAL as error:
            _log.error("a worker cannot go on", exc_info=error)
            detail = " ".join(str(error).split())[:500]
            if not isinstance(error, PneumosegError):
                detail = f"{type(error).__name__}: {detail}"
            return [Outcome(fatal=f"{socket.gethostname()}: {detail}")] * len(entries)

    def _loaded(self) -> Cascade:
        with self._loading:
            if self._predictor is None:
                predictor = self._work.load(self._work.settings)
                self._check_same(predictor)
                self._predictor = predictor
            return self._predictor

    def _check_same(self, predictor: Cascade) -> None:
        """Refuse to mix results of another version, bundle or operating point in."""
        settings, pictures = self._work.settings, self._work.pictures
        own = signature(settings, predictor, Modality.XRAY, pictures=pictures)
        for name, value in self._work.call.items():
            if name != "paths" and own[name] != value:
                raise InputError(
                    f"{name} is {own[name]} here and {value} where the run was started; install "
                    "the same version and bundle on all machines"
                )


@dataclass
class _Block:
    """Some inputs on their way through both stages."""

    work: Work
    predictor: Cascade
    entries: Sequence[Entry]
    folder: Path
    _pictures: dict[str, dict[str, bytes]] = field(default_factory=dict)
    _image_ids: dict[str, str] = field(default_factory=dict)

    def outcomes(self) -> list[Outcome]:
        """What became of each input, order kept."""
        settings = self.work.settings
        here = self._here()
        entries = [entry for entry in here if isinstance(entry, Entry)]
        reading = read_ahead(
            entries,
            self.predictor.prepare,
            window=2 * settings.batch_size,
            pictures=self.work.pictures,
            keep_images=settings.overlays,
        )
        with closing(reading) as arriving:
            stages = in_stages(
                self.predictor,
                (self._noted(*item) for item in arriving),
                batch_size=settings.batch_size,
                finish=self._finish,
                keeps_images=settings.overlays,
            )
            with closing(stages) as results:
                done = iter(list(results))
        return [
            Outcome(failure=place) if isinstance(place, Failure) else self._outcome(*next(done), e)
            for e, place in zip(self.entries, here, strict=True)
        ]

    def _here(self) -> list[Entry | Failure]:
        """The inputs as files of this machine, those by URL fetched."""
        with ThreadPoolExecutor(FETCHERS, thread_name_prefix="fetch") as executor:
            return list(executor.map(self._brought, range(len(self.entries))))

    def _brought(self, number: int) -> Entry | Failure:
        entry = self.entries[number]
        url = url_of(Path(entry.absolute))
        if url is None:
            return replace(entry, path=entry.absolute)
        own = self.folder / str(number)
        own.mkdir()
        try:
            return replace(entry, path=str(fetch(entry.absolute, own)))
        except InputError as error:
            return Failure(error.code, str(error))

    def _noted(
        self, entry: Entry, prepared: Prepared | Failure
    ) -> tuple[Entry, Prepared | Failure]:
        """Keep the id of every film that was read: also one that fails later must stay unique."""
        if isinstance(prepared, Prepared):
            self._image_ids[entry.path] = prepared.film.source.image_id
        return entry, prepared

    def _finish(self, entry: Entry, prepared: Prepared, finding: Finding) -> FindingRecord:
        pictures: dict[str, bytes] = {}
        picture = self.folder / "picture.png"
        if prepared.image is not None:
            write_overlay(picture, prepared.image, finding)
            pictures[OVERLAYS] = picture.read_bytes()
        if self.work.settings.masks:
            write_mask(picture, finding)
            pictures[MASKS] = picture.read_bytes()
        self._pictures[entry.path] = pictures
        return finding_record(
            finding,
            segmenter_threshold=self.predictor.config.segmenter_threshold,
            spacing_mm=prepared.film.spacing_mm,
        )

    def _outcome(self, here: Entry, result: FindingRecord | Failure, entry: Entry) -> Outcome:
        image_id = self._image_ids.get(here.path)
        if isinstance(result, Failure):
            lost = entry.size >= 0 and not os.path.lexists(here.path)
            return Outcome(image_id, None, result, unseen_by=socket.gethostname() if lost else None)
        record = replace(result, path=printable(entry.path))
        return Outcome(image_id, record, pictures=self._pictures[here.path])
