"""One phantom film from one seed: who the patient is, what ails them, how the film was taken."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from pneumoseg.phantom.anatomy import Posture, side_sign
from pneumoseg.phantom.body import Body, make_body
from pneumoseg.phantom.collapse import Collapse
from pneumoseg.phantom.distractors import BULLAE, DistractorOdds
from pneumoseg.phantom.projection import project
from pneumoseg.study import Image, Mask, Modality, Side, Source, Units

MIN_MASK_MM2 = 60.0
"""A pneumothorax that projects to less than this would be invisible; its degree is raised."""
_DEGREES = (0.006, 0.32)
"""Range of most degrees; with it the projected areas resemble those of the SIIM challenge."""
_LARGE_DEGREES = (0.3, 0.9)
_LARGE_SHARE = 0.05
_PA_SHARE = 0.6
_SUPINE_SHARE = 0.55
"""Of the AP films: the others are taken sitting up in bed."""
_BOTH_SIDES = 0.03
_TENSION_FROM = 0.35


@dataclass(frozen=True)
class FilmTruth:
    """What is known about a phantom film, because it was made."""

    seed: int
    collapses: tuple[Collapse, ...]
    posture: Posture
    view: str
    distractors: tuple[str, ...]

    @property
    def pneumothorax(self) -> bool:
        """Whether any lung is collapsed."""
        return bool(self.collapses)

    @property
    def degree(self) -> float:
        """Largest share of a hemithorax taken by air, 0 for none."""
        return max((c.degree for c in self.collapses), default=0.0)

    @property
    def side(self) -> str:
        """``"right"``, ``"left"``, ``"both"`` or ``""``, the patient's side."""
        sides = [c.side.value for c in self.collapses]
        return "both" if len(sides) == 2 else "".join(sides)


@dataclass(frozen=True, eq=False)
class PhantomFilm:
    """A film, its exact mask on the same grid, and its truth."""

    image: Image
    mask: Mask
    truth: FilmTruth
    body: Body
    spacing_mm: float
    """Pixel spacing, the same along rows and columns."""


def make_film(
    seed: int,
    *,
    pneumothorax: bool | None = None,
    size: int = 1024,
    odds: DistractorOdds | None = None,
) -> PhantomFilm:
    """Make one phantom film.

    The same seed gives the same patient, film conditions and distractors with and without
    pneumothorax: only the lung differs.

    Args:
        seed: 0 or more; decides everything.
        pneumothorax: with or without; drawn even from the seed when None.
        size: rows and columns.
        odds: how often distractors appear; the defaults when None.

    Returns:
        Film in the unit interval with spacing, mask bool (size, size), empty exactly without
        pneumothorax, and truth.

    Raises:
        ValueError: a negative seed or a size below 32.
    """
    if seed < 0:
        raise ValueError(f"seed must be 0 or more, got {seed}")
    truth = draw_truth(seed, pneumothorax=pneumothorax, odds=odds)
    view, posture, distractors = truth.view, truth.posture, truth.distractors
    collapses = truth.collapses
    while True:
        bullae = BULLAE in distractors
        body = make_body(seed, collapse=collapses, posture=posture, bullae=bullae)
        rng = np.random.default_rng([seed, 12])
        pixels, mask, spacing = project(body, view, rng, size=size, distractors=distractors)
        if not collapses or mask.sum() * spacing**2 >= MIN_MASK_MM2:
            break
        collapses = tuple(
            Collapse(c.side, min(0.9, 1.5 * c.degree), c.tension_mm) for c in collapses
        )
    source = Source(
        image_id=f"phantom-{seed:06d}",
        modality=Modality.XRAY,
        patient_id=f"phantom-{seed:06d}",
        view_position=view,
        patient_orientation=("L", "F"),
    )
    return PhantomFilm(
        Image(pixels, Units.UNIT_INTERVAL, (spacing, spacing), source),
        Mask(mask, (spacing, spacing)),
        replace(truth, collapses=collapses),
        body,
        spacing,
    )


def draw_truth(
    seed: int, *, pneumothorax: bool | None = None, odds: DistractorOdds | None = None
) -> FilmTruth:
    """Draw what a film is to show, without making it; arguments as for :func:`make_film`.

    Disease comes from a random stream of its own, so that nothing else depends on it. The degree of
    a pneumothorax too small to see may still be raised when the film is made.
    """
    case, disease = np.random.default_rng([seed, 10]), np.random.default_rng([seed, 11])
    view = "PA" if case.random() < _PA_SHARE else "AP"
    lying = case.random() < _SUPINE_SHARE
    posture = Posture.SUPINE if view == "AP" and lying else Posture.UPRIGHT
    distractors = (odds or DistractorOdds()).draw(case)
    coin = bool(disease.random() < 0.5)
    drawn = _draw_collapses(disease)
    collapses = drawn if (coin if pneumothorax is None else pneumothorax) else ()
    return FilmTruth(seed, collapses, posture, view, distractors)


def _draw_collapses(rng: np.random.Generator) -> tuple[Collapse, ...]:
    """One collapsed lung, rarely both; most are small."""
    first = Side.RIGHT if rng.random() < 0.55 else Side.LEFT
    low, high = np.log(_DEGREES)
    degree = float(np.exp(low + (high - low) * rng.beta(1.2, 1.7)))
    large = float(rng.uniform(*_LARGE_DEGREES))
    degree = large if rng.random() < _LARGE_SHARE else degree
    tension = float(rng.uniform(0, 25)) if rng.random() < 0.4 else 0.0
    if degree < _TENSION_FROM:
        tension = 0.0
    other = next(s for s in Side if side_sign(s) == -side_sign(first))
    second = Collapse(other, float(np.exp(low + 1.5 * rng.random())))
    both = rng.random() < _BOTH_SIDES
    collapse = Collapse(first, degree, tension)
    return (collapse, second) if both else (collapse,)
