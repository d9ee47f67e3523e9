"""The files of a source."""

from __future__ import annotations

from pathlib import Path

import pytest

from pneumoseg.dataset.prepare.source import files_below
from pneumoseg.errors import UsageError


def test_every_file_at_any_depth_in_one_order(tmp_path: Path) -> None:
    """Breaks if a cache depends on the order in which a disk lists its files."""
    for name in ("b.png", "a/z.dcm", "a/c/d.txt", "B.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = [path.relative_to(tmp_path).as_posix() for path in files_below(tmp_path)]
    assert sorted(found) == ["B.png", "a/c/d.txt", "a/z.dcm", "b.png"]
    assert found == [path.relative_to(tmp_path).as_posix() for path in files_below(tmp_path)]


def test_a_file_is_no_folder_of_images(tmp_path: Path) -> None:
    (tmp_path / "a.png").touch()
    for path in (tmp_path / "a.png", tmp_path / "none"):
        with pytest.raises(UsageError, match="is not a folder"):
            files_below(path)
