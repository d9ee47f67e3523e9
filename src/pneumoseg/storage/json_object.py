"""A JSON object read strictly, field by field: what is wrong is said with its place."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from pneumoseg.errors import DataError

_Value = TypeVar("_Value")


@dataclass(frozen=True)
class JsonObject:
    """The fields of one object; keys that nobody asks for are left alone.

    Attributes:
        fields: as :mod:`json` gives them.
        where: file and line, the beginning of every message.
    """

    fields: dict[str, Any]
    where: str

    @classmethod
    def parsed(cls, line: str, where: str) -> JsonObject:
        """Parse a line.

        Raises:
            DataError: it is not one JSON object.
        """
        try:
            found = json.loads(line)
        except json.JSONDecodeError as error:
            raise DataError(
                f"{where}: not JSON ({error.msg}); was the run cut short? run predict again to "
                "finish"
            ) from error
        if not isinstance(found, dict):
            raise DataError(f"{where}: expected a JSON object, got {line.strip()[:40]!r}")
        return cls(found, where)

    def maybe(self, name: str, read: Callable[[str], _Value]) -> _Value | None:
        """What ``read`` makes of a field, None where it is null or missing."""
        return None if self.fields.get(name) is None else read(name)

    def later(self, name: str, read: Callable[[str], _Value], before: _Value) -> _Value:
        """A field that older files do not have; ``before`` stands for it there."""
        return read(name) if name in self.fields else before

    def text(self, name: str) -> str:
        """A string."""
        return str(self._of_kind(name, str))

    def flag(self, name: str) -> bool:
        """True or false."""
        return bool(self._of_kind(name, bool))

    def whole(self, name: str) -> int:
        """A whole number."""
        return int(self._of_kind(name, int))

    def number(self, name: str) -> float:
        """A finite number, whole numbers left whole."""
        value: float = self.fields.get(name, math.nan)
        if not _is_number(value):
            raise self._wrong(name, "a number")
        return value

    def at_least_0(self, name: str) -> float:
        """A finite number, 0 or more."""
        value: float = self.fields.get(name, math.nan)
        if not _is_number(value) or value < 0:
            raise self._wrong(name, "0 or more")
        return value

    def probability(self, name: str) -> float:
        """A number in [0, 1]."""
        value: float = self.fields.get(name, math.nan)
        if not _is_number(value) or not 0 <= value <= 1:
            raise DataError(
                f"{self.where}: field {name!r} must lie in [0, 1], got {self.fields.get(name)!r}"
            )
        return value

    def shape(self, name: str, axes: Sequence[str]) -> tuple[int, ...]:
        """A shape: whole numbers above 0, one an axis."""
        value = self._of_kind(name, list)
        if len(value) != len(axes) or not all(type(side) is int and side > 0 for side in value):
            raise self._wrong(name, f"[{', '.join(axes)}]")
        return tuple(value)

    def spacing(self, name: str, length: int) -> tuple[float, ...]:
        """Numbers above 0."""
        value = self.fields.get(name)
        if not isinstance(value, list) or len(value) != length or not all(map(_is_number, value)):
            raise self._wrong(name, f"{_word(length)} or null")
        if not all(step > 0 for step in value):
            raise self._wrong(name, "above 0")
        return tuple(value)

    def texts(self, name: str) -> tuple[str, ...]:
        """A list of strings."""
        value = self.fields.get(name)
        if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
            raise self._wrong(name, "a list of texts")
        return tuple(value)

    def pair(self, name: str) -> tuple[str, str]:
        """Two strings."""
        value = self.fields.get(name)
        if not isinstance(value, list) or [type(one) for one in value] != [str, str]:
            raise self._wrong(name, "two values or null")
        return value[0], value[1]

    def numbers_by_name(self, name: str) -> dict[str, float]:
        """An object whose values are finite numbers."""
        value = self.fields.get(name)
        if not isinstance(value, dict) or not all(map(_is_number, value.values())):
            raise self._wrong(name, "numbers by name")
        return dict(value)

    def objects(self, name: str) -> Iterator[JsonObject]:
        """A list of objects."""
        value = self.fields.get(name)
        if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
            raise self._wrong(name, "a list of objects")
        return (JsonObject(one, self.where) for one in value)

    def _of_kind(self, name: str, kind: type) -> Any:
        value = self.fields.get(name)
        if type(value) is not kind:
            raise self._wrong(name, kind.__name__)
        return value

    def _wrong(self, name: str, expected: str) -> DataError:
        value = self.fields.get(name)
        return DataError(f"{self.where}: field {name!r} must be {expected}, got {value!r:.60}")


def _is_number(value: object) -> bool:
    return type(value) in (int, float) and math.isfinite(value)  # type: ignore[arg-type]


def _word(length: int) -> str:
    return {2: "two values", 3: "three values"}[length]
