"""The shape of one chest, drawn from a seed: every size that varies between people.

Coordinates are millimetres in the patient: ``x`` from the patient's right to left with 0 at the
midline, ``y`` from anterior to posterior with 0 in the middle of the chest, ``z`` from head to foot
with 0 at the lung apices. Shapes are written as depth intervals along ``y`` over the coronal plane
(z, x), so that the CT volume and the film come from the very same surfaces. Sizes are rounded adult
values from anatomy textbooks (Gray's Anatomy, 41st edition, chapters 53-55).
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

import numpy as np

from pneumoseg.phantom.intervals import FAR_MM, Array, Ellipsoid, Interval
from pneumoseg.study import Side


class Posture(enum.Enum):
    """How the patient was held when the image was made: it decides where free air collects."""

    UPRIGHT = "upright"
    SUPINE = "supine"


def side_sign(side: Side) -> int:
    """-1 for the patient's right (negative x), +1 for the left."""
    return -1 if side is Side.RIGHT else 1


@dataclass(frozen=True)
class LungShape:
    """The pleural cavity of one side: an apex, a lateral and a medial border, a depth, a diaphragm.

    ``v`` below is the distance under the apex in mm, ``r`` the distance from the midline towards
    this side in mm.
    """

    side: Side
    apex_z: float
    apex_r: float
    half_width: float
    half_depth: float
    medial_r: float
    shift: float
    """Mediastinal shift towards this side in mm (negative: away from it)."""
    dome_z: float
    dome_r: float
    dome_y: float
    dome_fall_r: float
    """How far the diaphragm falls over 60 mm sideways, in mm."""
    dome_fall_y: float
    """How far the diaphragm falls over 60 mm forwards or backwards, in mm."""

    @property
    def height(self) -> float:
        """From apex to the top of the dome in mm."""
        return self.dome_z - self.apex_z

    @property
    def hilum_z(self) -> float:
        """Level of the hilum."""
        return self.apex_z + 0.52 * self.height

    def lateral_r(self, z: Array) -> Array:
        """Lateral border in mm from the midline at each z (n,)."""
        v = np.clip((z - self.apex_z) / 190.0, 0, 1)
        grown = np.sqrt(1 - (1 - v) ** 2.6)
        return np.asarray((self.apex_r + (self.half_width - self.apex_r) * grown), dtype=np.float32)

    def medial_border_r(self, z: Array) -> Array:
        """Medial border in mm from the midline at each z (n,)."""
        v = np.clip((z - self.apex_z) / 50.0, 0, 1)
        grown = np.sqrt(1 - (1 - v) ** 2)
        shift = self.shift * np.clip((z - self.apex_z) / 80.0, 0, 1)
        return np.asarray(
            (self.apex_r - (self.apex_r - self.medial_r) * grown + shift), dtype=np.float32
        )

    def depth(self, z: Array) -> Array:
        """Half depth of the cavity in mm at each z (n,)."""
        v = np.clip((z - self.apex_z) / 150.0, 0, 1)
        return np.asarray((self.half_depth * (1 - (1 - v) ** 2.2) ** 0.55), dtype=np.float32)

    def centre_y(self, z: Array) -> Array:
        """Middle of the cavity's depth in mm at each z (n,): the apex lies further back."""
        v = np.clip((z - self.apex_z) / 150.0, 0, 1)
        return np.asarray((12.0 * (1 - v)), dtype=np.float32)

    def dome(self, z: Array, r: Array) -> Interval:
        """Depth interval filled by the abdomen under the diaphragm over z (n,) and r (m,)."""
        below = (z - self.dome_z)[:, None] - (self.dome_fall_r * ((r - self.dome_r) / 60.0) ** 2)[
            None, :
        ]
        half = (60.0 / np.sqrt(self.dome_fall_y)) * np.sqrt(np.maximum(below, 0))
        hit = below > 0
        front = np.where(hit, self.dome_y - half, FAR_MM)
        return front.astype(np.float32), np.where(hit, self.dome_y + half, -FAR_MM).astype(
            np.float32
        )


@dataclass(frozen=True)
class Anatomy:
    """One person: every size in mm, drawn once by :func:`draw_anatomy`."""

    right: LungShape
    left: LungShape
    wall: float
    """Chest wall thickness beside the lung."""
    female: bool
    breast: float
    """Largest thickness of the breasts, 0 for none."""
    heart: tuple[Ellipsoid, ...]
    """Heart and great vessels: soft tissue that the lungs lie around."""
    stomach: Ellipsoid | None
    bullae: tuple[tuple[Side, Ellipsoid], ...]
    trachea_radius: float
    carina_z: float
    rib_pitch: float
    rib_first_z: float
    rib_drop: float
    rib_half_height: float
    rib_offsets: tuple[float, ...]
    spine_pitch: float
    spine_phase: float
    clavicle_z: float
    clavicle_slope: float
    scapula_r: float
    neck: float
    shoulder: float
    shift: float
    lung_hu: float
    bone: float
    """Mineral content relative to a healthy adult."""
    vessel_seed: int

    def lung(self, side: Side) -> LungShape:
        """The cavity of one side."""
        return self.right if side is Side.RIGHT else self.left


def draw_anatomy(seed: int, posture: Posture, shift: float = 0.0, bullae: bool = False) -> Anatomy:
    """Draw one person.

    Args:
        seed: decides all else, so that twins with and without disease share their anatomy.
        posture: lying down raises the diaphragm and widens the heart.
        shift: mediastinal shift in mm, positive to the patient's left.
        bullae: whether the upper lungs have bullae.
    """
    rng = np.random.default_rng([seed, 1])
    female = bool(rng.random() < 0.45)
    scale = rng.normal(0.95 if female else 1.02, 0.05)
    girth = float(np.clip(rng.normal(1.0, 0.18), 0.65, 1.6))
    supine = posture is Posture.SUPINE
    height = scale * (rng.uniform(165, 215) - (25 if supine else 0))
    half_width = scale * rng.uniform(122, 146)
    half_depth = scale * rng.uniform(72, 98)
    fall_r, fall_y = rng.uniform(22, 40), rng.uniform(25, 50)
    left_lower = rng.uniform(2, 18)
    right, left = (
        LungShape(
            side=side,
            apex_z=float(rng.normal(0, 3)),
            apex_r=scale * 46.0 + float(rng.normal(0, 2)),
            half_width=half_width + float(rng.normal(0, 2)),
            half_depth=half_depth,
            medial_r=float(rng.uniform(20, 27)),
            shift=shift * side_sign(side),
            dome_z=height + (left_lower if side is Side.LEFT else 0.0),
            dome_r=scale * float(rng.uniform(58, 74)),
            dome_y=float(rng.uniform(-25, 0)),
            dome_fall_r=fall_r + float(rng.normal(0, 3)),
            dome_fall_y=fall_y,
        )
        for side in (Side.RIGHT, Side.LEFT)
    )
    heart = _draw_heart(rng, scale * (1.1 if supine else 1.0), height, shift)
    stomach = None
    if rng.random() < 0.6:
        size = rng.uniform(12, 32)
        centre = (left.dome_z + size + 10, -20.0, float(rng.uniform(55, 85)))
        stomach = Ellipsoid(centre, (size, size * 1.1, size * 1.3), float(rng.normal(0, 0.2)))
    return Anatomy(
        right=right,
        left=left,
        wall=22.0 * girth + 4,
        female=female,
        breast=float(rng.uniform(12, 45)) * girth if female else float(rng.uniform(0, 10)),
        heart=heart,
        stomach=stomach,
        bullae=_draw_bullae(seed, right, left) if bullae else (),
        trachea_radius=scale * rng.uniform(7.5, 10),
        carina_z=0.44 * height,
        rib_pitch=scale * rng.uniform(19.5, 23.5),
        rib_first_z=float(rng.normal(-16, 4)),
        rib_drop=scale * rng.uniform(6.5, 11.5),
        rib_half_height=scale * rng.uniform(5.0, 7.0),
        rib_offsets=tuple(float(o) for o in rng.normal(0, 0.05, 16)),
        spine_pitch=scale * rng.uniform(21, 25),
        spine_phase=float(rng.uniform(0, 1)),
        clavicle_z=float(rng.normal(24, 9)),
        clavicle_slope=float(rng.normal(-0.2, 0.1)),
        scapula_r=scale * float(rng.uniform(105, 125) if supine else rng.uniform(122, 155)),
        neck=scale * rng.uniform(52, 66) * girth**0.3,
        shoulder=half_width + 40 * girth + float(rng.uniform(15, 40)),
        shift=shift,
        lung_hu=float(rng.uniform(-870, -780)),
        bone=float(np.clip(rng.normal(1.0, 0.15), 0.6, 1.35)),
        vessel_seed=int(rng.integers(2**31)),
    )


def _draw_heart(
    rng: np.random.Generator, scale: float, height: float, shift: float
) -> tuple[Ellipsoid, ...]:
    """Ventricles, right atrium, aortic knob, pulmonary trunk, superior vena cava."""
    size = scale * rng.uniform(0.85, 1.2)
    z = height - 28 * size + rng.normal(0, 4)
    knob = rng.uniform(15, 22)
    tilt = rng.uniform(0.35, 0.75)
    return (
        Ellipsoid((z, -25, 24 * size + shift), (40 * size, 42 * size, 60 * size), tilt),
        Ellipsoid((z - 8, -22, -12 * size + shift), (50 * size, 38 * size, 32 * size)),
        Ellipsoid((0.30 * height, 12, 19 + 0.7 * shift), (knob * 1.1, 40, knob)),
        Ellipsoid((0.44 * height, -10, 20 + shift), (24 * size, 22, 20 * size), 0.3),
        Ellipsoid((0.36 * height, -8, -18 + 0.8 * shift), (62, 20, rng.uniform(11, 16))),
    )


def _draw_bullae(
    seed: int, right: LungShape, left: LungShape
) -> tuple[tuple[Side, Ellipsoid], ...]:
    """One to four thin-walled air spaces in the upper lungs."""
    rng = np.random.default_rng([seed, 2])
    drawn = []
    for _ in range(int(rng.integers(1, 5))):
        shape = right if rng.random() < 0.5 else left
        size = float(rng.uniform(8, 28))
        z = shape.apex_z + size + float(rng.uniform(8, 55))
        lateral = float(shape.lateral_r(np.array([z], dtype=np.float32))[0])
        r = max(30.0, lateral - size - float(rng.uniform(6, 35)))
        axes = (size * float(rng.uniform(0.9, 1.3)), size, size)
        centre = (z, float(rng.uniform(-10, 25)), side_sign(shape.side) * r)
        drawn.append((shape.side, Ellipsoid(centre, axes, float(rng.normal(0, 0.3)))))
    return tuple(drawn)
