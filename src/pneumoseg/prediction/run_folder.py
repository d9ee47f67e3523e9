"""The folder of a prediction run: what was asked for, and the manifest.

``run.json`` holds the call (what must not change when resuming), whether the run finished, and its
counts; it marks the folder as a run's. ``inputs.jsonl`` is the manifest: one file a line, in input
order, with size and time of change. The results are in :mod:`pneumoseg.prediction.run`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Generic, TypeVar

from pneumoseg.errors import UsageError
from pneumoseg.storage.files import locked, whole_file
from pneumoseg.storage.record import (
    AGGREGATED,
    FAILURES,
    FINDINGS,
    MANIFEST,
    MASKS,
    OVERLAYS,
    PARQUET,
    RUN,
    SPLIT,
    VOLUMES,
)
from pneumoseg.writing.overlay import safe_file_name
from pneumoseg.writing.tables import printable

PICTURE_ENDING, PLANES_ENDING, NIFTI_ENDING = ".png", "_planes.png", ".nii.gz"
"""Behind an image's id, in the folders of pictures."""
START_ANEW = "choose another --out, or --overwrite to start anew"
LATER_OPTIONS = {"mirror": False}
"""Options that runs of earlier versions had not, and how those ran: such a run is resumed."""


@dataclass(frozen=True)
class Entry:
    """One input of the manifest; ``size`` and ``mtime_ns`` are -1 where the file cannot be seen."""

    path: str
    absolute: str
    size: int
    mtime_ns: int

    @classmethod
    def of(cls, path: Path) -> Entry:
        """Describe a file as it is now."""
        size, mtime_ns = _stamp(path)
        return cls(str(path), str(path.absolute()), size, mtime_ns)

    @property
    def changed(self) -> bool:
        """Whether another file is there than the one described; a removed one has not changed."""
        now = _stamp(Path(self.absolute))
        return now != (-1, -1) and now != (self.size, self.mtime_ns)


AnyEntry = TypeVar("AnyEntry", bound=Entry)


def digest(text: str) -> bytes:
    """Sixteen bytes that stand for a text of any length."""
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


@dataclass(frozen=True)
class RunFolder(Generic[AnyEntry]):
    """The folder of one run.

    Attributes:
        out: where it is.
        kind: what the lines of its manifest are.
    """

    out: Path
    kind: type[AnyEntry]

    @property
    def findings(self) -> Path:
        """The journal's ``predictions.jsonl``."""
        return self.out / FINDINGS

    @property
    def failures(self) -> Path:
        """The journal's ``failures.csv``."""
        return self.out / FAILURES

    @property
    def manifest(self) -> Path:
        """The manifest."""
        return self.out / MANIFEST

    @contextmanager
    def held(self) -> Iterator[None]:
        """Make the folder and hold it for this process.

        Raises:
            UsageError: it cannot be written to, then or later; or another run is writing into it.
        """
        try:
            self.out.mkdir(parents=True, exist_ok=True)
            with locked(self.out):
                yield
        except OSError as error:
            raise UsageError(
                f"cannot write to {self.out} ({error.strerror or error}); make room or choose "
                "another --out; the same call goes on where this one stopped"
            ) from error

    def picture(self, folder: str, image_id: str, ending: str = PICTURE_ENDING) -> Path:
        """File of an image in a folder of pictures."""
        return self.out / folder / f"{safe_file_name(printable(image_id))}{ending}"

    def read_run(self) -> dict[str, Any] | None:
        """Read ``run.json``, or None where the folder holds no run yet.

        Raises:
            UsageError: the file is damaged, or journal files lie there without it.
        """
        path = self.out / RUN
        if not path.exists():
            foreign = [
                file for file in (FINDINGS, FAILURES, MANIFEST) if (self.out / file).exists()
            ]
            if foreign:
                raise UsageError(
                    f"{self.out} holds {foreign[0]} but no {RUN}, so it cannot be resumed; "
                    f"{START_ANEW}"
                )
            return None
        try:
            run = json.loads(path.read_text(encoding="utf-8"))
            if not isinstance(run, dict) or not isinstance(run["call"], dict):
                raise ValueError("not a run")
        except (ValueError, KeyError) as error:
            raise UsageError(
                f"{path} is damaged, so the run cannot be resumed; {START_ANEW}"
            ) from error
        return run

    def write_run(
        self, call: Mapping[str, Any], batch_size: int, counts: Mapping[str, int] | None
    ) -> None:
        """Replace ``run.json``; the counts are there when the run is finished."""
        run = {
            "call": call,
            "batch_size": batch_size,
            "finished": counts is not None,
            "counts": counts,
        }
        with whole_file(self.out / RUN) as part:
            part.write_text(json.dumps(run, indent=2) + "\n", encoding="utf-8")

    def check_same_call(self, earlier: Mapping[str, Any], call: Mapping[str, Any]) -> None:
        """Refuse to mix two different calls in one folder.

        Raises:
            UsageError: the calls differ; it names the first difference.
        """
        for name, value in call.items():
            held = earlier.get(name, LATER_OPTIONS.get(name))
            if held != value:
                raise UsageError(
                    f"{self.out} holds a run with {name} {held}, this call has {value}; "
                    f"repeat the same call to resume it, {START_ANEW}"
                )

    def read_manifest(self) -> Iterator[AnyEntry]:
        """Read the manifest one input at a time; nothing where there is none."""
        if not self.manifest.exists():
            return
        with self.manifest.open("r", encoding="ascii") as file:
            for line in file:
                try:
                    entry = self.kind(**json.loads(line))
                except (ValueError, TypeError) as error:
                    raise UsageError(
                        f"{self.manifest} is damaged, so the run cannot be resumed; {START_ANEW}"
                    ) from error
                yield entry

    def write_manifest(self, done: int, inputs: Iterable[AnyEntry], seen: set[bytes]) -> int:
        """Keep the ``done`` first inputs of the manifest and put all unseen ones after them.

        Args:
            done: how many inputs the journal holds.
            inputs: all inputs of the call, in order; one that comes twice counts once.
            seen: digests of the absolute paths that are done; not changed.

        Returns:
            How many inputs the manifest now lists.
        """
        known, total = set(seen), 0
        with whole_file(self.manifest) as part, part.open("w", encoding="ascii") as file:
            for entry in islice(self.read_manifest(), done):
                file.write(_manifest_line(entry))
                total += 1
            for entry in inputs:
                if (name := digest(entry.absolute)) not in known:
                    known.add(name)
                    file.write(_manifest_line(entry))
                    total += 1
        return total

    def remove(self, names: Iterable[str]) -> None:
        """Remove some of the run's own files, where they are."""
        for name in names:
            (self.out / name).unlink(missing_ok=True)

    def remove_run(self) -> None:
        """Remove an earlier run and its pictures, each by name: other things may lie there too."""
        for image_id in self._image_ids():
            for folder in (OVERLAYS, MASKS):
                for ending in (PICTURE_ENDING, PLANES_ENDING, NIFTI_ENDING):
                    self.picture(folder, image_id, ending).unlink(missing_ok=True)
        for part in (self.out / PARQUET).glob("part-*.parquet"):
            part.unlink()
        self.remove((AGGREGATED, SPLIT, VOLUMES, FINDINGS, FAILURES, MANIFEST, RUN))

    def _image_ids(self) -> Iterator[str]:
        """Image ids of the journal, lines that are torn or strange left out."""
        if not self.findings.exists():
            return
        with self.findings.open("rb") as lines:
            for line in lines:
                with suppress(ValueError, KeyError, TypeError):
                    yield str(json.loads(line)["image_id"])


def _manifest_line(entry: Entry) -> str:
    return json.dumps(vars(entry)) + "\n"


def _stamp(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except OSError:
        return -1, -1
    return status.st_size, status.st_mtime_ns
