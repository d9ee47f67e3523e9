"""Groups of films: borders by hand, nothing dropped, nothing twice."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from pneumoseg.evaluation.measured_films import BOTH, LEFT, RIGHT, UNKNOWN
from pneumoseg.evaluation.strata import Stratum, age_band, size_of, strata

CASES = SimpleNamespace(
    image_id=("a", "b", "c", "d"),
    label=np.array([True, True, False, True]),
    true_share=np.array([0.004, 0.02, 0.0, 0.013]),
    side=(RIGHT, BOTH, "", LEFT),
)


def groups(stratum: Stratum) -> dict[str, list[bool]]:
    return {group.name: group.member.tolist() for group in stratum.groups}


def by_name(facts: dict[str, dict[str, str]] | None) -> dict[str, Stratum]:
    return {one.by: one for one in strata(CASES, facts)}  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("share", "name"),
    [
        (1e-6, "small"),
        (0.00499, "small"),
        (0.005, "medium"),
        (0.0129, "medium"),
        (0.013, "large"),
        (1.0, "large"),
    ],
)
def test_sizes_begin_at_their_border(share: float, name: str) -> None:
    assert size_of(share) == name


@pytest.mark.parametrize(
    ("cell", "band"),
    [
        ("0", "0 to 17"),
        ("17", "0 to 17"),
        ("18", "18 to 39"),
        ("038Y", "18 to 39"),
        ("64.9", "40 to 64"),
        ("65y", "65 and over"),
        ("120", "65 and over"),
        ("121", UNKNOWN),
        ("018M", UNKNOWN),  # months
        ("", UNKNOWN),
        ("-5", UNKNOWN),
    ],
)
def test_ages_in_bands(cell: str, band: str) -> None:
    assert age_band(cell) == band


def test_size_and_side_hold_the_positives_alone() -> None:
    found = by_name(None)
    assert found["size"].positives_only and found["side"].positives_only
    assert groups(found["size"]) == {
        "small": [True, False, False, False],
        "large": [False, True, False, True],
    }
    assert list(groups(found["side"])) == [RIGHT, LEFT, BOTH]


def test_without_a_table_or_its_column_there_is_a_reason() -> None:
    assert by_name(None)["age"].reason == "no table was given"
    found = by_name({"a": {"sex": "F"}})
    assert found["age"].reason == "the table has no age" and found["age"].groups == ()


def test_a_film_that_the_table_does_not_know_is_a_group_of_its_own() -> None:
    """Breaks if films without an age drop out of the comparison."""
    found = by_name({"a": {" Sex ": "F"}, "b": {" Sex ": "M"}, "c": {" Sex ": ""}})
    assert groups(found["sex"]) == {
        "F": [True, False, False, False],
        "M": [False, True, False, False],
        UNKNOWN: [False, False, True, True],
    }
    ages = by_name({"a": {"age": "70"}, "b": {"age": "3"}})["age"]
    assert list(groups(ages)) == ["0 to 17", "65 and over", UNKNOWN]


def test_no_positive_leaves_no_size() -> None:
    none = SimpleNamespace(**{**vars(CASES), "label": np.zeros(4, bool), "side": ("",) * 4})
    size, side = strata(none, None)[:2]  # type: ignore[arg-type]
    assert size.groups == side.groups == () and size.reason == "no positive image"
