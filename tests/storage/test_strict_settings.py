"""A settings file is strict: a misspelt key or a wrong type never passes in silence."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest

from pneumoseg.errors import UsageError
from pneumoseg.storage.strict import load_settings


class _Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


@dataclass(frozen=True)
class _Part:
    name: str
    weight: float = 1.0


@dataclass(frozen=True)
class _Whole:
    out: Path
    count: int = 3
    share: float = 0.5
    loud: bool = False
    colour: _Colour = _Colour.RED
    precision: Literal["auto", "bf16"] = "auto"
    threshold: float | None = None
    folder: Path | None = None
    paths: tuple[Path, ...] = ()
    parts: tuple[_Part, ...] = ()
    part: _Part = field(default_factory=lambda: _Part("only"))


def _load(folder: Path, text: str) -> _Whole:
    path = folder / "settings.toml"
    path.write_text(text, encoding="utf-8")
    return load_settings(_Whole, path)


def test_every_kind_of_value(tmp_path: Path) -> None:
    read = _load(
        tmp_path,
        """
        out = "results"
        count = 4
        share = 1
        loud = true
        colour = "blue"
        precision = "bf16"
        threshold = 0.25
        folder = "films"
        paths = ["a", "b"]
        part = { name = "x" }
        [[parts]]
        name = "first"
        weight = 2.0
        [[parts]]
        name = "second"
        """,
    )
    assert read == _Whole(
        Path("results"),
        4,
        1.0,
        True,
        _Colour.BLUE,
        "bf16",
        0.25,
        Path("films"),
        (Path("a"), Path("b")),
        (_Part("first", 2.0), _Part("second")),
        _Part("x"),
    )
    assert type(read.share) is float  # a whole number in TOML, a float all the same


def test_what_is_not_named_keeps_its_default(tmp_path: Path) -> None:
    assert _load(tmp_path, 'out = "results"') == _Whole(Path("results"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('out = "x"\ncuont = 3', "unknown key 'cuont'; known keys are .*count"),
        ("count = 3", "the key 'out' is missing"),
        ('out = "x"\ncount = "3"', "count: expected int, got '3'"),
        ('out = "x"\ncount = 3.0', "count: expected int, got 3.0"),
        ('out = "x"\ncount = true', "count: expected int, got True"),
        ('out = "x"\nshare = true', "share: expected float, got True"),
        ('out = "x"\nshare = "half"', "share: expected float, got 'half'"),
        ('out = "x"\nloud = 1', "loud: expected bool, got 1"),
        ("out = 3", "out: expected Path, got 3"),
        ('out = "x"\ncolour = "green"', "colour: 'green' is not one of red, blue"),
        ('out = "x"\nprecision = "fp8"', "precision: 'fp8' is not one of .*auto"),
        ('out = "x"\nthreshold = "high"', "threshold: 'high' is not one of"),
        ('out = "x"\npaths = "a"', "paths: expected a list, got 'a'"),
        ('out = "x"\npaths = [1]', "paths: expected Path, got 1"),
        ('out = "x"\npart = "only"', "part: 'only' is not one of"),
        ('out = "x"\n[part]\nname = "x"\nheavy = 1', "part: unknown key 'heavy'"),
        ('out = "x"\n[part]\nweight = 1.0', "part: the key 'name' is missing"),
        ('out = "x"\n[[parts]]\nname = 1', "parts: name: expected str, got 1"),
        ('out = "x', "not valid TOML"),
    ],
)
def test_a_mistake_is_named_with_its_place(text: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=words) as caught:
        _load(tmp_path, text)
    assert "settings.toml" in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot read the settings file .*none.toml"):
        load_settings(_Whole, tmp_path / "none.toml")
    with pytest.raises(UsageError, match="cannot read the settings file"):
        load_settings(_Whole, tmp_path)
