"""A file is there whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from pneumoseg.storage.whole_file import whole_file


def test_the_name_stands_for_the_old_content_until_the_new_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with whole_file(path) as part:
        part.write_text("new, half")
        assert path.read_text() == "old"
        part.write_text("new")
    assert path.read_text() == "new"
    assert [one.name for one in tmp_path.iterdir()] == ["a.txt"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_what_was_half_written_is_removed(error: type[BaseException], tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(error), whole_file(path) as part:
        part.write_text("half")
        raise error
    assert path.read_text() == "old"
    assert [one.name for one in tmp_path.iterdir()] == ["a.txt"]


def test_what_a_kill_left_is_replaced(tmp_path: Path) -> None:
    (tmp_path / ".a.txt.part").write_text("of a killed writer, much longer")
    with whole_file(tmp_path / "a.txt") as part:
        part.write_text("new")
    assert (tmp_path / "a.txt").read_text() == "new"
    assert [one.name for one in tmp_path.iterdir()] == ["a.txt"]


def test_a_body_that_writes_nothing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), whole_file(tmp_path / "a.txt"):
        pass
    assert list(tmp_path.iterdir()) == []
