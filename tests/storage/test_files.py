"""What a kill leaves: a file and a folder whole or not at all, torn lines, a lock that goes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from pneumoseg.errors import UsageError
from pneumoseg.storage.files import (
    AppendedFile,
    Cursor,
    Torn,
    cut,
    locked,
    whole_file,
    whole_folder,
    whole_lines,
)

HOLD = """
import sys
from pathlib import Path
from pneumoseg.storage.files import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


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


def test_results_replace_those_before_and_leave_the_rest(tmp_path: Path) -> None:
    """Fails if results of two calls stood side by side, or a file of the user's were lost."""
    folder = tmp_path / "out"
    (folder / "pictures").mkdir(parents=True)
    (folder / "pictures" / "old.png").write_text("old")
    (folder / "old.json").write_text("old")
    (folder / "mine.txt").write_text("mine")
    with whole_folder(folder, ("old.json", "pictures", "never.txt")) as part:
        (part / "pictures").mkdir()
        (part / "pictures" / "new.png").write_text("new")
        assert (folder / "old.json").exists()
    assert {str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file()} == {
        "out/mine.txt",
        "out/pictures/new.png",
    }


def test_a_failure_changes_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "old.json").write_text("old")
    (tmp_path / ".out.part").mkdir()  # of a process that was killed
    (tmp_path / ".out.part" / "half.json").write_text("half")
    with pytest.raises(KeyError), whole_folder(folder, ("old.json",)) as part:
        assert not list(part.iterdir())
        (part / "new.json").write_text("new")
        raise KeyError
    assert [p.name for p in tmp_path.rglob("*")] == ["out", "old.json"]


def test_a_folder_that_was_not_there(tmp_path: Path) -> None:
    with whole_folder(tmp_path / "a" / "b", ()) as part:
        (part / "x").write_text("x")
    assert [p.name for p in (tmp_path / "a").rglob("*")] == ["b", "x"]


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


def _read(line: bytes, where: str) -> tuple[str, str]:
    """``path=what``; a line of zeros, as after a power cut, is none."""
    if line.startswith(b"\0"):
        raise Torn
    path, what = line.decode().strip().split("=")
    return path, f"{what} ({where.rsplit(', ')[-1]})"


@pytest.mark.parametrize("behind", [b"", b"thr", b"\0\0\0\n", b"no sign\n", b"three=3\n"])
def test_a_cursor_keeps_what_it_took(behind: bytes, tmp_path: Path) -> None:
    """Breaks if a line is lost that was taken, or one stays that was not."""
    path = tmp_path / "lines"
    path.write_bytes(b"head\none=1\ntwo=2\n" + behind)
    cursor = Cursor(path, _read, header=b"head\n")
    assert cursor.path == "one" and cursor.advance() == "1 (line 2)"
    assert cursor.path == "two" and cursor.advance() == "2 (line 3)"
    whole = behind == b"three=3\n"
    assert cursor.path == ("three" if whole else None)
    assert cursor.count_ahead() == whole
    cursor.cut()
    assert path.read_bytes() == b"head\none=1\ntwo=2\n"


def test_a_cursor_over_a_file_without_its_header_takes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    assert Cursor(path, _read, header=b"head\n").path is None
    path.write_bytes(b"one=1\n")
    cursor = Cursor(path, _read, header=b"head\n")
    assert cursor.path is None
    cursor.cut()
    assert path.read_bytes() == b""
