"""A folder of results is there whole or not at all."""

from pathlib import Path

import pytest

from pneumoseg.storage.whole_folder import whole_folder


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
