"""Does the classifier read a film's history: how often and how it was compressed or resized?

Where the positives of a data set went through one more compression than its negatives, a network
can learn the trace instead of the disease (so it is in the SIIM-ACR challenge, whose two stages
have different histories). Here every film of one origin is given further histories , and predicted
again: what changes can only come from the history.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from pneumoseg.audits.page import CHANCE, Audit, Panel
from pneumoseg.audits.scores import (
    ORIGINAL,
    AuditSettings,
    FilmProgress,
    Scores,
    StageOne,
    film_pixels,
    score_films,
)
from pneumoseg.errors import UsageError
from pneumoseg.evaluation.labelled_films import LabelledFilm, read_labelled_films
from pneumoseg.metrics import Estimate
from pneumoseg.preprocess import to_grid
from pneumoseg.settings import at_least
from pneumoseg.statistics.paired import FilmEstimator
from pneumoseg.study import Image

AUDIT = "history"
EQUIVALENCE = 0.02
"""An AUROC of telling two histories apart that lies within 0.5 ± this is as good as a coin."""
_FIRST_PASS, _WEBP_QUALITY = 90, 85
Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class HistoryAuditSettings(AuditSettings):
    """Settings of ``pneumoseg audit history``; choose films of one origin."""

    qualities: tuple[int, ...] = (50, 75, 90, 95)
    """JPEG qualities of one more pass, 1 to 100."""
    pass_side: int = 1024
    """Longer side in pixels at which the extra pass is made: the challenge's own 1024."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.qualities or not all(1 <= quality <= 100 for quality in self.qualities):
            raise UsageError(f"qualities must lie between 1 and 100, got {self.qualities}")
        at_least("pass_side", self.pass_side, 64)


def run_history_audit(
    settings: HistoryAuditSettings, on_progress: FilmProgress | None = None
) -> Audit:
    """Give every film further histories and measure what the classifier makes of them.

    Raises:
        BundleError: no such bundle.
        UsageError: a file is missing.
        DataError: films and truth do not fit, or are of one class.
    """
    stage_one = StageOne.load(settings.bundle, settings.threads)
    histories = _Histories(settings)
    scores = score_films(read_labelled_films(settings), stage_one, histories, on_progress)
    by_film = scores.estimator(settings.seed, settings.repeats)
    changed = [name for name in scores.logit if name != ORIGINAL]
    panels = (
        Panel(
            "AUROC of pneumothorax",
            tuple(by_film.auroc(name, scores.logit[name]) for name in (ORIGINAL, *changed)),
        ),
        Panel(
            "change of AUROC",
            tuple(
                by_film.auroc_change(name, scores.logit[name], scores.logit[ORIGINAL])
                for name in changed
            ),
            0.0,
        ),
        Panel(
            "change of probability, mean",
            tuple(by_film.mean(name, scores.change(name)) for name in changed),
            0.0,
        ),
        Panel("change of logit, mean", _logit_changes(by_film, scores, changed), 0.0),
        Panel(
            "AUROC of telling changed from unchanged films by the classifier",
            tuple(
                by_film.separability(name, scores.logit[name], scores.logit[ORIGINAL])
                for name in changed
            ),
            CHANCE,
        ),
        *_extra_pass_panels(settings, by_film, scores, histories),
    )
    return Audit(
        AUDIT,
        stage_one.title,
        panels,
        _sentences(settings, panels, stage_one),
        {
            "qualities": list(settings.qualities),
            "pass_side": settings.pass_side,
            "films": int(scores.label.size),
            "where": list(settings.where),
            "seed": settings.seed,
            "repeats": settings.repeats,
        },
    )


def extra_pass(quality: int, side: int) -> str:
    """Name of the history with one more JPEG pass at a size of its own."""
    return f"JPEG {quality} at {side}"


def back_and_forth(side: int) -> str:
    """Name of the same history without the JPEG pass: what the extra pass is compared with."""
    return f"{side} and back"


class _Histories:
    """Makes the copies of a film, and keeps how visible the extra pass is in each.

    The trace is the mean change that one more identical pass makes: a film that already went
    through it changes less. Whatever reads pixels could compute it.
    """

    def __init__(self, settings: HistoryAuditSettings) -> None:
        self.settings = settings
        self.trace: dict[str, list[float]] = {}

    def __call__(self, film: LabelledFilm) -> Mapping[str, Pixels]:
        pixels, side = film_pixels(film.image), self.settings.pass_side
        rows, cols = pixels.shape
        half = (max(1, rows // 2), max(1, cols // 2))
        histories: dict[str, Callable[[Pixels], Pixels]] = {
            f"JPEG {quality}": lambda p, q=quality: compress(p, q)  # type: ignore[misc]
            for quality in self.settings.qualities
        }
        copies = {name: make(pixels) for name, make in histories.items()}
        twice = compress(compress(pixels, _FIRST_PASS), self.settings.qualities[0])
        copies[f"JPEG {_FIRST_PASS}, then {self.settings.qualities[0]}"] = twice
        copies[f"WebP {_WEBP_QUALITY}"] = compress(pixels, _WEBP_QUALITY, "webp")
        copies["half size and back"] = resize(resize(pixels, half), (rows, cols))
        copies[back_and_forth(side)] = at_side(pixels, side, lambda large: large)
        for quality in self.settings.qualities:
            once = at_side(pixels, side, lambda large, q=quality: compress(large, q))  # type: ignore[misc]
            copies[extra_pass(quality, side)] = once
            self._keep_trace(quality, copies[back_and_forth(side)], once)
        return {name: _on_grid(film.image, copy) for name, copy in copies.items()}

    def _keep_trace(self, quality: int, without: Pixels, once: Pixels) -> None:
        side = self.settings.pass_side
        for name, pixels in (("without", without), ("with", once)):
            again = at_side(pixels, side, lambda large: compress(large, quality))
            moved = float(np.mean(cv2.absdiff(again, pixels)))
            # negative: the trace is stronger where one more pass moves less
            self.trace.setdefault(f"{quality} {name}", []).append(-moved)


def compress(pixels: Pixels, quality: int, kind: Literal["jpg", "webp"] = "jpg") -> Pixels:
    """Write and read back a lossy image: uint8 (rows, cols) to the same shape.

    Args:
        pixels: the film.
        quality: 1 to 100, as the codec means it.
        kind: the codec.
    """
    flag = cv2.IMWRITE_JPEG_QUALITY if kind == "jpg" else cv2.IMWRITE_WEBP_QUALITY
    _, encoded = cv2.imencode(f".{kind}", pixels, [flag, quality])
    return np.asarray(cv2.imdecode(encoded, cv2.IMREAD_GRAYSCALE), dtype=np.uint8)


def resize(pixels: Pixels, shape: tuple[int, int]) -> Pixels:
    """Area average when shrinking, cubic when growing: uint8 to uint8 of ``shape``."""
    shrinking = shape[0] <= pixels.shape[0] and shape[1] <= pixels.shape[1]
    method = cv2.INTER_AREA if shrinking else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(pixels, shape[::-1], interpolation=method), dtype=np.uint8)


def at_side(pixels: Pixels, side: int, change: Callable[[Pixels], Pixels]) -> Pixels:
    """Bring a film to a longer side, change it there, and bring it back."""
    rows, cols = pixels.shape
    scale = side / max(rows, cols)
    large = resize(pixels, (max(1, round(rows * scale)), max(1, round(cols * scale))))
    return resize(change(large), (rows, cols))


def _on_grid(image: Image, pixels: Pixels) -> Pixels:
    grid, _ = to_grid(replace(image, pixels=pixels.astype(np.float32) / np.float32(255.0)))
    return grid


def _logit_changes(
    by_film: FilmEstimator, scores: Scores, changed: list[str]
) -> tuple[Estimate, ...]:
    return tuple(
        by_film.mean(name, scores.logit[name] - scores.logit[ORIGINAL]) for name in changed
    )


def _extra_pass_panels(
    settings: HistoryAuditSettings, by_film: FilmEstimator, scores: Scores, histories: _Histories
) -> tuple[Panel, ...]:
    """The extra pass against the same film resized alike without it: only the pass differs."""
    control = back_and_forth(settings.pass_side)
    names = [extra_pass(quality, settings.pass_side) for quality in settings.qualities]
    traces = {name: np.array(values) for name, values in histories.trace.items()}
    shift = tuple(by_film.mean(name, scores.change(name, control)) for name in names)
    separability = tuple(
        by_film.separability(name, scores.logit[name], scores.logit[control]) for name in names
    )
    rising = tuple(
        by_film.mean(name, np.where(d == 0, 0.5, (d > 0).astype(np.float64)))
        for name in names
        for d in [scores.logit[name] - scores.logit[control]]
    )
    visible = tuple(
        by_film.separability(name, traces[f"{quality} with"], traces[f"{quality} without"])
        for quality, name in zip(settings.qualities, names, strict=True)
    )
    return (
        Panel(f"extra pass against «{control}»: change of probability, mean", shift, 0.0),
        Panel("AUROC of telling films with the extra pass by the classifier", separability, CHANCE),
        Panel("share of films whose logit rises with the extra pass", rising, CHANCE),
        Panel("positive control: AUROC of telling them by a trace in the pixels", visible, CHANCE),
    )


def _sentences(
    settings: HistoryAuditSettings, panels: tuple[Panel, ...], stage_one: StageOne
) -> tuple[str, ...]:
    """What the figures say; one sentence of verdict per quality of the extra pass."""
    shift, separability, _, visible = panels[-4:]
    lines = [
        f"Films are resized to the network's {stage_one.network.size} pixels before it sees them."
    ]
    for moved, apart, seen in zip(
        shift.figures, separability.figures, visible.figures, strict=True
    ):
        lines.append(
            f"{apart.name}: the extra pass changes the probability by {moved.with_n()}; by the "
            f"classifier's answer films with it are told from the same films without it with an "
            f"AUROC of {apart.with_n()}: {_verdict(apart)}. A trace in the pixels tells them with "
            f"{seen.with_n()}."
        )
    return tuple(lines)


def _verdict(area: Estimate) -> str:
    if area.low is None or area.high is None:
        return "nothing can be said"
    within = max(CHANCE - area.low, area.high - CHANCE) <= EQUIVALENCE
    if within and area.low <= CHANCE <= area.high:
        return f"it does not read the pass (the interval lies within 0.5 ± {EQUIVALENCE})"
    if within:
        return (
            "it answers to the pass, but too little to tell films by it (the interval lies "
            f"within 0.5 ± {EQUIVALENCE})"
        )
    if area.low <= CHANCE <= area.high:
        return "no sign that it reads the pass, but these films do not rule it out"
    return "it reads the pass"
