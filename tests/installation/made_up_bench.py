"""A bench made up, for the tests of what is worked out from it."""

from __future__ import annotations

from pneumoseg.bundle import CardFigure
from pneumoseg.installation.bench.break_even import break_even, savings
from pneumoseg.installation.bench.machine import Machine
from pneumoseg.installation.bench.result import (
    POSTPROCESSING,
    READING,
    STAGE_ONE,
    STAGE_TWO,
    Bench,
    FilmsUsed,
    Measured,
)
from pneumoseg.installation.bench.timing import Timing
from pneumoseg.statistics.prevalence import Rate

RECALL, SPECIFICITY = (
    CardFigure(name=name, value=value, n=n, n_positive=0, split="test", origin="made up")
    for name, value, n in (("recall", 0.9, 100), ("specificity", 0.8, 400))
)


def timing(step: str, median: float, low: float | None = None, high: float | None = None) -> Timing:
    low, high = (median if end is None else end for end in (low, high))
    return Timing(step, median, low, high, repeats=5, films_per_repeat=8)


def made_up(
    classifier: float = 25.0, segmenter: float = 100.0, *, with_rates: bool = True
) -> Bench:
    one = timing(STAGE_ONE, classifier, 0.8 * classifier, 1.2 * classifier)
    two = timing(STAGE_TWO, segmenter, 0.9 * segmenter, 1.1 * segmenter)
    postprocessing = timing(POSTPROCESSING, 25.0)
    recall, specificity = Rate(0.9, 100), Rate(0.8, 400)
    return Bench(
        Measured("tiny", "1.2", "0.1.0", "openvino", "cpu", "f32", None, 2, 8, 512, 512),
        Machine("a processor", 2, "Linux x86_64", 0.1, {"python": "3.11"}),
        FilmsUsed("phantoms", 16, 7),
        (timing(READING, 12.5), one, two, postprocessing),
        break_even(one, two, postprocessing),
        (RECALL, SPECIFICITY) if with_rates else (),
        savings(classifier, segmenter, recall, specificity, (0.01, 0.05, 0.2))
        if with_rates
        else (),
    )
