"""Results on disk: whole or not at all, picture before JSON, a full disk in one sentence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pneumoseg.errors import UsageError
from pneumoseg.storage.result import write_csv, write_json, write_result


def test_the_picture_is_drawn_from_the_json_and_before_it(tmp_path: Path) -> None:
    """A JSON file without its picture, or a picture of other numbers, would pass for finished."""
    drawn: list[dict[str, Any]] = []

    def draw(document: dict[str, Any], path: Path) -> None:
        assert path == tmp_path / "new" / "found.png"
        assert not (tmp_path / "new" / "found.json").exists()
        drawn.append(document)

    path = write_result(tmp_path / "new", "found.json", {"sizes": (1, 2)}, draw)
    assert path.read_text("utf-8") == '{\n  "sizes": [\n    1,\n    2\n  ]\n}\n'
    assert drawn == [{"sizes": [1, 2]}]


def test_a_folder_that_cannot_be_written_to_is_a_users_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", "utf-8")
    with pytest.raises(UsageError, match="cannot write to .*file: File exists"):
        write_result(tmp_path / "file", "found.json", {})


def test_no_nan_reaches_a_result(tmp_path: Path) -> None:
    """NaN is no JSON: other readers than Python's refuse it."""
    with pytest.raises(ValueError, match="JSON compliant"):
        write_result(tmp_path, "found.json", {"dice": float("nan")})
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_leaves_the_old_json(tmp_path: Path) -> None:
    """A run killed while it writes its settings must still be resumable."""
    path = tmp_path / "settings.json"
    write_json(path, {"size": 1})
    with pytest.raises(TypeError):
        write_json(path, {"size": object()})
    assert json.loads(path.read_text("utf-8")) == {"size": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_a_table_has_its_header_and_plain_line_ends(tmp_path: Path) -> None:
    write_csv(tmp_path / "t.csv", ("id", "text"), [(1, "a,b"), (2, "")])
    assert (tmp_path / "t.csv").read_bytes() == b'id,text\n1,"a,b"\n2,\n'
