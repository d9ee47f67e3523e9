"""Lines that a kill may have torn: what counts, what is cut, what is there after an append."""

from __future__ import annotations

from pathlib import Path

import pytest

from pneumoseg.storage.journal import AppendedFile, cut, whole_lines


def test_a_torn_last_line_does_not_count(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    assert list(whole_lines(path)) == []
    path.write_bytes(b"one\n\ntwo\nthr")
    assert list(whole_lines(path)) == [b"one\n", b"\n", b"two\n"]


def test_what_lies_behind_is_cut(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    cut(path, 0)
    assert not path.exists()
    path.write_bytes(b"one\ntwo\nthr")
    cut(path, 8)
    assert path.read_bytes() == b"one\ntwo\n"
    cut(path, 8)
    with pytest.raises(ValueError, match="has 8 bytes, 9 were to be kept"):
        cut(path, 9)
    with pytest.raises(ValueError, match="has 0 bytes"):
        cut(tmp_path / "none", 1)


def test_what_is_appended_is_there_before_the_file_is_closed(tmp_path: Path) -> None:
    """Breaks if a kill takes lines that were said to be written."""
    path = tmp_path / "lines"
    with AppendedFile(path) as file:
        assert file.was_empty
        file.append("ä\n")
        assert path.read_bytes() == "ä\n".encode()
        file.append(b"two\n")
        file.sync()
    with AppendedFile(path) as file:
        assert not file.was_empty
        file.append("three\n")
    assert path.read_bytes() == "ä\ntwo\nthree\n".encode()
