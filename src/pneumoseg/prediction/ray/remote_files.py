"""Inputs by URL: which paths are URLs, what lies below them, and their bytes.

``http`` and ``https`` name one file each. The other schemes are those of Arrow's filesystems
(https://arrow.apache.org/docs/python/filesystems.html#using-arrow-filesystems-with-uris), which
read objects and list folders; their options (region, endpoint_override, ...) stand behind ``?``.
Credentials come from the environment, never from the URL: it is written into the results.
"""

from __future__ import annotations

import http.client
import os
import re
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO
from urllib.parse import quote, unquote, urlsplit

from pneumoseg.errors import InputError, UsageError
from pneumoseg.prediction.run_folder import Entry
from pneumoseg.reading.file import MAX_FILE_BYTES

HTTP = ("http", "https")
ARROW = ("file", "s3", "gs", "gcs", "abfs", "abfss", "hdfs", "viewfs")
TRIES = 3
"""Over HTTP, with one and two seconds between; Arrow tries again by itself."""
TIMEOUT_SECONDS = 60.0
"""Without a byte from an HTTP server."""

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/{1,3}(?=[^/])")
_PIECE = 1 << 20


def url_of(path: Path) -> str | None:
    """The URL that a path stands for, or None where it is a path.

    A :class:`~pathlib.Path` made of a URL has lost one slash (``s3:/bucket/films``), which is given
    back. What lies on this machine under that very name is a path.

    Raises:
        UsageError: an unknown scheme, or credentials in the URL.
    """
    text = str(path)
    match = _URL.match(text)
    if match is None or os.path.lexists(path):
        return None
    scheme = match.group(1).lower()
    if scheme not in HTTP + ARROW:
        raise UsageError(
            f"{text}: no such file, and {scheme} is no scheme read here; give a path or a URL "
            f"with {', '.join(HTTP + ARROW)}"
        )
    url = f"{scheme}:{'///' if scheme == 'file' else '//'}{text[match.end() :]}"
    if urlsplit(url).username is not None:
        raise UsageError(
            f"a {scheme} URL has credentials in it, which would be written into the results; "
            "leave them out and set them in the environment"
        )
    return url


def list_url(url: str) -> Iterator[Entry]:
    """List the file at a URL or the files below it, as ``walk`` does: sorted, a folder's own first.

    Args:
        url: from :func:`url_of`.

    Returns:
        One entry a file; size and time of change are -1 over HTTP, which is not asked.

    Raises:
        UsageError: there is nothing, or it cannot be listed.
    """
    if urlsplit(url).scheme in HTTP:
        yield Entry(url, url, -1, -1)
        return
    from pyarrow import fs

    try:
        filesystem, path = fs.FileSystem.from_uri(url)
        root = filesystem.get_file_info(path)
        if root.type is fs.FileType.NotFound:
            raise UsageError(f"{url} does not exist; give a file or a folder")
        if root.type is fs.FileType.File:
            yield Entry(url, url, root.size, root.mtime_ns or -1)
            return
        for info in _below(filesystem, path):
            found = _url_below(url, path, info.path)
            yield Entry(found, found, info.size, info.mtime_ns or -1)
    except (OSError, ValueError, NotImplementedError) as error:
        raise UsageError(
            f"{url} cannot be listed ({' '.join(str(error).split())[:200]}); check the URL, the "
            "network and the credentials in the environment"
        ) from error


def fetch(url: str, folder: Path) -> Path:
    """Bring a file here.

    Args:
        url: of one file, from :func:`list_url`.
        folder: an empty one; the file keeps its name there, which may be the image's id.

    Raises:
        InputError: ``unreadable`` or ``too-large``.
    """
    name = PurePosixPath(unquote(urlsplit(url).path)).name
    target = folder / (name.replace("\0", "")[:200] or "film")
    for attempt in range(1, TRIES + 1):
        try:
            with _opened(url) as source, target.open("wb") as file:
                _copy(source, file)
            return target
        except (OSError, ValueError, http.client.HTTPException, NotImplementedError) as error:
            if isinstance(error, urllib.error.HTTPError):
                error.close()  # it is the answer, too, and holds the connection
            if attempt == TRIES or not _may_pass(error):
                raise InputError(
                    f"the file cannot be read from its URL ({type(error).__name__}: "
                    f"{' '.join(str(error).split())[:200]}); check URL, network and credentials",
                    code="unreadable",
                ) from error
        time.sleep(attempt)
    raise AssertionError("unreachable")


def _below(filesystem: Any, root: str) -> Iterator[Any]:
    """Files below a folder, depth first; memory grows with the largest folder alone."""
    from pyarrow import fs

    stack = [root]
    while stack:
        infos = filesystem.get_file_info(fs.FileSelector(stack.pop()))
        visible = sorted(
            (info for info in infos if not info.base_name.startswith(".")),
            key=lambda info: str(info.base_name),
        )
        yield from (info for info in visible if info.type is fs.FileType.File)
        folders = [info.path for info in visible if info.type is fs.FileType.Directory]
        stack.extend(reversed(folders))


def _url_below(url: str, root: str, path: str) -> str:
    """The URL of a file below a folder, the folder's options kept."""
    parts = urlsplit(url)
    tail = quote(path[len(root.rstrip("/")) :].lstrip("/"))
    joined = f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}/{tail}"
    return f"{joined}?{parts.query}" if parts.query else joined


def _opened(url: str) -> Any:
    if urlsplit(url).scheme in HTTP:
        return urllib.request.urlopen(url, timeout=TIMEOUT_SECONDS)
    from pyarrow import fs

    filesystem, path = fs.FileSystem.from_uri(url)
    return filesystem.open_input_stream(path)


def _copy(source: BinaryIO, file: BinaryIO) -> None:
    copied = 0
    while piece := source.read(_PIECE):
        copied += len(piece)
        if copied > MAX_FILE_BYTES:
            raise InputError(
                f"the file has more than {MAX_FILE_BYTES >> 20} MiB, the most a film has",
                code="too-large",
            )
        file.write(piece)
    missing = getattr(
        source, "length", None
    )  # of an HTTP answer: what was announced and never came
    if missing:
        raise http.client.IncompleteRead(b"", missing)


def _may_pass(error: Exception) -> bool:
    """Whether another try may help: not where a server has answered that it will not."""
    if isinstance(error, urllib.error.HTTPError):
        return error.code >= 500 or error.code == 429
    return isinstance(error, (urllib.error.URLError, TimeoutError, http.client.HTTPException))
