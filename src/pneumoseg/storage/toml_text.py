"""Writing a frozen dataclass as readable TOML: the inverse of ``load_settings``.

Python reads TOML and does not write it. The types of this project are few (text, numbers, yes/no,
choices, tuples of them, nested dataclasses), so the writer is short, and what it writes comes back
equal. Source: the TOML 1.0 specification, https://toml.io/en/v1.0.0.
"""

from __future__ import annotations

import dataclasses
import enum
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


def toml_text(
    settings: DataclassInstance, *, header: str = "", comments: Mapping[str, str] | None = None
) -> str:
    """Write a dataclass as TOML, plain values first, then one table per nested dataclass.

    Args:
        settings: fields are str, bool, int, float, Path, Enum, None (left out), nested dataclasses,
            or tuples of these.
        header: comment above everything; may have several lines.
        comments: comment above a key or table, by field name.

    Returns:
        Text that ``load_settings`` reads back to an equal dataclass, provided that every field that
        is None has None as its default.

    Raises:
        TypeError: a field holds something TOML has no word for.
    """
    comments = comments or {}
    lines = [*_comment(header), ""] if header else []
    return "\n".join([*lines, *_table_lines(settings, (), comments)]).strip("\n") + "\n"


def _table_lines(
    settings: DataclassInstance, path: tuple[str, ...], comments: Mapping[str, str]
) -> list[str]:
    """Keys of one table, then its sub-tables: TOML wants this order."""
    keys: list[str] = []
    tables: list[str] = []
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        if value is None:
            continue
        note = _comment(comments.get(field.name, ""))
        inner = (*path, field.name)
        if dataclasses.is_dataclass(value):
            tables += ["", *note, f"[{'.'.join(inner)}]"]
            tables += _table_lines(value, inner, comments)  # type: ignore[arg-type]
        elif isinstance(value, tuple) and value and dataclasses.is_dataclass(value[0]):
            tables += ["", *note]
            for item in value:
                tables += [f"[[{'.'.join(inner)}]]", *_table_lines(item, inner, comments), ""]
        else:
            keys += [*note, f"{field.name} = {_value_text(value)}"]
    return keys + tables


def _value_text(value: Any) -> str:
    if isinstance(value, enum.Enum):
        value = value.value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return repr(int(value))
    if isinstance(value, float):
        return repr(float(value))  # the shortest text that reads back to the same float64
    if isinstance(value, Path):
        value = str(value)
    if isinstance(value, str):
        # A JSON string is a TOML basic string, but for DEL, which TOML wants escaped.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007F")
    if isinstance(value, tuple):
        items = [_value_text(item) for item in value]
        line = f"[{', '.join(items)}]"
        return line if len(line) <= 88 else "[\n" + "".join(f"    {i},\n" for i in items) + "]"
    raise TypeError(f"TOML has no word for a {type(value).__name__}: {value!r}")


def _comment(text: str) -> list[str]:
    return [f"# {line}".rstrip() for line in text.splitlines()]
