"""Reading a frozen dataclass from strict TOML.

``load_settings`` refuses unknown keys and wrong types, so that a misspelt key never passes in
silence.
"""

from __future__ import annotations

import dataclasses
import enum
import tomllib
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from pneumoseg.errors import UsageError

_Settings = TypeVar("_Settings")


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
