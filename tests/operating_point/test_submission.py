"""Which films keep their mask in a submission, on films whose best answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from pneumoseg.errors import DataError
from pneumoseg.operating_point.submission import choose_submission_point
from pneumoseg.settings import PipelineConfig
from pneumoseg.statistics.segmenter_search import SegmenterCase

SIDE = 64
SCREENING = PipelineConfig(0.1, 0.5, 10, mirror=True)


def case(predicted: float, *, lesion: bool, suspected: bool = True) -> SegmenterCase:
    """A square of 400 pixels outlined with this probability; the lesion is that square."""
    probabilities = np.zeros((SIDE, SIDE), np.float32)
    probabilities[:20, :20] = predicted
    truth = np.zeros((SIDE, SIDE), np.bool_)
    truth[:20, :20] = lesion
    return SegmenterCase(probabilities, truth, suspected)


def test_the_gate_rises_above_false_alarms() -> None:
    """Two healthy films with an outline at 0.2 and 0.3, a lesion at 0.7: from 0.7 on all is right.

    Healthy films that stage one leaves out change nothing.
    """
    cases = [
        case(0.9, lesion=False),
        case(0.9, lesion=False),
        case(0.9, lesion=True),
        case(0.9, lesion=False, suspected=False),
    ]
    point = choose_submission_point(cases, np.array([0.2, 0.3, 0.7, 0.05]), SCREENING)
    assert point == PipelineConfig(0.7, 0.5, 10, mirror=True)


def test_the_triplet_rule_tells_what_stage_one_cannot() -> None:
    """Stage one is as sure of the healthy film; its outline is fainter: 0.75 reaches no 0.8."""
    cases = [case(0.75, lesion=False), case(0.9, lesion=True)]
    point = choose_submission_point(cases, np.array([0.5, 0.5]), SCREENING)
    assert point.classifier_threshold == 0.1
    assert (point.top_threshold, point.top_min_pixels) == (0.8, 50)


def test_masks_stay_as_they_were_chosen() -> None:
    """A lesion smaller than the smallest kept has no mask that a rule could save."""
    screening = PipelineConfig(0.1, 0.5, 500)
    point = choose_submission_point([case(0.9, lesion=True)], np.array([0.9]), screening)
    assert point == screening


def test_where_nothing_is_to_gain_screening_stays() -> None:
    cases = [case(0.9, lesion=True), case(0.9, lesion=True)]
    assert choose_submission_point(cases, np.array([0.2, 0.9]), SCREENING) == SCREENING


def test_no_films() -> None:
    with pytest.raises(DataError, match="one film or more"):
        choose_submission_point([], np.zeros(0), SCREENING)
