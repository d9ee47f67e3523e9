"""Films in groups: who is on both sides, who is positive how often."""

from __future__ import annotations

import pytest
from doctor_cases import case

from pneumoseg.doctor.duplicates import Pair
from pneumoseg.doctor.groups import (
    Group,
    copies,
    groups_of,
    patient_leaks,
    prevalence_findings,
    wilson,
)


def test_wilson_interval_by_hand() -> None:
    """Brown, Cai and DasGupta 2001: 0 of 10 gives 0 to 0.2775, 5 of 10 gives 0.2366 to 0.7634."""
    assert wilson(0, 10) == pytest.approx((0.0, 0.2775), abs=1e-4)
    assert wilson(5, 10) == pytest.approx((0.2366, 0.7634), abs=1e-4)


def test_films_positives_and_patients_of_each_group() -> None:
    cases = [
        case("a", label=True, patient="p", facts={"sex": "f", "age": "045Y"}),
        case("b", label=False, patient="p", facts={"sex": "F", "age": "59"}),
        case("c", label=None, patient=None, facts={"sex": "M", "age": "old"}),
    ]
    groups = {(g.by, g.value): g for g in groups_of(cases, None)}
    whole = groups["all", "all"]
    assert (whole.films, whole.labelled, whole.positive, whole.patients) == (3, 2, 1, 2)
    assert whole.prevalence == 0.5
    assert groups["sex", "F"].films == 2  # small letters are the same word
    assert groups["age", "40 to 59"].films == 2 and groups["age", "unknown"].films == 1
    unlabelled = groups["sex", "M"]
    assert unlabelled.prevalence is None and unlabelled.low is None
    assert "view" not in {by for by, _ in groups}  # nothing is known of it


def test_a_patient_on_two_sides_is_a_leak_and_an_unknown_one_is_said() -> None:
    cases = [
        case("a", "train", patient="p"),
        case("b", "test", patient="p"),
        case("c", "train", patient="q"),
        case("d", "train", patient="q"),
        case("e", None, patient="p"),  # on no side
        case("f", "test", patient=None),
    ]
    leak, unknown = patient_leaks(cases, ["train", "test"])
    assert leak.code == "patient-on-both-sides" and leak.count == 1
    assert leak.examples[0].item == "p" and leak.examples[0].detail == "1 train, 1 test"
    assert "2 films in all" in leak.what
    assert unknown.code == "patient-unknown" and unknown.examples[0].item == "f"


def test_copies_are_told_once_and_those_across_the_split_again() -> None:
    """Pair 0-1 lies within an exact group; 2-3 is alike but not certain; 3-4 certain."""
    cases = [
        case(k, s)
        for k, s in zip("abcde", ["train", "test", "train", "test", "train"], strict=True)
    ]
    near = [Pair(0, 1, 1.0, "same"), Pair(2, 3, 0.0, "alike"), Pair(3, 4, 1.0, "mirrored")]
    exact, alike, crossing = copies(cases, [[0, 1]], near)
    assert exact.code == "exact-duplicate" and exact.examples[0].detail == "same as b"
    assert alike.code == "near-duplicate" and [o.item for o in alike.examples] == ["c", "d"]
    assert crossing.code == "picture-on-both-sides"
    assert [o.item for o in crossing.examples] == ["a", "d"]


def test_copies_on_one_side_or_on_none_leak_nothing() -> None:
    cases = [case("a", "train"), case("b", "train"), case("c", None)]
    found = copies(cases, [[0, 1, 2]], [Pair(1, 2, 1.0, "same")])
    assert [one.code for one in found] == ["exact-duplicate"]


def group(value: str, positive: int, labelled: int, by: str = "sex") -> Group:
    low, high = wilson(positive, labelled)
    share = positive / labelled
    return Group(by, value, labelled, labelled, positive, labelled, share, low, high)


def test_prevalences_differ_when_their_intervals_part() -> None:
    """10 of 100 is 5 to 17 %; 30 of 100 is 22 to 40 %; 18 of 100 is 12 to 27 %."""
    (found,) = prevalence_findings([group("M", 10, 100), group("F", 30, 100)], None, [], [])
    assert found.code == "prevalence-by-group"
    assert found.what == "prevalence differs by sex: F 30% of 100, M 10% of 100"
    assert prevalence_findings([group("M", 10, 100), group("F", 18, 100)], None, [], []) == []
    few = [group("M", 0, 19), group("F", 100, 100)]  # too few to be compared
    assert prevalence_findings(few, None, [], []) == []


def test_sides_of_a_split_alone_are_compared_as_origins() -> None:
    groups = [group("a", 10, 100, "from"), group("b", 50, 100, "from"), group("c", 90, 100, "from")]
    (found,) = prevalence_findings(groups, "from", ["a", "b"], [])
    assert found.code == "prevalence-by-origin" and found.what.endswith(
        "b 50% of 100, a 10% of 100"
    )
