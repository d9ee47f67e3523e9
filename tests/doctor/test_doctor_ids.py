"""Ids that do not match as they are: the rule that joins them is named, and only where one does."""

from __future__ import annotations

import pytest

from pneumoseg.doctor.ids import FilmNames, id_findings, suggest_mapping


def films(*names: str) -> list[FilmNames]:
    return [FilmNames(name, name) for name in names]


@pytest.mark.parametrize(
    ("rows", "named", "words"),
    [
        (["ab1", "ab2"], films("AB1", "AB2"), "upper and lower case"),
        (["x/1", "x/2"], films("1", "2"), "folders were cut off"),
        (["x/1.npy", "x/2.npy"], films("1", "2"), "folders and endings"),
        (
            ["a", "b"],
            [FilmNames("1.2.3", "a"), FilmNames("1.2.4", "b")],
            "not their SOPInstanceUIDs",
        ),
        (["7", "12"], films("0007", "0012"), "leading zeros"),
        (["071", "122"], films("ID_071", "ID_122"), "'ID_' before"),
        (["a1", "b2"], films("a1_frontal", "b2_frontal"), "'_frontal' behind"),
        (["a1_mask", "b2_mask"], films("a1", "b2"), "the films' names had '_mask' behind"),
        (["q", "r"], films("x", "y"), None),
        ([], films("x"), None),
    ],
)
def test_the_rule_is_named(rows: list[str], named: list[FilmNames], words: str | None) -> None:
    mapping = suggest_mapping(rows, named)
    if words is None:
        assert mapping is None
    else:
        assert mapping is not None
        assert words in mapping.rule
        assert mapping.joined == 2


def test_a_chance_hit_is_no_rule() -> None:
    """One of four would match without its case; that is no scheme."""
    assert suggest_mapping(["AB", "q", "r", "s"], films("ab", "x", "y", "z")) is None


def test_matching_ids_give_nothing_and_others_are_listed() -> None:
    assert id_findings(films("a", "b"), ["a", "b"], ["a"], labels_given=True) == []
    found = id_findings(films("a", "b"), ["a", "zz"], [], labels_given=True)
    assert {f.code: [o.item for o in f.examples] for f in found} == {
        "label-without-image": ["zz"],
        "image-without-label": ["b"],
    }
    assert id_findings(films("a"), [], [], labels_given=False) == []


def test_a_table_of_another_scheme_is_told_too() -> None:
    (found,) = id_findings(films("ID_1", "ID_2"), ["ID_1", "ID_2"], ["1", "2"], labels_given=True)
    assert found.code == "id-scheme"
    assert found.count == 2
    assert "'ID_' before (1 is ID_1)" in found.what
