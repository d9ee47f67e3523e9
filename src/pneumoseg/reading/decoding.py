"""Around every decoder: a film's size before, a fence during, grey and contrast after.

The libraries that decode (pydicom, Pillow, nibabel, what they call) speak through :mod:`warnings`
and raise whatever a damaged file makes them run into. Inside :func:`quiet` their warnings are kept
from the terminal and pydicom's messages are collected for the calling thread; :func:`fenced` also
turns the classes below into one :class:`InputError`. What holds for a film of any file format, its
size, that it is grey, that there is something to see, is checked by the others.
"""

from __future__ import annotations

import logging
import struct
import threading
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from pneumoseg.errors import InputError

MIN_SIDE = 64
"""Pixels; below this no pleural line can be seen."""
MAX_SIDE = 20_000
MAX_PIXELS = 100_000_000
"""A 43 cm × 43 cm detector of 0.1 mm pixels has 18.5 million; a stitched long film about 30."""
GREY_TOLERANCE = 3
"""Levels of 255 by which the channels of a grey film may differ after lossy compression."""
FOREIGN_ERRORS: tuple[type[Exception], ...] = (
    # Broad on purpose: each was documented for, or seen from, pydicom, Pillow or a decoder plugin
    # on damaged files. Our own code is kept outside the fence, so that its faults stay visible.
    ArithmeticError,
    AssertionError,
    AttributeError,
    BufferError,
    EOFError,
    LookupError,
    MemoryError,
    NotImplementedError,
    OSError,
    RuntimeError,  # RecursionError too
    SyntaxError,  # Pillow's way to say that a chunk is broken
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
    Pillow.DecompressionBombError,
)
NOTE_CHARACTERS = 160
"""Longest message kept from a library."""

_heard = threading.local()


class _Collector(logging.Filter):
    """Takes pydicom's log records of a fenced thread; lets all others pass."""

    def filter(self, record: logging.LogRecord) -> bool:
        messages: list[str] | None = getattr(_heard, "messages", None)
        if messages is None:
            return True
        # pydicom logs an exception it then raises as ERROR: it comes back as InputError.
        if record.levelno == logging.WARNING:
            messages.append(" ".join(record.getMessage().split())[:NOTE_CHARACTERS])
        return False


_collector = _Collector()


def collect_from(library: str) -> None:
    """Take the records of a library's loggers in fenced threads; call it once it is imported."""
    for name in list(logging.root.manager.loggerDict):
        if name.split(".")[0] == library:  # a filter is not inherited by the loggers below
            logging.getLogger(name).addFilter(_collector)


class _Silence:
    """Turns the libraries' warnings off while any thread is inside.

    ``warnings.catch_warnings`` alone changes process-wide state and breaks when threads leave it
    in another order than they entered it; so the first in enters and the last out leaves.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._caught = warnings.catch_warnings()

    def __enter__(self) -> None:
        with self._lock:
            if self._inside == 0:
                self._caught = warnings.catch_warnings()
                self._caught.__enter__()
                # Warnings are attributed to the library or, by stack level, to its caller here.
                warnings.filterwarnings("ignore", module=r"pydicom|PIL|nibabel|pneumoseg\.reading")
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                self._caught.__exit__(None, None, None)


_silence = _Silence()


@contextmanager
def quiet() -> Iterator[list[str]]:
    """Keep the libraries' warnings from the terminal, in this thread and its calls.

    Yields:
        The list that collects pydicom's messages, for :attr:`Source.notes`; a nested call collects
        into the outer one.
    """
    outer: list[str] | None = getattr(_heard, "messages", None)
    messages = [] if outer is None else outer
    _heard.messages = messages
    try:
        with _silence:
            yield messages
    finally:
        _heard.messages = outer


@contextmanager
def fenced(
    doing: str, code: str = "damaged", errors: tuple[type[Exception], ...] = FOREIGN_ERRORS
) -> Iterator[None]:
    """Call a foreign decoder inside this.

    Args:
        doing: what failed, as in "the DICOM header cannot be read"; begins the message.
        code: of the InputError when it fails.
        errors: what to take for a failure of the decoder.

    Raises:
        InputError: the body raised one of ``errors``; an InputError passes unchanged.
    """
    try:
        with quiet():
            yield
    except InputError:
        raise
    except errors as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise InputError(f"{doing}: {lines[-1].strip()[:NOTE_CHARACTERS]}", code=code) from error


def check_size(rows: int, cols: int) -> None:
    """Refuse a film before it is decoded.

    Raises:
        InputError: ``too-small``, ``too-large`` or (not positive) ``damaged``.
    """
    if rows < 1 or cols < 1:
        raise InputError(f"the header gives {rows} rows and {cols} columns", code="damaged")
    if rows > MAX_SIDE or cols > MAX_SIDE or rows * cols > MAX_PIXELS:
        raise InputError(
            f"the image is {cols}×{rows} pixels; a film has at most {MAX_SIDE} a side and "
            f"{MAX_PIXELS // 1_000_000} million in all",
            code="too-large",
        )
    if rows < MIN_SIDE or cols < MIN_SIDE:
        raise InputError(
            f"the image is {cols}×{rows} pixels; at least {MIN_SIDE} a side are needed",
            code="too-small",
        )


def grey_of(colours: NDArray[np.integer]) -> NDArray[np.integer]:
    """The grey film stored as colours.

    Args:
        colours: unsigned integers (rows, cols, 3): red, green, blue.

    Returns:
        The green channel (rows, cols): where the three differ by lossy compression, it is the
        closest to luminance.

    Raises:
        InputError: ``colour-image`` where the channels differ by more than ``GREY_TOLERANCE``.
    """
    scale = np.iinfo(colours.dtype).max // 255
    lowest = np.minimum(np.minimum(colours[..., 0], colours[..., 1]), colours[..., 2])
    highest = np.maximum(np.maximum(colours[..., 0], colours[..., 1]), colours[..., 2])
    if int((highest - lowest).max()) > GREY_TOLERANCE * scale:
        raise InputError(
            "the image has colours; an X-ray is grey (a photo or a screenshot is not read)",
            code="colour-image",
        )
    return np.ascontiguousarray(colours[..., 1])


def check_contrast(pixels: NDArray[np.float32]) -> None:
    """Refuse a film on which nothing can be seen.

    Args:
        pixels: of any shape; or each value that occurs among them.

    Raises:
        InputError: ``constant-image``.
    """
    if pixels.min() == pixels.max():
        raise InputError(
            "every pixel has the same brightness; there is nothing to see", code="constant-image"
        )
