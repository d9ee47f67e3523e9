"""Cascades for workers: they are imported there by name, so they live in a module of their own."""

from __future__ import annotations

import os
import time
from pathlib import Path

from film_runs import FakeCascade

LOG = "PNEUMOSEG_TEST_LOG"
"""Names the file to which ``logged`` writes the image ids it predicts."""


def fake(settings):
    return FakeCascade()


def logged(settings):
    return _Logged()


def slow(settings):
    return _Slow()


def deadly(settings):
    return _Deadly()


def always_deadly(settings):
    return _AlwaysDeadly()


def broken_runtime(settings):
    return _BrokenRuntime()


def slipping(settings):
    return _Slipping()


class _Logged(FakeCascade):
    def conclude(self, film, detection, probabilities, *, seconds=0.0):
        with Path(os.environ[LOG]).open("a") as log:
            log.write(film.source.image_id + "\n")
        return super().conclude(film, detection, probabilities, seconds=seconds)


class _Slow(_Logged):
    def detect(self, grids):
        time.sleep(0.3)
        return super().detect(grids)


class _Deadly(FakeCascade):
    """Ends its process at two films, as a decoder in C may."""

    def prepare(self, image):
        if image.source.image_id in ("film006", "film021"):
            os._exit(11)
        return super().prepare(image)


class _AlwaysDeadly(FakeCascade):
    def prepare(self, image):
        os._exit(11)


class _BrokenRuntime(FakeCascade):
    def detect(self, grids):
        raise RuntimeError("the device is gone")


class _Slipping(FakeCascade):
    def detect(self, grids):
        raise TypeError("no such argument")
