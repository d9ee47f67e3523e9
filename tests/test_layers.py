"""The plan of the house holds: every room has a layer, and nothing grows past its size."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "pneumoseg"
CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"][
    "importlinter"
]["contracts"]

MODULES = sorted(PACKAGE.rglob("*.py"))

MOST_FILES, MOST_LINES, MOST_FUNCTION_LINES, MOST_ARGUMENTS = 20, 350, 70, 9


def layers(container: str) -> list[str]:
    """Names in the layers contract of a package, each as often as it stands there."""
    (contract,) = (
        contract
        for contract in CONTRACTS
        if contract["type"] == "layers" and contract["containers"] == [container]
    )
    assert contract["exhaustive"], "a room without a layer would pass"
    return [name.strip() for layer in contract["layers"] for name in re.split(r"[|:]", layer)]


def rooms(folder: Path) -> set[str]:
    """Modules and packages of a folder."""
    modules = {path.stem for path in folder.glob("*.py")} - {"__init__"}
    return modules | {path.parent.name for path in folder.glob("*/__init__.py")}


@pytest.mark.parametrize("container", ["pneumoseg", "pneumoseg.prediction"])
def test_every_room_has_exactly_one_layer(container: str) -> None:
    """A new module or folder there may import anything, and be imported by all."""
    folder = PACKAGE.joinpath(*container.split(".")[1:])
    assert sorted(layers(container)) == sorted(rooms(folder))


def test_no_folder_is_crowded() -> None:
    """Nobody finds a module in a folder of fifty: make a room of those that belong together."""
    folders = {path.parent for path in MODULES}
    crowded = {str(f.relative_to(ROOT)): len(list(f.glob("*.py"))) for f in folders}
    assert {name: count for name, count in crowded.items() if count > MOST_FILES} == {}


def test_no_name_repeats_its_folder() -> None:
    """``prediction/prediction_run.py`` says nothing that ``prediction/run.py`` does not."""
    repeating = []
    for path in MODULES:
        words = {word.rstrip("s") for word in path.stem.split("_")}
        for folder in path.relative_to(PACKAGE).parent.parts:
            if {word.rstrip("s") for word in folder.split("_")} <= words:
                repeating.append(str(path.relative_to(PACKAGE)))
    assert repeating == []


def test_no_module_is_too_long() -> None:
    """One idea a file: what grew beyond it has a second one."""
    lines = {path: path.read_text(encoding="utf-8").count("\n") for path in MODULES}
    assert {str(p.relative_to(PACKAGE)) for p, n in lines.items() if n > MOST_LINES} == set()


Function = ast.FunctionDef | ast.AsyncFunctionDef


def functions() -> Iterator[tuple[str, Function]]:
    """Every function and method, as ``module.Class.function``."""

    def within(node: ast.AST, name: str) -> Iterator[tuple[str, Function]]:
        for child in ast.iter_child_nodes(node):
            named = isinstance(child, (ast.ClassDef, Function))
            inner = f"{name}.{child.name}" if named else name
            if isinstance(child, Function):
                yield inner, child
            yield from within(child, inner)

    for path in MODULES:
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        yield from within(ast.parse(path.read_text(encoding="utf-8")), ".".join(parts))


def test_no_function_is_too_long() -> None:
    """One thing a function, docstring included; what does two can be read as two."""
    lengths = {name: (f.end_lineno or 0) - f.lineno + 1 for name, f in functions()}
    assert len(lengths) > 1000
    assert {name for name, length in lengths.items() if length > MOST_FUNCTION_LINES} == set()


def test_no_function_takes_too_much() -> None:
    """Arguments that always travel together are a dataclass that nobody has written yet."""
    taking = set()
    for name, function in functions():
        given = function.args
        names = [a.arg for a in (*given.posonlyargs, *given.args, *given.kwonlyargs)]
        if len([each for each in names if each not in ("self", "cls")]) > MOST_ARGUMENTS:
            taking.add(name)
    assert taking == set()
