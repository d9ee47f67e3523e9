"""One simulated volume: which disease and which distractors, drawn from seeds; then made.

Volumes come in pairs of one anatomy: the distractors and the scanner are drawn for the pair, the
disease for the one of the two that has it. So nothing but the pneumothorax tells them apart. The
other one's lung is at times moved by breath or pushed by fluid, which leaves the same traces of
resampling and displacement, and no air.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from pneumoseg.simulation.acquisition import (
    ACQUISITION,
    MORE_NOISE,
    MOTION,
    SHARP_KERNEL,
    SOFT_KERNEL,
)
from pneumoseg.simulation.anatomies import Anatomy
from pneumoseg.simulation.collapse import (
    LARGEST_DEGREE,
    Collapsed,
    CollapseShape,
    breathe,
    collapse,
)
from pneumoseg.simulation.hard_negatives import (
    AIRWAY,
    BOWEL_GAS,
    BULLAE,
    EMPHYSEMA,
    IN_THE_LUNG,
    MEDIASTINAL_AIR,
    OESOPHAGEAL_AIR,
    OUTSIDE_THE_LUNG,
    SUBCUTANEOUS_AIR,
    Painter,
)
from pneumoseg.simulation.hemithorax import Hemithorax, open_hemithorax
from pneumoseg.simulation.lung_sides import Labels
from pneumoseg.simulation.scan_noise import FLOOR_HU, Array
from pneumoseg.simulation.scene import Scene
from pneumoseg.study import Side

ODDS = {
    EMPHYSEMA: 0.2,
    BULLAE: 0.22,
    OESOPHAGEAL_AIR: 0.15,
    AIRWAY: 0.1,
    BOWEL_GAS: 0.2,
    SUBCUTANEOUS_AIR: 0.18,
    MEDIASTINAL_AIR: 0.16,
    MOTION: 0.15,
    SOFT_KERNEL: 0.25,
    SHARP_KERNEL: 0.15,
    MORE_NOISE: 0.15,
}
"""How often each distractor and each way of scanning is drawn, whatever the disease."""
UNTOUCHED_SHARE = 0.12
"""Pairs that are left without any of them."""
BREATH, EFFUSION, HYDROPNEUMOTHORAX = "breath", "effusion", "hydropneumothorax"
_SILENT_SHARE = 0.12
_BREATH_SHARE, _EFFUSION_SHARE = 0.4, 0.2
_HYDROPNEUMOTHORAX_SHARE, _BOTH_SIDES = 0.12, 0.06
_DEGREES, _LARGE_DEGREES, _LARGE_SHARE = (0.004, 0.85), (0.6, 0.92), 0.1
_PLEURA_MM = (0.05, 0.25)
"""From the bare pleura, a tenth of a millimetre, to one with lung that clings to it."""
_FLUID_FROM_DEGREE = 0.08
_LEAST_WIDTH_PX = 3.0
"""Thinner gaps drown in the blur of wall and pleura; no reader could mark them."""
_TRIES, _GROWTH = 8, 1.6
_HIGHEST_HU = 3071.0
_SMALLEST_SIDE = 0.25
"""A side with less of the lung than this is not chosen: the tip of a lung has no wall to leave."""


@dataclass(frozen=True, eq=False)
class Simulated:
    """One volume and its truth.

    Attributes:
        hu: int16 (slices, rows, cols).
        air: bool, pleural air.
        sides: that have it.
        degree: share of the most collapsed lung that was lost, 0 without pneumothorax.
        distractors: what was drawn into it, in order.
        anatomy: where it was drawn.
    """

    hu: NDArray[np.int16]
    air: NDArray[np.bool_]
    sides: tuple[Side, ...]
    degree: float
    distractors: tuple[str, ...]
    anatomy: Anatomy


@dataclass(frozen=True)
class CaseSeeds:
    """Random streams of one volume: of its anatomy, its pair and its own."""

    seed: int
    anatomy: str
    index: int

    @property
    def pneumothorax(self) -> bool:
        """Volumes with and without pneumothorax take turns."""
        return self.index % 2 == 0

    def pair(self, stream: int) -> np.random.Generator:
        """A stream that both of a pair share."""
        return np.random.default_rng([self.seed, self._name, self.index // 2, stream])

    def own(self, stream: int) -> np.random.Generator:
        """A stream of this volume alone."""
        return np.random.default_rng([self.seed, self._name, self.index, 100 + stream])

    @property
    def _name(self) -> int:
        return zlib.crc32(self.anatomy.encode())


@dataclass(frozen=True, eq=False)
class OpenAnatomy:
    """An anatomy with both its hemithoraces measured, ready to be used many times."""

    anatomy: Anatomy
    chests: dict[Side, Hemithorax]


def open_anatomy(anatomy: Anatomy) -> OpenAnatomy:
    """Measure both sides of a chest."""
    chests = {}
    for side in Side:
        chest = open_hemithorax(anatomy.hu, anatomy.lungs, side, anatomy.spacing_mm, anatomy.noise)
        if chest is not None:
            chests[side] = chest
    return OpenAnatomy(anatomy, chests)


def simulate_case(opened: OpenAnatomy, seeds: CaseSeeds) -> Simulated:
    """Make one volume of a chest."""
    anatomy = opened.anatomy
    names = _draw_names(seeds, renew_noise=anatomy.quieted)
    hu, done = _draw_in(anatomy.hu, anatomy, anatomy.lungs, names, IN_THE_LUNG, seeds)
    rng = seeds.own(0)
    air = np.zeros(hu.shape, dtype=np.bool_)
    degree, sides = 0.0, _draw_sides(opened, rng)
    if seeds.pneumothorax:
        for side in sides:
            fallen, shape = _collapse_until_seen(hu, opened, side, rng)
            hu, air, degree = fallen.hu, air | fallen.air, max(degree, fallen.degree)
            done += (HYDROPNEUMOTHORAX,) if shape.fluid_rows > 0 else ()
    else:
        hu, moved = _move_without_air(hu, opened, sides[0], rng)
        done, sides = done + moved, ()
    return _finish(anatomy, hu, air, sides, degree, done, names, seeds)


def _finish(
    anatomy: Anatomy,
    hu: Array,
    air: NDArray[np.bool_],
    sides: tuple[Side, ...],
    degree: float,
    done: tuple[str, ...],
    names: tuple[str, ...],
    seeds: CaseSeeds,
) -> Simulated:
    """Draw what comes after the collapse, and the scanner's share; round to whole HU."""
    hu, added = _draw_in(hu, anatomy, anatomy.lungs, names, OUTSIDE_THE_LUNG, seeds)
    done += added
    for stream, (name, change) in enumerate(ACQUISITION.items()):
        if name in names:
            hu = change(hu, anatomy.noise, seeds.pair(30 + stream))
            done += (name,)
    whole = np.rint(np.clip(hu, FLOOR_HU, _HIGHEST_HU)).astype(np.int16)
    return Simulated(whole, air, sides, degree, done, anatomy)


def _draw_names(seeds: CaseSeeds, *, renew_noise: bool) -> tuple[str, ...]:
    """What is drawn for a pair; a scan whose noise was taken out mostly gets new noise."""
    rng = seeds.pair(0)
    untouched, silent = rng.random() < UNTOUCHED_SHARE, rng.random() < _SILENT_SHARE
    coins = rng.random(len(ODDS))
    names = {
        name
        for (name, odds), coin in zip(ODDS.items(), coins, strict=True)
        if coin < odds and not untouched
    }
    if renew_noise and not silent:
        names.add(MORE_NOISE)
    if SOFT_KERNEL in names:
        names.discard(SHARP_KERNEL)
    return tuple(name for name in ODDS if name in names)


def _draw_in(
    hu: Array,
    anatomy: Anatomy,
    lungs: Labels,
    names: tuple[str, ...],
    painters: dict[str, Painter],
    seeds: CaseSeeds,
) -> tuple[Array, tuple[str, ...]]:
    """Draw the chosen distractors that find room; returns the scan and their names."""
    done: list[str] = []
    first = 10 if painters is IN_THE_LUNG else 20
    for stream, (name, painter) in enumerate(painters.items(), start=first):
        if name not in names:
            continue
        scene = Scene(hu, lungs, anatomy.noise, anatomy.spacing_mm)
        drawn = painter(scene, seeds.pair(stream))
        if drawn is not None:
            hu = drawn
            done.append(name)
    return hu, tuple(done)


def _draw_sides(opened: OpenAnatomy, rng: np.random.Generator) -> tuple[Side, ...]:
    sizes = {side: int(chest.inside.sum()) for side, chest in opened.chests.items()}
    total = max(sum(sizes.values()), 1)
    usable = [side for side in sizes if sizes[side] >= _SMALLEST_SIDE * total]
    both = rng.random() < _BOTH_SIDES
    chosen = usable[int(rng.integers(len(usable)))]
    return tuple(usable) if both else (chosen,)


def _draw_degree(rng: np.random.Generator) -> float:
    """Most are small; some lungs collapse altogether."""
    low, high = np.log(_DEGREES)
    usual = float(np.exp(low + (high - low) * rng.beta(1.3, 1.5)))
    large = float(rng.uniform(*_LARGE_DEGREES))
    return large if rng.random() < _LARGE_SHARE else usual


def _draw_shape(side: Side, degree: float, single: bool, rng: np.random.Generator) -> CollapseShape:
    """Where the air lies: in front, at the apex, beside, behind in a pocket, below, all around."""
    outwards = -1.0 if side is Side.RIGHT else 1.0
    tilt, lean = rng.normal(0, 0.35), rng.normal(0, 0.3)
    kinds: tuple[tuple[float, tuple[float, float, float], tuple[float, float]], ...] = (
        (0.5, (lean - 0.15, -1.0, tilt), (1.0, 5.0)),
        (0.14, (-1.0, -0.5, tilt), (1.0, 4.0)),
        (0.12, (lean, tilt, outwards), (1.5, 6.0)),
        (0.08, (lean, abs(tilt) + 0.3, outwards), (10.0, 30.0)),
        (0.05, (1.0, -0.4, 0.4 * outwards), (2.0, 7.0)),
        (0.11, (0.0, -1.0, 0.0), (0.0, 0.4)),
    )
    shares = np.array([kind[0] for kind in kinds])
    if single:  # a slice has no apex and no base
        shares[[1, 4]] = 0
    if degree > 0.12:  # a pocket is small
        shares[3] = 0
    _, towards, focuses = kinds[int(rng.choice(len(kinds), p=shares / shares.sum()))]
    waves = tuple(_draw_wave(rng) for _ in range(3))
    focus, pleura_mm = float(rng.uniform(*focuses)), float(rng.uniform(*_PLEURA_MM))
    return CollapseShape(side, degree, towards, focus, waves, pleura_mm=pleura_mm)


def _draw_wave(rng: np.random.Generator) -> tuple[float, float, float, float]:
    down, back, left = rng.normal(0, 2.5, 3)
    return float(down), float(back), float(left), float(rng.uniform(0, 2 * np.pi))


def _collapse_until_seen(
    hu: Array, opened: OpenAnatomy, side: Side, rng: np.random.Generator
) -> tuple[Collapsed, CollapseShape]:
    """Collapse a lung; a gap that no voxel would show is widened."""
    shape = _draw_shape(side, _draw_degree(rng), hu.shape[0] == 1, rng)
    fluid = rng.random() < _HYDROPNEUMOTHORAX_SHARE and shape.degree > _FLUID_FROM_DEGREE
    level = float(rng.uniform(0.08, 0.35))
    if fluid:
        shape = replace(shape, fluid_rows=level, focus=min(shape.focus, 1.0))
    for _ in range(_TRIES):
        fallen = collapse(hu, opened.chests[side], shape, opened.anatomy.noise, rng)
        if _widest_px(fallen.air) >= _LEAST_WIDTH_PX:
            break
        shape = replace(shape, degree=min(LARGEST_DEGREE, _GROWTH * shape.degree))
    return fallen, shape


def _widest_px(air: NDArray[np.bool_]) -> float:
    """Greatest width of a gap within a slice."""
    widths = [
        2 * float(cv2.distanceTransform(part.astype(np.uint8), cv2.DIST_L2, 5).max()) - 1
        for part in air
        if part.any()
    ]
    return max(widths, default=0.0)


def _move_without_air(
    hu: Array, opened: OpenAnatomy, side: Side, rng: np.random.Generator
) -> tuple[Array, tuple[str, ...]]:
    """Breath or fluid, or neither: a lung moved as in a pneumothorax, without air beside it."""
    coin = rng.random()
    chest, noise = opened.chests[side], opened.anatomy.noise
    shape = _draw_shape(side, 0.05, hu.shape[0] == 1, rng)
    if coin < _BREATH_SHARE:
        strength = float(rng.uniform(0.03, 0.12))
        return breathe(hu, chest, replace(shape, focus=min(shape.focus, 2.0)), strength), (BREATH,)
    if coin < _BREATH_SHARE + _EFFUSION_SHARE:
        behind = CollapseShape(
            side,
            float(np.exp(rng.uniform(np.log(0.01), np.log(0.4)))),
            (float(rng.normal(0.2, 0.2)), 1.0, float(rng.normal(0, 0.3))),
            float(rng.uniform(1, 4)),
            shape.unevenness,
            fluid_rows=1.0,
        )
        return collapse(hu, chest, behind, noise, rng).hu, (EFFUSION,)
    return hu, ()
