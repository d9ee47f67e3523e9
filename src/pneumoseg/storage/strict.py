"""What is read back is read strictly: settings from TOML, records from JSON.

``load_settings`` refuses unknown keys and wrong types, so that a misspelt key never passes in
silence. :class:`JsonObject` gives an object field by field and says of what is wrong where it
stands.
"""

from __future__ import annotations

import dataclasses
import enum
import json
import math
import tomllib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from pneumoseg.errors import DataError, UsageError

_Settings = TypeVar("_Settings")
_Value = TypeVar("_Value")


def load_settings(
    cls: type[_Settings], path: Path, *, left_open: object | None = None
) -> _Settings:
    """Read a settings dataclass from a TOML file.

    Args:
        cls: a frozen dataclass whose fields are plain values, tuples, paths or further such
            dataclasses.
        path: a TOML file; keys are field names, tables are nested dataclasses.
        left_open: stands in for required keys that the file leaves to the command line; None
            makes a missing key an error.

    Raises:
        UsageError: the file is missing or not TOML, has an unknown key, or a value of the wrong
            type.
    """
    try:
        with path.open("rb") as file:
            table = tomllib.load(file)
    except OSError as error:
        raise UsageError(f"cannot read the settings file {path}: {error.strerror}") from error
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path} is not valid TOML: {error}") from error
    if left_open is not None:
        table = dict.fromkeys(_required(cls), left_open) | table
    return _from_table(cls, table, str(path), left_open)


def _required(cls: type) -> tuple[str, ...]:
    """Names of the fields that have no default."""
    return tuple(
        field.name
        for field in dataclasses.fields(cls)
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    )


def _from_table(
    cls: type[_Settings], table: dict[str, Any], where: str, left_open: object | None = None
) -> _Settings:
    hints = get_type_hints(cls)
    known = {field.name for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    for key in table:
        if key not in known:
            raise UsageError(
                f"{where}: unknown key {key!r}; known keys are {', '.join(sorted(known))}"
            )
    for name in _required(cls):
        if name not in table:
            raise UsageError(f"{where}: the key {name!r} is missing")
    values = {
        key: value
        if left_open is not None and value is left_open
        else _convert(hints[key], value, f"{where}: {key}")
        for key, value in table.items()
    }
    try:
        return cls(**values)
    except TypeError as error:
        raise UsageError(f"{where}: {error}") from error


def _convert(hint: Any, value: Any, where: str) -> Any:
    """Bring one TOML value to the type a field asks for, or say what is wrong."""
    origin = getattr(hint, "__origin__", None)
    arguments: tuple[Any, ...] = getattr(hint, "__args__", ())
    if dataclasses.is_dataclass(hint) and isinstance(value, dict):
        return _from_table(hint, value, where)  # type: ignore[arg-type]
    if origin is tuple:
        return _convert_list(arguments[0], value, where)
    if hint is Path and isinstance(value, str):
        return Path(value)
    if hint is float and isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    if isinstance(hint, type) and not dataclasses.is_dataclass(hint):
        return _convert_plain(hint, value, where)
    for choice in arguments:  # Literal choices and unions, e.g. Path | None
        if value == choice:
            return value
        if isinstance(choice, type) and choice is not type(None):
            try:
                return _convert(choice, value, where)
            except UsageError:
                continue
    raise UsageError(f"{where}: {value!r} is not one of {arguments or hint}")


def _convert_list(hint: Any, value: Any, where: str) -> tuple[Any, ...]:
    """A TOML array as a tuple; a single word in its place would be taken letter by letter."""
    if not isinstance(value, list):
        raise UsageError(f"{where}: expected a list, got {value!r}")
    return tuple(_convert(hint, item, where) for item in value)


def _convert_plain(hint: type, value: Any, where: str) -> Any:
    """A value TOML has a type for, or the member of an enumeration by its value."""
    if issubclass(hint, enum.Enum):
        choices = [member.value for member in hint]
        if value in choices:
            return hint(value)
        raise UsageError(f"{where}: {value!r} is not one of {', '.join(map(str, choices))}")
    if type(value) is hint:
        return value
    raise UsageError(f"{where}: expected {hint.__name__}, got {value!r}")


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
