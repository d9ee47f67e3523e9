"""Dataclasses as TOML: the text itself, and that it reads back to the same."""

from __future__ import annotations

import enum
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from pneumoseg.storage.toml_text import toml_text


class Colour(enum.Enum):
    RED = "red"


@dataclass(frozen=True)
class Inner:
    number: float = 1e-7
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class Outer:
    text: str = 'a "b" \\ c'
    flag: bool = True
    whole: int = 3
    nothing: str | None = None
    path: Path = Path("a/b")
    colour: Colour = Colour.RED
    inner: Inner = field(default_factory=Inner)
    many: tuple[Inner, ...] = ()
    last: int = 4


def test_keys_come_before_tables_and_none_is_left_out() -> None:
    text = toml_text(Outer(many=(Inner(2.0), Inner(3.0, ("x",)))), header="Of a test.\nTwo lines.")
    assert text == (
        "# Of a test.\n# Two lines.\n\n"
        'text = "a \\"b\\" \\\\ c"\n'
        "flag = true\n"
        "whole = 3\n"
        'path = "a/b"\n'
        'colour = "red"\n'
        "last = 4\n\n"
        "[inner]\n"
        "number = 1e-07\n"
        "names = []\n\n"
        "[[many]]\n"
        "number = 2.0\n"
        "names = []\n\n"
        "[[many]]\n"
        "number = 3.0\n"
        'names = ["x"]\n'
    )


@pytest.mark.parametrize("text", ["", "ü ß 肺", "a\nb\tc", '"', "\\", "\x00\x1f\x7f", "# none"])
def test_any_text_reads_back(text: str) -> None:
    assert tomllib.loads(toml_text(Outer(text=text)))["text"] == text


@pytest.mark.parametrize("number", [0.1 + 0.2, 1e-300, 5e22, -0.0, 3.0, float("inf")])
def test_any_number_reads_back_to_the_bit(number: float) -> None:
    found = tomllib.loads(toml_text(Inner(number)))["number"]
    assert isinstance(found, float) and found.hex() == number.hex()


def test_a_long_list_is_broken_and_reads_back() -> None:
    names = tuple(f"name {k}" for k in range(30))
    text = toml_text(Inner(names=names))
    assert max(map(len, text.splitlines())) < 30
    assert tomllib.loads(text)["names"] == list(names)


def test_a_comment_stands_above_its_key() -> None:
    text = toml_text(Outer(), comments={"flag": "Why.", "inner": "All of it."})
    assert "# Why.\nflag = true\n" in text
    assert "# All of it.\n[inner]\n" in text


@dataclass(frozen=True)
class Odd:
    value: Any


@pytest.mark.parametrize("value", [{"a": 1}, b"bytes", (1, {2})])
def test_what_toml_has_no_word_for_is_refused(value: object) -> None:
    with pytest.raises(TypeError, match="TOML has no word for a"):
        toml_text(Odd(value))
