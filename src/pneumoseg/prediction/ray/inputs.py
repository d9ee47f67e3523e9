"""The inputs of an archive run, in the order of the local engine's manifest."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

from pneumoseg.errors import InputError
from pneumoseg.prediction.ray.remote_files import fetch, list_url, url_of
from pneumoseg.prediction.run_folder import Entry
from pneumoseg.prediction.settings import PredictSettings, own_results
from pneumoseg.reading import walk

LOOKED_AT = 16
"""Files by URL that are fetched to see whether they are X-rays or CT."""


def list_entries(settings: PredictSettings) -> Iterator[Entry]:
    """All inputs: files of this machine as the local engine lists them, then those by URL.

    Raises:
        UsageError: a path does not exist, or a URL cannot be listed.
    """
    for path in _local(settings):
        yield Entry.of(path)
    for url in filter(None, map(url_of, settings.paths)):
        yield from list_url(url)


def files_to_look_at(entries: Iterator[Entry]) -> Iterator[Path]:
    """Files that may tell what the inputs are; the first few by URL are fetched for it."""
    fetched = 0
    for entry in entries:
        if url_of(Path(entry.absolute)) is None:
            yield Path(entry.path)
            continue
        if (fetched := fetched + 1) > LOOKED_AT:
            return
        with tempfile.TemporaryDirectory(prefix="pneumoseg-") as folder:
            try:
                yield fetch(entry.absolute, Path(folder))
            except InputError:
                continue  # it gets its line among the failures


def _local(settings: PredictSettings) -> Iterator[Path]:
    paths = [path for path in settings.paths if url_of(path) is None]
    is_own_result = own_results(settings)
    return (path for path in (walk(paths) if paths else ()) if not is_own_result(path))
