"""The document of a bench reads back, and its sentence says what was found."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from made_up_bench import made_up

from pneumoseg.errors import DataError, UsageError
from pneumoseg.installation.bench.result import (
    from_document,
    read_bench,
)


def test_the_document_reads_back_to_the_same_object(tmp_path: Path) -> None:
    for found in (made_up(), made_up(200.0, 100.0), made_up(with_rates=False)):
        path = tmp_path / "bench.json"
        path.write_text(json.dumps(found.as_document()), "utf-8")
        assert read_bench(path) == found
        assert from_document(found.as_document()).as_document() == found.as_document()


@pytest.mark.parametrize("content", ["{}", "[]", "no JSON", '{"measured": {"colour": "red"}}'])
def test_what_is_no_bench_is_refused(content: str, tmp_path: Path) -> None:
    path = tmp_path / "bench.json"
    path.write_text(content, "utf-8")
    with pytest.raises(DataError):
        read_bench(path)
    with pytest.raises(UsageError, match="cannot read"):
        read_bench(tmp_path / "none.json")


def test_the_conclusion_says_what_was_found() -> None:
    """With c = 25, s = 100 and the rates above: p = 0.207, 0.235, 0.34; 1 - (0.25 + p)."""
    assert made_up().conclusion == (
        "The cascade is faster here while fewer than 75% of the films are suspected (stage one "
        "25.0 ms a film, stage two 100.0 ms); by the card's recall and specificity it takes 54% "
        "less time at a prevalence of 1 %, 52% less time at a prevalence of 5 % and 41% less time "
        "at a prevalence of 20 % than segmenting every film."
    )
    assert "87% of" not in made_up(90.0, 100.0).conclusion
    assert "11% more time at a prevalence of 1 %" in made_up(90.0, 100.0).conclusion
    assert made_up(100.0, 90.0).conclusion.startswith("The cascade never pays here")
    assert "the card has no such figures" in made_up(with_rates=False).conclusion
