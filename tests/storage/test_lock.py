"""One process writes into a folder at a time."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from pneumoseg.errors import UsageError
from pneumoseg.storage.lock import locked

HOLD = """
import sys
from pathlib import Path
from pneumoseg.storage.lock import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_another_process_is_refused_until_the_first_has_gone(tmp_path: Path) -> None:
    """Also when it ends by a kill: nothing has to be removed by hand."""
    words = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None and other.stdout.readline() == b"held\n"
        with pytest.raises(UsageError, match="another run is writing into"), locked(tmp_path):
            raise AssertionError("two processes hold the folder")
        other.kill()
        other.wait()
    with locked(tmp_path):
        pass


def test_the_lock_is_given_back_when_the_body_raises(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), locked(tmp_path):
        raise ZeroDivisionError
    with locked(tmp_path):
        pass
