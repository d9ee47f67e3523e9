"""The split of patients into parts."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pneumoseg.dataset.splits import (
    CALIBRATION,
    EXCLUDED,
    PARTS,
    TEST,
    TRAIN,
    Fractions,
    SplitImage,
    assign_parts,
    check_disjoint,
)
from pneumoseg.errors import DataError, UsageError


def test_each_stratum_is_split_in_the_given_fractions() -> None:
    """10 positive and 20 negative patients at 0.3 and 0.4: calibration 3 + 6, test 4 + 8."""
    images = [SplitImage(f"p{k}", k < 10, True) for k in range(30)]
    parts = assign_parts(images, Fractions(0.3, 0.4), seed=1)
    assert Counter(parts[:10]) == {CALIBRATION: 3, TEST: 4, TRAIN: 3}
    assert Counter(parts[10:]) == {CALIBRATION: 6, TEST: 8, TRAIN: 6}


def test_films_of_a_patient_stay_together() -> None:
    images = [SplitImage(f"p{k % 5}", k == 0, True) for k in range(40)]
    parts = assign_parts(images, Fractions(), seed=3)
    assert all(parts[k] == parts[k % 5] for k in range(40))


def test_other_films_of_an_evaluated_patient_are_excluded_not_trained_on() -> None:
    """Everyone evaluable is tested; only the patient without an evaluable film trains."""
    images = [
        SplitImage("both", False, True),
        SplitImage("both", True, False),
        SplitImage("train-only", True, False),
    ]
    assert assign_parts(images, Fractions(0.0, 1.0), seed=0) == (TEST, EXCLUDED, TRAIN)


def test_the_stratum_looks_at_evaluable_films_only() -> None:
    """A positive film elsewhere must not make a patient of the natural set a positive one."""
    images = [SplitImage(f"n{k}", False, True) for k in range(10)]
    plain = assign_parts(images, Fractions(), seed=5)
    more = [*images, SplitImage("n0", True, False)]
    assert assign_parts(more, Fractions(), seed=5)[:10] == plain


def test_a_patient_held_out_is_tested_and_takes_nobodys_place() -> None:
    """Ten others are split as if the held-out one were not there."""
    others = [SplitImage(f"p{k}", False, True) for k in range(10)]
    parts = assign_parts(
        [*others, SplitImage("lidc", True, True)], Fractions(0.2, 0.3), 4, {"lidc"}
    )
    assert parts[-1] == TEST
    assert parts[:-1] == assign_parts(others, Fractions(0.2, 0.3), 4)
    with pytest.raises(DataError, match="test patient 'nobody'"):
        assign_parts(others, Fractions(), 4, {"nobody"})


def test_every_stratum_is_split_for_itself() -> None:
    """Four real and forty drawn anatomies: one real one in each evaluated part, always."""
    images = [SplitImage(f"r{k}", True, True, "real") for k in range(4)]
    images += [SplitImage(f"d{k}", True, True, "drawn") for k in range(40)]
    for seed in range(10):
        parts = assign_parts(images, Fractions(0.25, 0.25), seed)
        assert Counter(parts[:4]) == {CALIBRATION: 1, TEST: 1, TRAIN: 2}


def test_roundings_that_both_go_up_assign_no_patient_twice() -> None:
    """3 patients at one half each round to 2 and 2."""
    images = [SplitImage(f"p{k}", False, True) for k in range(3)]
    assert Counter(assign_parts(images, Fractions(0.5, 0.5), seed=0)) == {CALIBRATION: 2, TEST: 1}


_IMAGES = st.lists(
    st.builds(SplitImage, st.sampled_from("abcdefghij"), st.booleans(), st.booleans()), max_size=60
)
_FRACTIONS = st.tuples(st.floats(0, 0.5), st.floats(0, 0.5)).map(lambda pair: Fractions(*pair))


@given(_IMAGES, _FRACTIONS, st.integers(0, 2**32 - 1))
def test_no_patient_is_on_two_sides(
    images: list[SplitImage], fractions: Fractions, seed: int
) -> None:
    parts = assign_parts(images, fractions, seed)
    check_disjoint([image.patient for image in images], parts)
    assert set(parts) <= set(PARTS)
    for image, part in zip(images, parts, strict=True):
        assert image.evaluable or part in (TRAIN, EXCLUDED)
        assert not (image.evaluable and part == EXCLUDED)


@given(_IMAGES, st.randoms(use_true_random=False))
def test_the_split_does_not_depend_on_the_order_of_films(images: list[SplitImage], rnd) -> None:  # type: ignore[no-untyped-def]
    order = list(range(len(images)))
    rnd.shuffle(order)
    parts = assign_parts(images, Fractions(), seed=7)
    shuffled = assign_parts([images[k] for k in order], Fractions(), seed=7)
    assert [parts[k] for k in order] == list(shuffled)


def test_another_seed_splits_otherwise() -> None:
    images = [SplitImage(f"p{k}", False, True) for k in range(50)]
    assert assign_parts(images, Fractions(), 1) != assign_parts(images, Fractions(), 2)


def test_a_patient_on_two_sides_is_refused() -> None:
    with pytest.raises(DataError, match="patient a is in both train and test"):
        check_disjoint(["a", "b", "a"], [TRAIN, TEST, TEST])
    check_disjoint(["a", "a"], [TEST, EXCLUDED])


def test_an_unknown_part_is_refused() -> None:
    with pytest.raises(DataError, match="unknown part 'val'"):
        check_disjoint(["a"], ["val"])


@pytest.mark.parametrize("pair", [(-0.1, 0.4), (0.3, -0.1), (0.6, 0.5)])
def test_impossible_fractions_are_refused(pair: tuple[float, float]) -> None:
    with pytest.raises(UsageError, match="fractions"):
        Fractions(*pair)
