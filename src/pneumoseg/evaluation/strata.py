"""Groups of films that a model may serve unequally: lesion size, side, view, age, sex.

Groups of one kind do not overlap. Size and side are of the truth, so they hold positive films only;
they are compared with all negatives where a figure needs both. A film whose group is not known
forms the group «unknown» and is never dropped.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pneumoseg.evaluation.measured_films import BOTH, LEFT, RIGHT, UNKNOWN, Cases

SMALL_BELOW, LARGE_FROM = 0.005, 0.013
"""Share of the film that a lesion covers: the terciles of the 952 positive films of the SIIM-ACR
challenge that this project has are 0.50 % and 1.31 %. Fixed, so that data sets can be compared."""
SIZES = (
    ("small", f"truth covers less than {SMALL_BELOW:.1%} of the film"),
    ("medium", f"{SMALL_BELOW:.1%} to {LARGE_FROM:.1%}"),
    ("large", f"{LARGE_FROM:.1%} or more"),
)
AGES = (("0 to 17", 0, 18), ("18 to 39", 18, 40), ("40 to 64", 40, 65), ("65 and over", 65, 121))
"""Name, first year, first year beyond; an age of more than 120 is an error of the table."""
DEFINITIONS = {
    "size": "; ".join(f"{name}: {range_}" for name, range_ in SIZES)
    + ". All lesions of a film together; positive films only.",
    "side": "Patient's side of the true lesions' centroids, by the film's orientation where its "
    "record says it, else with the patient's right on the viewer's left; positive films only.",
    "view": "Column view of the table.",
    "age": "Column age of the table, in years.",
    "sex": "Column sex of the table.",
}
_AGE = re.compile(r"0*(\d{1,3})(?:\.\d+)?Y?", re.IGNORECASE)


@dataclass(frozen=True, eq=False)
class Group:
    """One group of films; ``member`` is (n,) bool."""

    name: str
    member: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Stratum:
    """All groups of one kind.

    Attributes:
        by: ``size``, ``side``, ``view``, ``age`` or ``sex``.
        definition: what the groups are.
        positives_only: whether the groups hold positive films only.
        groups: none where nothing is known.
        reason: why there are none.
    """

    by: str
    definition: str
    positives_only: bool
    groups: tuple[Group, ...]
    reason: str = ""


def strata(cases: Cases, facts: Mapping[str, Mapping[str, str]] | None) -> tuple[Stratum, ...]:
    """Split the films in every way that is known.

    Args:
        cases: the films.
        facts: the table's rows by image id, or None without a table.
    """
    found = [
        _stratum("size", _size_names(cases), [name for name, _ in SIZES], positives_only=True),
        _stratum("side", list(cases.side), [RIGHT, LEFT, BOTH], positives_only=True),
    ]
    for by in ("view", "age", "sex"):
        if facts is None:
            found.append(Stratum(by, DEFINITIONS[by], False, (), "no table was given"))
        elif not any(_cell(row, by) for row in facts.values()):
            found.append(Stratum(by, DEFINITIONS[by], False, (), f"the table has no {by}"))
        else:
            cells = [_cell(facts.get(image_id, {}), by) for image_id in cases.image_id]
            found.append(_by_table(by, cells))
    return tuple(found)


def size_of(share: float) -> str:
    """Name of the group of a lesion that covers this share of its film, above 0 to 1."""
    return SIZES[int(np.digitize(share, [SMALL_BELOW, LARGE_FROM]))][0]


def age_band(cell: str) -> str:
    """Band of an age in years (``38``, ``038Y``), ``unknown`` where the cell is none."""
    match = _AGE.fullmatch(cell)
    if match is None:
        return UNKNOWN
    years = int(match.group(1))
    return next((name for name, first, beyond in AGES if first <= years < beyond), UNKNOWN)


def _cell(row: Mapping[str, str], by: str) -> str:
    """A table's cell by the column's plain name."""
    return next((cell for name, cell in row.items() if name.strip().lower() == by), "")


def _by_table(by: str, cells: Sequence[str]) -> Stratum:
    if by == "age":
        names = [age_band(cell) for cell in cells]
        return _stratum(by, names, [name for name, _, _ in AGES])
    names = [cell or UNKNOWN for cell in cells]
    return _stratum(by, names, sorted(set(names) - {UNKNOWN}))


def _size_names(cases: Cases) -> list[str]:
    return [
        size_of(share) if positive else ""
        for share, positive in zip(cases.true_share, cases.label, strict=True)
    ]


def _stratum(
    by: str, names: Sequence[str], order: Sequence[str], *, positives_only: bool = False
) -> Stratum:
    """Groups in the order asked for, «unknown» last, empty ones left out."""
    column = np.array(names)
    groups = tuple(
        Group(name, member) for name in (*order, UNKNOWN) if (member := column == name).any()
    )
    reason = "" if groups else "no positive image"
    return Stratum(by, DEFINITIONS[by], positives_only, groups, reason)
