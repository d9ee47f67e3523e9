"""What ``pneumoseg bench`` found: the dataclass, its JSON, its one sentence."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pneumoseg.bundle import CardFigure
from pneumoseg.errors import DataError, UsageError
from pneumoseg.installation.bench.break_even import BreakEven, Saving
from pneumoseg.installation.bench.machine import Machine
from pneumoseg.installation.bench.timing import Timing

READING = "reading and resizing"
STAGE_ONE, STAGE_TWO = "stage one", "stage two"
POSTPROCESSING = "outlining and run lengths"  # the words of bench.json
STEPS = (READING, STAGE_ONE, STAGE_TWO, POSTPROCESSING)
"""What is timed, in the order of a film's way."""
_CONCLUSION = "conclusion"


@dataclass(frozen=True)
class Measured:
    """What was measured: networks, runtime, and how it was called.

    ``threads`` is None where the runtime chose them itself; ``streams`` are films computed at the
    same time.
    """

    bundle: str
    bundle_version: str
    software_version: str
    runtime: str
    device: str
    precision: str
    threads: int | None
    streams: int
    batch_size: int
    classifier_size: int
    segmenter_size: int


@dataclass(frozen=True)
class FilmsUsed:
    """The films that were measured on: where from, how many, how many of them suspected."""

    origin: str
    n: int
    suspected: int


@dataclass(frozen=True)
class Bench:
    """Everything that was found.

    Attributes:
        measured: networks and runtime.
        machine: the machine and its versions.
        films: what was measured on.
        timings: of ``STEPS``, in that order, each alone.
        break_even: the pass rate above which always-segment is faster.
        rates: recall and specificity as the card has them; empty where it has not both.
        savings: at each prevalence of the settings; empty without ``rates``.
    """

    measured: Measured
    machine: Machine
    films: FilmsUsed
    timings: tuple[Timing, ...]
    break_even: BreakEven
    rates: tuple[CardFigure, ...]
    savings: tuple[Saving, ...]

    def timing(self, step: str) -> Timing:
        """The timing of one of ``STEPS``."""
        return next(timing for timing in self.timings if timing.step == step)

    @property
    def conclusion(self) -> str:
        """One plain sentence."""
        one, two = self.timing(STAGE_ONE).median_ms, self.timing(STAGE_TWO).median_ms
        rate = self.break_even.pass_rate
        if rate is None:
            return (
                f"The cascade never pays here: stage one takes {one:.1f} ms a film and stage two "
                f"{two:.1f} ms, so segmenting every film is faster whatever share is suspected."
            )
        condition = (
            f"The cascade is faster here while fewer than {rate:.0%} of the films are suspected "
            f"(stage one {one:.1f} ms a film, stage two {two:.1f} ms); "
        )
        if not self.savings:
            return f"{condition}how many would be is unknown: the card has no such figures."
        return (
            f"{condition}by the card's recall and specificity it takes {self._listed_savings()} "
            "than segmenting every film."
        )

    def _listed_savings(self) -> str:
        parts = [
            f"{abs(row.saved):.0%} {'less' if row.saved >= 0 else 'more'} time at a prevalence of "
            f"{100 * row.prevalence:.3g} %"
            for row in self.savings
        ]
        return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"

    def as_document(self) -> dict[str, Any]:
        """Plain values for JSON; :func:`from_document` gives the equal object back."""
        document = json.loads(json.dumps(asdict(self), allow_nan=False))
        return {**document, _CONCLUSION: self.conclusion}


def from_document(document: Mapping[str, Any]) -> Bench:
    """The object that a ``bench.json`` holds.

    Raises:
        DataError: it is not one.
    """
    try:
        return Bench(
            measured=Measured(**document["measured"]),
            machine=Machine(**document["machine"]),
            films=FilmsUsed(**document["films"]),
            timings=tuple(Timing(**row) for row in document["timings"]),
            break_even=BreakEven(**document["break_even"]),
            rates=tuple(CardFigure(**row) for row in document["rates"]),
            savings=tuple(Saving(**row) for row in document["savings"]),
        )
    except (KeyError, TypeError) as error:
        raise DataError(
            f"this is not what pneumoseg bench writes ({error}); measure again"
        ) from error


def read_bench(path: Path) -> Bench:
    """Read a ``bench.json``.

    Raises:
        UsageError: it cannot be read.
        DataError: it is not one.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise DataError(f"{path} is not JSON; measure again with pneumoseg bench") from error
    return from_document(document)
