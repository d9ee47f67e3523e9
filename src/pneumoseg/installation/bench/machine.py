"""The machine a timing was taken on, and the versions: a timing without them says nothing.

Nothing heavy is imported here, so that a benchmark that starts other processes stays small.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from pneumoseg.runtime import available_cores

_CPU_INFO = Path("/proc/cpuinfo")
_MODEL = "model name"
_LIBRARIES = ("numpy", "opencv-python-headless", "openvino", "onnxruntime", "torch")


@dataclass(frozen=True)
class Machine:
    """Where and with what something was timed.

    Attributes:
        processor: its name as the system gives it.
        cores: processors that this process may use.
        system: operating system and architecture.
        load_average: processes that ran over the last minute, before the measurement; None where
            the system does not say. Well above 0, something else was running.
        versions: Python's and those of the libraries that are installed.
    """

    processor: str
    cores: int
    system: str
    load_average: float | None
    versions: Mapping[str, str]


def this_machine(*libraries: str) -> Machine:
    """Describe this machine.

    Args:
        libraries: further distributions to give the versions of.
    """
    versions = {"python": platform.python_version()}
    for name in (*_LIBRARIES, *libraries):
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return Machine(
        processor=_processor(),
        cores=available_cores(),
        system=f"{platform.system()} {platform.machine()}",
        load_average=round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        versions=versions,
    )


def _processor() -> str:
    try:
        lines = _CPU_INFO.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith(_MODEL))
    return next(named, "") or platform.processor() or "unknown"
