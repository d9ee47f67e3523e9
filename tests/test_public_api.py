"""The public names: one list, and the package, its ``dir()`` and the reference all hold to it."""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

import pneumoseg

ROOT = Path(__file__).parents[1]
REFERENCE = (ROOT / "docs" / "reference.md").read_text(encoding="utf-8")
PUBLIC = sorted(pneumoseg.__all__)
MODULES = {"metrics", "phantom", "rle"}
PAGES = sorted((ROOT / "docs").glob("*.md")) + [ROOT / "README.md"]


def test_the_reference_lists_exactly_the_public_names() -> None:
    """A name was added, renamed or removed and its users are not told."""
    section = REFERENCE.split("## Public API")[1].split("\n## ")[0]
    named = re.findall(r"^\| `(\w+)` \| \S", section, re.MULTILINE)
    assert sorted(named) == PUBLIC
    assert "Everything else is private" in section


def test_dir_shows_exactly_the_public_names() -> None:
    assert dir(pneumoseg) == PUBLIC


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_is_there_and_says_what_it_is(name: str) -> None:
    """Breaks if a module was moved and the lazy import still looks for it in its old place."""
    found = getattr(pneumoseg, name)
    assert inspect.ismodule(found) == (name in MODULES)
    assert name == "__version__" or inspect.getdoc(found)


def test_every_error_and_every_type_of_study_is_public() -> None:
    """Breaks if a class is added there and a caller has to reach into a private module for it."""
    for home in ("errors", "study"):
        tree = ast.parse((ROOT / "src" / "pneumoseg" / f"{home}.py").read_text(encoding="utf-8"))
        classes = {node.name for node in tree.body if isinstance(node, ast.ClassDef)}
        assert classes and classes <= set(PUBLIC)


def test_the_type_checker_sees_the_same_names() -> None:
    """The imports under TYPE_CHECKING and the lazy ones are two lists of one thing."""
    tree = ast.parse(Path(pneumoseg.__file__).read_text(encoding="utf-8"))
    (guarded,) = (node for node in tree.body if isinstance(node, ast.If))
    homes = {
        alias.asname or alias.name: (node.module, alias.name)
        for node in guarded.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert sorted([*homes, "__version__"]) == PUBLIC
    for name, (module, inner) in homes.items():
        if name not in MODULES:
            home = __import__(str(module), fromlist=[inner])
            assert getattr(home, inner) is getattr(pneumoseg, name), name


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'pneumoseg' has no attribute 'Casacde'"):
        pneumoseg.Casacde  # noqa: B018


def test_the_import_loads_nothing_until_a_name_is_used() -> None:
    """Breaks if ``import pneumoseg`` comes to cost seconds, or to need torch."""
    code = (
        "import sys, pneumoseg\n"
        "dir(pneumoseg)\n"
        "print(sorted(n for n in sys.modules if n.startswith('pneumoseg')), 'numpy' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "['pneumoseg', 'pneumoseg.version'] False"


def test_no_public_name_needs_torch() -> None:
    code = (
        "import sys, pneumoseg\n"
        "for name in pneumoseg.__all__: getattr(pneumoseg, name)\n"
        "print(sorted({'torch', 'timm', 'ray', 'onnx'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "[]"


def _private(source: str) -> list[str]:
    """What a program imports of pneumoseg that is not public."""
    wrong = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            wrong += [a.name for a in node.names if a.name.startswith("pneumoseg.")]
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("pneumoseg"):
            module = str(node.module)
            names = [alias.name for alias in node.names]
            if module == "pneumoseg":
                wrong += [name for name in names if name not in PUBLIC]
            elif module.removeprefix("pneumoseg.") not in MODULES:
                wrong.append(module)
            else:
                wrong += [name for name in names if name.startswith("_")]
    return wrong


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*.py")), ids=lambda p: p.name)
def test_examples_use_public_names_alone(path: Path) -> None:
    """An example is copied: what it uses has to stay."""
    assert _private(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_pages_show_public_names_alone(page: Path) -> None:
    for block in re.findall(
        r"```python\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL
    ):
        assert _private(block) == []
