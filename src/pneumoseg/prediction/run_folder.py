"""The folder of a prediction run: what was asked for, and the manifest.

``run.json`` holds the call (what must not change when resuming), whether the run finished, and its
counts; it marks the folder as a run's. ``inputs.jsonl`` is the manifest: one file a line, in input
order, with size and time of change. The results are in :mod:`pneumoseg.prediction.journal`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from pneumoseg.errors import UsageError
from pneumoseg.storage.whole_file import whole_file
from pneumoseg.writing.overlay import safe_file_name

RUN, MANIFEST = "run.json", "inputs.jsonl"
FINDINGS, FAILURES = "predictions.jsonl", "failures.csv"
AGGREGATED, SPLIT = "predictions_aggregated.csv", "predictions_split.csv"
VOLUMES = "volumes.csv"
OVERLAYS, MASKS = "overlays", "masks"
PARQUET = "predictions_parquet"
PICTURE_ENDING, PLANES_ENDING, NIFTI_ENDING = ".png", "_planes.png", ".nii.gz"
"""Behind an image's id, in the folders of pictures."""
START_ANEW = "choose another --out, or --overwrite to start anew"


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


@contextmanager
def writing_to(out: Path) -> Iterator[None]:
    """Say a full disk or a folder that cannot be written to in one sentence."""
    try:
        yield
    except OSError as error:
        raise UsageError(
            f"cannot write to {out} ({error.strerror or error}); make room or choose another "
            "--out; the same call goes on where this one stopped"
        ) from error


def read_run(out: Path) -> dict[str, Any] | None:
    """Read ``run.json``, or None where the folder holds no run yet.

    Raises:
        UsageError: the file is damaged, or journal files lie there without it.
    """
    path = out / RUN
    if not path.exists():
        foreign = [name for name in (FINDINGS, FAILURES, MANIFEST) if (out / name).exists()]
        if foreign:
            raise UsageError(
                f"{out} holds {foreign[0]} but no {RUN}, so it cannot be resumed; {START_ANEW}"
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


def write_run(out: Path, run: dict[str, Any]) -> None:
    """Replace ``run.json``."""
    with whole_file(out / RUN) as part:
        part.write_text(json.dumps(run, indent=2) + "\n", encoding="utf-8")


def run_document(
    call: dict[str, Any], batch_size: int, counts: dict[str, Any] | None
) -> dict[str, Any]:
    """Content of ``run.json``; the counts are there when the run is finished."""
    return {
        "call": call,
        "batch_size": batch_size,
        "finished": counts is not None,
        "counts": counts,
    }


def read_manifest(out: Path, kind: type[AnyEntry]) -> Iterator[AnyEntry]:
    """Read the manifest one input at a time; nothing where there is none."""
    path = out / MANIFEST
    if not path.exists():
        return
    with path.open("r", encoding="ascii") as file:
        for line in file:
            try:
                entry = kind(**json.loads(line))
            except (ValueError, TypeError) as error:
                raise UsageError(
                    f"{path} is damaged, so the run cannot be resumed; {START_ANEW}"
                ) from error
            yield entry


def write_manifest(
    out: Path,
    done: int,
    inputs: Iterable[AnyEntry],
    seen: set[bytes],
    kind: type[AnyEntry],
) -> int:
    """Keep the ``done`` first inputs of the manifest and put all unseen ones after them.

    Args:
        out: the run's folder.
        done: how many inputs the journal holds.
        inputs: all inputs of the call, in order; one that comes twice counts once.
        seen: digests of the absolute paths that are done; not changed.
        kind: what the manifest's lines are.

    Returns:
        How many inputs the manifest now lists.
    """
    known, total = set(seen), 0
    with whole_file(out / MANIFEST) as part, part.open("w", encoding="ascii") as file:
        for entry in islice(read_manifest(out, kind), done):
            file.write(_manifest_line(entry))
            total += 1
        for entry in inputs:
            if (name := digest(entry.absolute)) not in known:
                known.add(name)
                file.write(_manifest_line(entry))
                total += 1
    return total


LATER_OPTIONS = {"mirror": False}
"""Options that runs of earlier versions had not, and how those ran: such a run is resumed."""


def check_same_call(earlier: dict[str, Any], call: dict[str, Any], out: Path) -> None:
    """Refuse to mix two different calls in one folder.

    Raises:
        UsageError: the calls differ; it names the first difference.
    """
    for name, value in call.items():
        if earlier.get(name, LATER_OPTIONS.get(name)) != value:
            raise UsageError(
                f"{out} holds a run with {name} {earlier.get(name)}, this call has {value}; "
                f"repeat the same call to resume it, {START_ANEW}"
            )


def remove_run(out: Path) -> None:
    """Remove an earlier run and its pictures, each by name: a folder may hold other things too."""
    for image_id in _image_ids(out):
        for folder in (OVERLAYS, MASKS):
            for ending in (PICTURE_ENDING, PLANES_ENDING, NIFTI_ENDING):
                (out / folder / f"{safe_file_name(image_id)}{ending}").unlink(missing_ok=True)
    for part in (out / PARQUET).glob("part-*.parquet"):
        part.unlink()
    for name in (AGGREGATED, SPLIT, VOLUMES, FINDINGS, FAILURES, MANIFEST, RUN):
        (out / name).unlink(missing_ok=True)


def _image_ids(out: Path) -> Iterator[str]:
    """Image ids of the journal, lines that are torn or strange left out."""
    if not (out / FINDINGS).exists():
        return
    with (out / FINDINGS).open("rb") as lines:
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
