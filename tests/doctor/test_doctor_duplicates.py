"""Copies are found whatever was done to them; other chests are not taken for copies."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from pneumoseg.doctor import duplicates
from pneumoseg.doctor.duplicates import (
    NEAR,
    PARTNERS,
    exact_groups,
    near_pairs,
    signature,
)
from pneumoseg.phantom import make_film


@pytest.fixture(scope="module")
def chests() -> list[np.ndarray]:
    return [make_film(5000 + k, size=256).image.pixels for k in range(6)]


def relation(first: np.ndarray, second: np.ndarray) -> str | None:
    found = near_pairs(np.stack([signature(first), signature(second)]))
    return found[0].relation if found else None


def test_copies_after_ordinary_handling(chests: list[np.ndarray]) -> None:
    film = chests[0]
    grey = np.rint(film * 255).astype(np.uint8)
    jpeg = cv2.imdecode(cv2.imencode(".jpg", grey, [1, 40])[1], 0).astype(np.float32) / 255
    small = cv2.resize(film, (100, 100), interpolation=cv2.INTER_AREA)
    for copy in (film, jpeg, small, film * 0.7 + 0.2, film**1.5):
        assert relation(film, copy.astype(np.float32)) == "same"
    assert relation(film, np.ascontiguousarray(film[:, ::-1])) == "mirrored"
    assert relation(film, 1 - film) == "inverted"


def test_other_chests_are_other_films(chests: list[np.ndarray]) -> None:
    assert near_pairs(np.stack([signature(film) for film in chests])) == []


def test_blocks_do_not_change_the_result(
    chests: list[np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    signatures = np.stack([signature(f) for f in [*chests, chests[0], chests[5], chests[0]]])
    whole = near_pairs(signatures)
    assert [(p.first, p.second) for p in whole] == [(0, 6), (0, 8), (5, 7), (6, 8)]
    for block in (1, 2, 5):
        monkeypatch.setattr(duplicates, "BLOCK", block)
        assert near_pairs(signatures) == whole


def test_many_copies_stay_a_short_list(chests: list[np.ndarray]) -> None:
    signatures = np.stack([signature(chests[0])] * 40)
    assert len(near_pairs(signatures)) <= 40 * PARTNERS


def test_a_flat_film_is_like_nothing() -> None:
    flat = signature(np.full((64, 64), 0.5, np.float32))
    assert not flat.any()
    assert near_pairs(np.stack([flat, flat])) == []
    assert NEAR > 0


def test_exact_groups_are_by_digest() -> None:
    assert exact_groups(["a", "b", "a", "c", "b", "a"]) == [[0, 2, 5], [1, 4]]
