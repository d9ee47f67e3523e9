"""What lies on or over a chest without being disease: tubes, leads, folds, markers.

Each is drawn with odds of its own, from a random stream of its own: whether the lung is collapsed
has no say, so that a network cannot learn the drain for the disease. Those that absorb are given in
mm of water over the coronal grid and pass through the same beam as the body; the marker is printed
on the finished film.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from pneumoseg.phantom.anatomy import Anatomy, side_sign
from pneumoseg.phantom.intervals import Array
from pneumoseg.study import Side

CHEST_TUBE, SKIN_FOLD, ECG_LEADS = "chest tube", "skin fold", "ECG leads"
CENTRAL_LINE, BULLAE, MARKER = "central line", "bullae", "marker"

_TUBE_MM, _TUBE_WATER = 8.0, 2.5
_STRIPE_MM, _STRIPE_WATER = 1.4, 7.0
_WIRE_MM, _WIRE_WATER = 1.4, 7.0
_LINE_MM, _LINE_WATER = 2.2, 4.0
_PAD_MM, _PAD_WATER = 14.0, 1.2
_SNAP_MM, _SNAP_WATER = 5.0, 25.0
_SUBPIXEL_BITS = 4


@dataclass(frozen=True)
class DistractorOdds:
    """How often each distractor appears, whatever the disease: probabilities in [0, 1]."""

    chest_tube: float = 0.12
    skin_fold: float = 0.2
    ecg_leads: float = 0.35
    central_line: float = 0.2
    bullae: float = 0.08
    marker: float = 0.8

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not 0.0 <= value <= 1.0:
                raise ValueError(f"the odds of {name} must lie in [0, 1], got {value}")

    def draw(self, rng: np.random.Generator) -> tuple[str, ...]:
        """The distractors of one film, in a fixed order."""
        names = (CHEST_TUBE, SKIN_FOLD, ECG_LEADS, CENTRAL_LINE, BULLAE, MARKER)
        odds = (
            self.chest_tube,
            self.skin_fold,
            self.ecg_leads,
            self.central_line,
            self.bullae,
            self.marker,
        )
        coins = rng.random(len(names))
        return tuple(n for n, coin, p in zip(names, coins, odds, strict=True) if coin < p)


def distractor_water(
    names: tuple[str, ...], anatomy: Anatomy, rng: np.random.Generator, z: Array, x: Array
) -> Array:
    """Water path in mm that the named distractors add over z (n,) and x (m,): float32 (n, m)."""
    painters = {
        CHEST_TUBE: _chest_tube,
        SKIN_FOLD: _skin_fold,
        ECG_LEADS: _ecg_leads,
        CENTRAL_LINE: _central_line,
    }
    canvas = _Canvas(z, x)
    for name, painter in painters.items():
        # One child stream each: adding one distractor does not move another.
        child = np.random.default_rng(rng.integers(2**63))
        if name in names:
            painter(canvas, anatomy, child)
    return canvas.water


class _Canvas:
    """Water path over a coronal grid, to which strokes, discs and sheets are added."""

    def __init__(self, z: Array, x: Array) -> None:
        self.z, self.x = z, x
        self.step = float(x[1] - x[0])
        self.water = np.zeros((z.size, x.size), dtype=np.float32)

    def stroke(self, points: NDArray[np.float64], width_mm: float, water_mm: float) -> None:
        """Add a curve through points (k, 2) of z, x in mm."""
        layer = np.zeros(self.water.shape, dtype=np.uint8)
        width = max(1, round(width_mm / self.step))
        fixed = self._pixels(points)
        cv2.polylines(layer, [fixed], False, 255, width, cv2.LINE_AA, _SUBPIXEL_BITS)
        self.water += layer * np.float32(water_mm / 255.0)

    def disc(self, z: float, x: float, radius_mm: float, water_mm: float) -> None:
        """Add a flat disc."""
        layer = np.zeros(self.water.shape, dtype=np.uint8)
        centre = self._pixels(np.array([[z, x]]))[0]
        radius = int(radius_mm / self.step * (1 << _SUBPIXEL_BITS))
        spot = (int(centre[0]), int(centre[1]))
        cv2.circle(layer, spot, radius, 255, -1, cv2.LINE_AA, _SUBPIXEL_BITS)
        self.water += layer * np.float32(water_mm / 255.0)

    def sheet(self, water: Array) -> None:
        """Add a whole map."""
        self.water += water

    def _pixels(self, points: NDArray[np.float64]) -> NDArray[np.int32]:
        rows, columns = (
            (points[:, 0] - self.z[0]) / self.step,
            (points[:, 1] - self.x[0]) / self.step,
        )
        fixed = np.stack([columns, rows], axis=1) * (1 << _SUBPIXEL_BITS)
        return np.asarray(np.rint(fixed), dtype=np.int32)


def _bezier(*points: tuple[float, float]) -> NDArray[np.float64]:
    """A cubic Bezier curve through its four control points (z, x): float64 (60, 2)."""
    t = np.linspace(0, 1, 60)[:, None]
    a, b, c, d = (np.array([p]) for p in points)
    return np.asarray(
        (1 - t) ** 3 * a + 3 * (1 - t) ** 2 * t * b + 3 * (1 - t) * t**2 * c + t**3 * d
    )


def _lateral(anatomy: Anatomy, side: Side, z: float) -> float:
    return float(anatomy.lung(side).lateral_r(np.array([z], dtype=np.float32))[0])


def _pick_side(rng: np.random.Generator) -> Side:
    return Side.RIGHT if rng.random() < 0.5 else Side.LEFT


def _chest_tube(canvas: _Canvas, anatomy: Anatomy, rng: np.random.Generator) -> None:
    side = _pick_side(rng)
    shape, sign = anatomy.lung(side), side_sign(side)
    entry = shape.apex_z + shape.height * rng.uniform(0.55, 0.95)
    wall = _lateral(anatomy, side, entry)
    tip_z = shape.apex_z + shape.height * (rng.uniform(0.08, 0.3) if rng.random() < 0.7 else 0.85)
    tip_r = rng.uniform(38, 75)
    curve = _bezier(
        (entry + rng.uniform(5, 50), sign * (wall + anatomy.wall + 40)),
        (entry - 5, sign * (wall + 5)),
        (0.5 * (entry + tip_z), sign * wall * rng.uniform(0.75, 0.95)),
        (tip_z, sign * tip_r),
    )
    canvas.stroke(curve, _TUBE_MM, _TUBE_WATER)
    canvas.stroke(curve, _TUBE_MM - 3.0, -0.6 * _TUBE_WATER)
    canvas.stroke(curve + rng.uniform(-2, 2, (1, 2)), _STRIPE_MM, _STRIPE_WATER)


def _central_line(canvas: _Canvas, anatomy: Anatomy, rng: np.random.Generator) -> None:
    tip = (anatomy.carina_z + rng.uniform(0, 45), -18.0 + rng.uniform(-6, 6) + anatomy.shift)
    if rng.random() < 0.5:  # jugular
        start = (-90.0, -38.0 + rng.uniform(-12, 12))
        curve = _bezier(start, (-20.0, -30.0), (0.4 * anatomy.carina_z, -26.0), tip)
    else:  # from the arm
        sign = side_sign(_pick_side(rng))
        start = (rng.uniform(25, 60), sign * (anatomy.shoulder + 20))
        curve = _bezier(start, (5.0, sign * 95.0), (-2.0, sign * 8.0 - 10.0), tip)
    canvas.stroke(curve, _LINE_MM, _LINE_WATER)


def _ecg_leads(canvas: _Canvas, anatomy: Anatomy, rng: np.random.Generator) -> None:
    height, width = anatomy.right.height, anatomy.right.half_width
    exit_z = -100.0 if rng.random() < 0.4 else 2.2 * height
    exit_x = rng.uniform(-0.6, 0.6) * width
    spots = [(0.08, -0.95), (0.08, 0.95), (1.0, -0.95), (1.0, 0.95), (0.65, 0.25)]
    for index in rng.permutation(5)[: int(rng.integers(2, 6))]:
        z = spots[index][0] * height + rng.normal(0, 14)
        x = spots[index][1] * width + rng.normal(0, 12)
        canvas.disc(z, x, _PAD_MM, _PAD_WATER)
        canvas.disc(z, x, _SNAP_MM, _SNAP_WATER)
        bend = rng.normal(0, 45, 4)
        curve = _bezier(
            (z, x),
            (z + 0.35 * (exit_z - z) + bend[0], x + bend[1]),
            (z + 0.7 * (exit_z - z) + bend[2], 0.5 * (x + exit_x) + bend[3]),
            (exit_z, exit_x),
        )
        canvas.stroke(curve, _WIRE_MM, _WIRE_WATER)


def _skin_fold(canvas: _Canvas, anatomy: Anatomy, rng: np.random.Generator) -> None:
    """A fold of skin: a step of density that fades away on one side, an edge without a line."""
    side = _pick_side(rng)
    shape, sign = anatomy.lung(side), side_sign(side)
    centre = shape.apex_z + shape.height * rng.uniform(0.25, 0.8)
    reach = rng.uniform(45, 110)
    lean, bend = rng.normal(0, 0.25), rng.normal(0, 0.0012)
    down = canvas.z - centre
    edge = sign * rng.uniform(0.45, 0.85) * shape.half_width + lean * down + bend * down**2
    away = (canvas.x[None, :] - edge[:, None]) * (1 if rng.random() < 0.5 else -1)
    fade = np.clip(1 - (np.abs(down) / reach) ** 4, 0, 1)[:, None]
    height = rng.uniform(4, 11) * fade
    fold = np.where(away > 0, height * np.exp(-np.maximum(away, 0) / rng.uniform(12, 30)), 0)
    canvas.sheet(fold.astype(np.float32))


def print_marker(film: Array, rng: np.random.Generator, *, portable: bool) -> Array:
    """Print a side marker on a film, white in an upper corner; returns a new film of [0, 1]."""
    size = film.shape[0]
    scale = size / 1024.0
    letter, left = ("L", True) if rng.random() < 0.6 else ("R", False)
    column = rng.uniform(0.88, 0.94) if left else rng.uniform(0.03, 0.08)
    row = rng.uniform(0.06, 0.18)
    layer = np.zeros(film.shape, dtype=np.uint8)
    spot = (int(column * size), int(row * size))
    thickness = max(1, round(4 * scale))
    font = cv2.FONT_HERSHEY_SIMPLEX
    cv2.putText(layer, letter, spot, font, 1.4 * scale, 255, thickness, cv2.LINE_AA)
    if portable:
        below = (max(0, spot[0] - int(110 * scale * left)), spot[1] + int(48 * scale))
        thin = max(1, round(2 * scale))
        cv2.putText(layer, "PORTABLE", below, font, 0.7 * scale, 255, thin, cv2.LINE_AA)
    share = layer.astype(np.float32) / 255.0 * np.float32(rng.uniform(0.85, 1.0))
    return np.asarray(np.maximum(film, share), dtype=np.float32)
