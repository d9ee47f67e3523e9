"""Decodes JPEG lossless and 12-bit JPEG with GDCM in processes of their own.

A damaged file can then end such a process, but not the run; it also keeps GDCM's messages off the
terminal. A process is started with the first film that needs it, kept for the next, and one is made
for each thread that decodes at the same time.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import subprocess
import sys
import threading
from typing import IO, cast

import numpy as np
from numpy.typing import NDArray

from pneumoseg.errors import InputError
from pneumoseg.reading.dicom.gdcm_worker import ANSWER, REQUEST

LIMIT_SECONDS = 120.0
"""A 100-megapixel film takes a few seconds; a damaged one could take for ever."""
_WORKER = [sys.executable, "-m", "pneumoseg.reading.dicom.gdcm_worker"]


class _Workers:
    """The idle decoding processes."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._idle: list[subprocess.Popen[bytes]] = []

    def ask(self, request: bytes) -> bytes:
        """Send one request; the answer's values, empty where the process failed or ended."""
        with self._lock:
            worker = self._idle.pop() if self._idle else None
        if worker is None:
            worker = subprocess.Popen(
                _WORKER,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
        limit = threading.Timer(LIMIT_SECONDS, worker.kill)
        limit.daemon = True
        limit.start()
        try:
            values = _exchange(worker, request)
        except BaseException:
            _end(worker)
            raise
        finally:
            limit.cancel()
        if values is None:
            _end(worker)
            return b""
        with self._lock:
            self._idle.append(worker)
        return values

    def end(self) -> None:
        """End the idle processes."""
        with self._lock:
            idle, self._idle = self._idle, []
        for worker in idle:
            _end(worker)

    def forget(self) -> None:
        """After a fork the processes belong to the parent: two must not write to one pipe."""
        self._lock = threading.Lock()
        for worker in self._idle:
            worker.returncode = 0  # not ours to wait for
        self._idle = []


_workers = _Workers()
atexit.register(_workers.end)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_workers.forget)


def _exchange(worker: subprocess.Popen[bytes], request: bytes) -> bytes | None:
    """The values, or None where the process ended before it had answered."""
    requests, answers = cast(IO[bytes], worker.stdin), cast(IO[bytes], worker.stdout)
    try:
        requests.write(request)
        requests.flush()
    except BrokenPipeError:
        return None
    head = answers.read(ANSWER.size)
    if len(head) < ANSWER.size:
        return None
    (length,) = ANSWER.unpack(head)
    values = answers.read(length)
    return values if len(values) == length else None


def _end(worker: subprocess.Popen[bytes]) -> None:
    worker.kill()
    cast(IO[bytes], worker.stdout).close()
    with contextlib.suppress(BrokenPipeError):  # what it had not read before it ended
        cast(IO[bytes], worker.stdin).close()
    worker.wait()


def decode_with_gdcm(
    codestream: bytes, shape: tuple[int, int, int], bits: int, syntax: str
) -> NDArray[np.integer]:
    """Decode one JPEG codestream.

    Args:
        codestream: complete, from SOI to EOI; its header agrees with the other arguments.
        shape: rows, columns, samples a pixel (1, or 3 for RGB).
        bits: precision, 2 to 16.
        syntax: UID of a JPEG transfer syntax.

    Returns:
        uint8 (``bits`` up to 8) or uint16, (rows, cols) or (rows, cols, 3).

    Raises:
        InputError: ``damaged`` where GDCM fails, gives another size, or takes too long.
    """
    request = REQUEST.pack(*shape, bits, syntax.encode(), len(codestream))
    data = _workers.ask(request + codestream)
    dtype: np.dtype[np.integer] = np.dtype(np.uint8) if bits <= 8 else np.dtype("<u2")
    if len(data) != int(np.prod(shape)) * dtype.itemsize:
        raise InputError(
            "the JPEG pixel data are damaged and cannot be decoded; copy it again from its origin",
            code="damaged",
        )
    values = np.frombuffer(data, dtype).astype(dtype.newbyteorder("="), copy=False)
    return values.reshape(shape if shape[2] > 1 else shape[:2])
