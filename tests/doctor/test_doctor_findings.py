"""Findings: their severity, their order, their words."""

from __future__ import annotations

import pytest

from pneumoseg.doctor.findings import (
    ADVICE,
    LEAKS,
    SEVERITIES,
    Example,
    by_severity,
    finding,
    say,
)


def test_the_worst_come_first_and_alike_ones_in_the_order_of_the_advice() -> None:
    found = [
        finding("several-sizes", "an info"),
        finding("near-duplicate", "the later warning"),
        finding("exact-duplicate", "a warning"),
        finding("bad-row", "an error"),
        finding("several-sizes", "made an error", severity="error"),
    ]
    assert [one.what for one in by_severity(found)] == [
        "an error",
        "made an error",
        "a warning",
        "the later warning",
        "an info",
    ]


def test_of_one_code_the_larger_comes_first() -> None:
    found = [finding("bad-row", "few", count=1), finding("bad-row", "many", count=9)]
    assert [one.what for one in by_severity(found)] == ["many", "few"]


def test_examples_are_ten_and_the_count_is_of_all() -> None:
    listed = [Example(f"film{k}", "why" if k == 0 else "") for k in range(12)]
    shown = finding("bad-row", "rows", listed).as_dict()
    assert shown["count"] == 12 and len(shown["examples"]) == 10
    assert shown["examples"][:2] == ["film0 (why)", "film1"]
    assert shown["severity"] == "error" and shown["advice"] == ADVICE["bad-row"][1]


@pytest.mark.parametrize(("count", "message"), [(0, "0 films"), (1, "1 film"), (2, "2 films")])
def test_one_is_singular(count: int, message: str) -> None:
    assert say(count, "film", "films") == message


def test_what_refuses_a_split_is_an_error() -> None:
    assert {ADVICE[code][0] for code in LEAKS} == {"error"}
    assert {severity for severity, _ in ADVICE.values()} == set(SEVERITIES)
