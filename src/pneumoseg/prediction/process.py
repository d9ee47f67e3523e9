"""How this process shares processor and memory out while it works on many films."""

from __future__ import annotations

import ctypes
import sys

import cv2

LARGEST_KEPT = 64 << 20
"""Bytes; a film of 16 megapixels in float32."""
KEPT_IN_ALL = 256 << 20
"""Bytes at the end of the heap that may lie free."""

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
"""Parameters of mallopt(3), as in glibc's malloc.h."""


def prepare_for_many_films() -> None:
    """Settle the whole process, for good, on many films at a time rather than one soon.

    OpenCV works in the thread that calls it: the other cores have films of their own, and its
    helpers would only wait for theirs. Freed buffers stay with the process, see
    :func:`keep_freed_memory`.
    """
    cv2.setNumThreads(1)
    keep_freed_memory()


def keep_freed_memory() -> None:
    """Let the C library keep the buffers of one film for the next.

    Else they go back to the kernel as soon as they are freed, and every film touches new pages,
    each of which the kernel has to find and to clear. Where the C library is not glibc nothing is
    done.
    """
    if not sys.platform.startswith("linux"):
        return
    set_parameter = getattr(ctypes.CDLL(None), "mallopt", None)
    if set_parameter is not None:
        set_parameter(_M_MMAP_THRESHOLD, LARGEST_KEPT)
        set_parameter(_M_TRIM_THRESHOLD, KEPT_IN_ALL)
