"""The plan of the house holds: every room has a layer, and nothing grows past its size."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "pneumoseg"
CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"][
    "importlinter"
]["contracts"]


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


def test_every_room_has_exactly_one_layer() -> None:
    """A new module or folder at the top may import anything, and be imported by all."""
    assert sorted(layers("pneumoseg")) == sorted(rooms(PACKAGE))
