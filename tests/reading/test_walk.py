"""Folders are listed completely, once, lazily and always in the same order."""

from __future__ import annotations

import itertools

import pytest

from pneumoseg.errors import UsageError
from pneumoseg.reading import walk


@pytest.fixture
def tree(tmp_path):
    for name in ("b/2.dcm", "b/10.dcm", "a/x.png", "z.dcm", "DICOMDIR", ".hidden", ".git/y.dcm"):
        path = tmp_path / "root" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return tmp_path / "root"


def names(paths, root):
    return [path.relative_to(root).as_posix() for path in paths]


def test_order_and_hidden_files(tree):
    assert names(walk([tree]), tree) == ["DICOMDIR", "z.dcm", "a/x.png", "b/10.dcm", "b/2.dcm"]


def test_files_given_come_first_and_once(tree):
    found = names(walk([tree / "b/2.dcm", tree, tree / "b", tree / "b/2.dcm"]), tree)
    assert found == ["b/2.dcm", "DICOMDIR", "z.dcm", "a/x.png", "b/10.dcm"]
    assert names(walk([tree / "b", tree / "b/2.dcm"]), tree) == ["b/10.dcm", "b/2.dcm"]
    assert names(walk([tree / ".hidden"]), tree) == [".hidden"]


def test_links(tree, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "o.dcm").write_bytes(b"o")
    (tree / "loop").symlink_to(tree)
    (tree / "to_folder").symlink_to(outside)
    (tree / "z_again").symlink_to(tree / "z.dcm")
    (tree / "o1").symlink_to(outside / "o.dcm")
    (tree / "stored").symlink_to(tree / ".git/y.dcm")  # git-annex keeps files like this
    (tree / "broken").symlink_to(tree / "nowhere")
    found = names(walk([tree]), tree)
    assert found == [
        "DICOMDIR", "broken", "o1", "stored", "z.dcm", "a/x.png", "b/10.dcm", "b/2.dcm"
    ]  # fmt: skip


def test_missing_path_is_a_usage_error_at_once(tree):
    with pytest.raises(UsageError, match="nowhere"):
        walk([tree, tree / "nowhere"])
    with pytest.raises(UsageError):
        walk([])


def test_deep_tree_and_laziness(tmp_path):
    folder = tmp_path
    for _ in range(300):
        folder = folder / "d"
    folder.mkdir(parents=True)
    (folder / "f").write_bytes(b"")
    assert len(list(walk([tmp_path]))) == 1
    assert len(list(itertools.islice(walk([folder]), 1))) == 1
