"""Ids of a CSV and of the films that should meet and do not, and the rule that would join them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from pneumoseg.doctor.findings import DataFinding, Example, finding

SAMPLE = 40
"""Ids from which a common prefix or suffix is guessed; it is then counted on all."""
WORTH_SAYING = 0.5
"""Share of the lost ids that a rule must join to be suggested."""
_DIGITS = re.compile(r"\d+")


@dataclass(frozen=True)
class FilmNames:
    """The names a film goes by: the image id, and the file's stem where that is another."""

    image_id: str
    stem: str


@dataclass(frozen=True)
class Mapping:
    """A rule that joins ids which do not match as they are."""

    rule: str
    joined: int
    example: str


def id_findings(
    films: Iterable[FilmNames], rows: Iterable[str], table: Iterable[str], *, labels_given: bool
) -> list[DataFinding]:
    """Compare the ids of films, masks and table.

    Args:
        films: all films that were read.
        rows: image ids of the masks and of other sources of labels.
        table: image ids of the table.
        labels_given: whether ``rows`` was given at all.
    """
    named = list(films)
    ids = {film.image_id for film in named}
    found = []
    for name, others in (("masks", set(rows)), ("table", set(table))):
        if not others:
            continue
        lost = sorted(others - ids)
        mapping = suggest_mapping(lost, [film for film in named if film.image_id not in others])
        if mapping is not None:
            what = (
                f"{len(lost)} of {len(others)} ids of the {name} name no film as they are; "
                f"{mapping.joined} would if {mapping.rule} ({mapping.example})"
            )
            found.append(
                finding("id-scheme", what, [Example(i, name) for i in lost], count=len(lost))
            )
        elif lost and name == "masks":
            what = f"{len(lost)} of {len(others)} labelled images have no film"
            found.append(finding("label-without-image", what, [Example(i) for i in lost]))
        if name == "masks" and labels_given and (bare := sorted(ids - others)):
            what = f"{len(bare)} of {len(ids)} films have no label"
            found.append(finding("image-without-label", what, [Example(i) for i in bare]))
    return found


def suggest_mapping(lost: list[str], free: list[FilmNames]) -> Mapping | None:
    """Find the rule that joins most of the ids without a film to films without an id.

    Args:
        lost: ids of a CSV that name no film.
        free: films that no id names.

    Returns:
        The rule that joins the most, None where none joins at least half of what could be joined.
    """
    possible = min(len(lost), len(free))
    best: Mapping | None = None
    for rule, of_row, of_film in _rules(lost, free):
        films = {of_film(film): film for film in free}
        films.pop("", None)
        pairs = [(row, films[key]) for row in lost if (key := of_row(row)) in films]
        if len(pairs) >= max(1, WORTH_SAYING * possible) and (not best or len(pairs) > best.joined):
            row, film = pairs[0]
            best = Mapping(rule, len(pairs), f"{row} is {film.image_id}")
    return best


_Rule = tuple[str, Callable[[str], str], Callable[[FilmNames], str]]


def _rules(lost: list[str], free: list[FilmNames]) -> list[_Rule]:
    """Rules from the most to the least common; the first of equals is suggested."""
    rules: list[_Rule] = [
        ("upper and lower case were the same", str.casefold, lambda f: f.image_id.casefold()),
        ("folders were cut off", lambda r: re.split(r"[/\\]", r)[-1], lambda f: f.image_id),
        (
            "folders and endings were cut off",
            lambda r: re.split(r"[/\\]", r)[-1].rsplit(".", 1)[0],
            lambda f: f.image_id,
        ),
        (
            "the DICOM files' names were used, not their SOPInstanceUIDs",
            lambda r: r,
            lambda f: f.stem if f.stem != f.image_id else "",
        ),
        (
            "leading zeros were left out",
            lambda r: _DIGITS.sub(lambda m: str(int(m[0])), r),
            lambda f: _DIGITS.sub(lambda m: str(int(m[0])), f.image_id),
        ),
    ]
    for prefix, suffix in _affixes(lost, [film.image_id for film in free]):
        rules.append(_affix_rule("the ids of the CSV", prefix, suffix, of_rows=False))
    for prefix, suffix in _affixes([film.image_id for film in free], lost):
        rules.append(_affix_rule("the films' names", prefix, suffix, of_rows=True))
    return rules


def _affix_rule(whose: str, prefix: str, suffix: str, *, of_rows: bool) -> _Rule:
    """The names of ``whose`` lack a prefix and a suffix that the others have."""
    added = " and ".join(
        part for part in (prefix and f"{prefix!r} before", suffix and f"{suffix!r} behind") if part
    )
    rule = f"{whose} had {added}"
    if of_rows:
        return rule, lambda r: r, lambda f: f"{prefix}{f.image_id}{suffix}"
    return rule, lambda r: f"{prefix}{r}{suffix}", lambda f: f.image_id


def _affixes(short: list[str], long: list[str]) -> list[tuple[str, str]]:
    """What most often stands around one of some short names in a long one."""
    counts: Counter[tuple[str, str]] = Counter()
    for name in short[:: max(1, len(short) // SAMPLE)][:SAMPLE]:
        for other in long if name else ():
            before, met, behind = other.partition(name)
            if met and (before or behind):
                counts[before, behind] += 1
    return [affix for affix, _ in counts.most_common(2)]
