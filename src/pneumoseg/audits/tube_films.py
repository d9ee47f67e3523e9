"""Films on which tube and pneumothorax vary independently: phantoms, and tubes painted on films.

The phantom makes the same patient four times: with and without a pneumothorax, with and without a
chest tube, all else equal to the last grain of noise. On a real film the phantom's own tube is
painted: its path of water over a chest of about the film's size, added to the brightness.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from zlib import crc32

import cv2
import numpy as np
from numpy.typing import NDArray

from pneumoseg.evaluation.labelled_films import LabelledFilm
from pneumoseg.phantom import DistractorOdds, Posture, make_film
from pneumoseg.phantom.anatomy import draw_anatomy
from pneumoseg.phantom.distractors import CHEST_TUBE, ECG_LEADS, distractor_water
from pneumoseg.preprocess import to_grid
from pneumoseg.study import Image

WITH_TUBE = "with a chest tube"
BRIGHTNESS_PER_MM = 0.0085
"""What 1 mm of water adds to the brightness of a phantom film of 512 pixels, about: a tube's stripe
adds 0.07 there. On real films drains stand out more, so they are painted bolder as well."""
_FIELD = 1.1
"""Width of a film as a multiple of the chest's."""
_LINE_SIGMA = 2.0
FloatPixels = NDArray[np.float32]


def phantom_films(count: int, first_seed: int, size: int) -> Iterator[LabelledFilm]:
    """Phantom patients without a tube, each without and with a pneumothorax: two films a seed.

    Args:
        count: patients.
        first_seed: of the first; patient i has ``first_seed + i``.
        size: rows and columns.
    """
    for seed in range(first_seed, first_seed + count):
        for positive in (False, True):
            film = make_film(
                seed, pneumothorax=positive, size=size, odds=DistractorOdds(chest_tube=0)
            )
            yield LabelledFilm(
                film.image, film.mask.pixels, positive, film.image.source.image_id, {}
            )


def phantom_with_tube(film: LabelledFilm) -> Mapping[str, NDArray[np.uint8]]:
    """The same patient and the same film with a chest tube."""
    seed = int(film.patient_id.rpartition("-")[2])
    odds = DistractorOdds(chest_tube=1)
    made = make_film(seed, pneumothorax=film.label, size=film.image.shape[0], odds=odds)
    return {WITH_TUBE: to_grid(made.image)[0]}


@dataclass(frozen=True)
class Painted:
    """One thing painted on films: what, and how many times as bold as in the phantom."""

    distractor: str
    contrast: float

    @property
    def name(self) -> str:
        """As it is called in figures."""
        return f"{self.distractor} painted, contrast ×{self.contrast:g}"


def paintings(contrasts: tuple[float, ...]) -> tuple[Painted, ...]:
    """Tubes at every contrast, and ECG leads at the same: lines that are no tube."""
    return tuple(Painted(what, c) for c in contrasts for what in (CHEST_TUBE, ECG_LEADS))


class Painter:
    """Paints films, and keeps how well a tube can be seen in each: the positive control.

    What is kept is the film's agreement with the tube's own fine lines at the place where it was
    painted: a matched filter, once on the film as it is and once on the painted one.
    """

    def __init__(self, contrasts: tuple[float, ...], seed: int) -> None:
        self.paintings = paintings(contrasts)
        self.seed = seed
        self.response: dict[str, list[float]] = {}

    def __call__(self, film: LabelledFilm) -> Mapping[str, NDArray[np.uint8]]:
        """A film's painted copies on the 512×512 grid, by the painting's name."""
        copies = {}
        for painted in self.paintings:
            water = water_on(film.image, painted.distractor, self.seed)
            made = paint(film.image, water, painted.contrast)
            copies[painted.name] = to_grid(made)[0]
            if painted.distractor == CHEST_TUBE:
                for state, image in (("without", film.image), ("with", made)):
                    key = f"{painted.name} {state}"
                    self.response.setdefault(key, []).append(_matched(image.pixels, water))
        return copies


def water_on(image: Image, distractor: str, seed: int) -> FloatPixels:
    """Water path of a distractor over a film: float32 (rows, cols) in mm.

    The chest it is drawn for is a phantom's of a size drawn for this film, centred on it; the same
    film and seed give the same line.
    """
    rows, cols = image.shape
    drawn = crc32(image.source.image_id.encode())
    anatomy = draw_anatomy(drawn, Posture.SUPINE)
    rng = np.random.default_rng([seed, drawn])
    step = 2 * (anatomy.right.half_width + anatomy.wall) * _FIELD / max(rows, cols)
    z = (np.arange(rows) - (rows - 1) / 2) * step + 0.5 * anatomy.right.height + 8.0
    x = (np.arange(cols) - (cols - 1) / 2) * step
    return distractor_water((distractor,), anatomy, rng, z.astype(np.float32), x.astype(np.float32))


def paint(image: Image, water: FloatPixels, contrast: float) -> Image:
    """Add a water path to a film's brightness: a new image.

    Args:
        image: the film in the unit interval.
        water: float32 (rows, cols) in mm.
        contrast: how many times as bold as on a phantom film.
    """
    added = image.pixels + np.float32(BRIGHTNESS_PER_MM * contrast) * water
    return replace(image, pixels=np.clip(added, 0, 1).astype(np.float32))


def _matched(pixels: FloatPixels, water: FloatPixels) -> float:
    """Agreement of a film with a line's own detail: their product per unit of the line's."""
    detail = water - cv2.GaussianBlur(water, (0, 0), _LINE_SIGMA)
    return float((pixels * detail).sum() / np.sqrt((detail**2).sum()))
