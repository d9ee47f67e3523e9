"""What is settled for a process that works on many films."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

FAULTS = """
import resource
import numpy as np
from pneumoseg.prediction.stages import prepare_for_many_films

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        together = [np.ones((1024, 1024), dtype=np.float32) for _ in range(4)]
        del together
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

{call}
faults()
print(faults())
"""


def faults_of(call: str) -> int:
    """Pages newly touched by twenty films with four buffers of 4 MB each, freed before the next."""
    done = subprocess.run(
        [sys.executable, "-c", FAULTS.format(call=call)], capture_output=True, text=True, check=True
    )
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's malloc alone is told")
def test_freed_buffers_serve_the_next_film() -> None:
    """Breaks if malloc gives them back; left alone it does, 4,096 pages a film."""
    assert faults_of("prepare_for_many_films()") < 4096 < faults_of("")


def test_opencv_keeps_to_the_thread_that_calls_it() -> None:
    code = (
        "import cv2; from pneumoseg.prediction.stages import prepare_for_many_films as prepare; "
        "prepare(); "
        "assert cv2.getNumThreads() == 1, cv2.getNumThreads()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_another_c_library_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    from pneumoseg.prediction import stages

    monkeypatch.setattr(stages.sys, "platform", "darwin")
    monkeypatch.setattr(stages.ctypes, "CDLL", lambda name: pytest.fail("no library is opened"))
    stages.keep_freed_memory()
