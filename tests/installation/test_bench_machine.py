"""The machine that was measured is named."""

from __future__ import annotations

import numpy as np
import pytest

from pneumoseg.installation.bench.machine import this_machine


def test_the_machine_is_named() -> None:
    machine = this_machine("pytest", "no-such-distribution")
    assert machine.processor and machine.cores >= 1
    assert machine.versions["pytest"] == pytest.__version__
    assert machine.versions["numpy"] == np.__version__
    assert "no-such-distribution" not in machine.versions
