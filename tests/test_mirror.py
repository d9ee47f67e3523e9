"""Tests mirror the tree: who changes a module knows where its test is.

``src/pneumoseg/A/B.py`` has ``tests/A/test_B.py``, or a name that begins so. Names of test files
must differ between folders, so ``test_A_B.py`` is as good; of ``A/C/B.py``, tests lie in ``A`` or
``A/C``. What has none stands in CONTRIBUTING.md with the reason.
"""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE, TESTS = ROOT / "src" / "pneumoseg", ROOT / "tests"
MODULES = sorted(
    path.relative_to(PACKAGE).as_posix()
    for path in PACKAGE.rglob("*.py")
    if path.name != "__init__.py"
)
ALSO = {"runtime": "contract"}
"""Where tests of a room lie beside its own folder: the suite that every runtime must pass."""
HEADING = "### Modules without a test of their own name"


def has_test(module: str, tests: Path = TESTS) -> bool:
    """Whether a test bears the module's name in the folder of its room."""
    *folders, stem = Path(module).with_suffix("").parts
    names = {"_".join([*folders[start:], stem]) for start in range(len(folders) + 1)}
    rooms = [tests.joinpath(*folders[:depth]) for depth in range(len(folders), 0, -1)] or [tests]
    rooms += [tests / ALSO[room] for room in folders[:1] if room in ALSO]
    return any(
        path.stem == f"test_{name}" or path.stem.startswith(f"test_{name}_")
        for room in rooms
        for path in room.glob("test_*.py")
        for name in names
    )


def exceptions() -> dict[str, str]:
    """The table of CONTRIBUTING.md: module and reason."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    section = text.split(HEADING)[1].split("\n#")[0]
    found = re.findall(r"^\| `([a-z0-9_/]+\.py)` \| (\S.*) \|$", section, re.MULTILINE)
    assert len(found) == len(dict(found)), "a module stands there twice"
    return dict(found)


def test_every_module_has_a_test_of_its_name_or_a_reason() -> None:
    """A module came without a test, or was moved and its test was not."""
    without = {module for module in MODULES if not has_test(module)}
    assert without - set(exceptions()) == set()


def test_no_reason_outlives_its_module() -> None:
    """A row for a module that has gone, or has a test by now."""
    stale = {module for module in exceptions() if module not in MODULES or has_test(module)}
    assert stale == set()


def test_every_test_that_a_reason_names_is_there() -> None:
    named = re.findall(r"tests/[a-z0-9_/]+\.py", " ".join(exceptions().values()))
    assert len(named) > 20
    assert [name for name in named if not (ROOT / name).is_file()] == []


def test_no_two_test_files_have_one_name() -> None:
    """pytest imports them by their bare names."""
    names = [path.name for path in TESTS.rglob("test_*.py")]
    assert sorted({name for name in names if names.count(name) > 1}) == []


def test_the_rule_itself(tmp_path: Path) -> None:
    for name in ("a/test_b.py", "a/test_a_run.py", "a/test_cut_short.py", "c/test_e.py"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    assert has_test("a/b.py", tmp_path)
    assert has_test("a/run.py", tmp_path)
    assert has_test("a/cut.py", tmp_path)
    assert has_test("c/d/e.py", tmp_path)
    assert not has_test("c/b.py", tmp_path)  # another room's
    assert not has_test("a/short.py", tmp_path)
    assert not has_test("b.py", tmp_path)
