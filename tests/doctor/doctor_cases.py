"""Films as ``doctor`` keeps them, without pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from pneumoseg.doctor.groups import Case
from pneumoseg.doctor.images import FilmFacts


def film(image_id: str, **changes: Any) -> FilmFacts:
    """A sound film of 100×100 pixels."""
    values: dict[str, Any] = {
        "path": Path(f"{image_id}.png"),
        "image_id": image_id,
        "patient_id": None,
        "view": None,
        "rows": 100,
        "cols": 100,
        "levels": 5000,
        "digest": image_id,
        "signature": np.zeros(4, dtype=np.float32),
        "contrast": 0.2,
        "field": (0.0, 1.0, 0.0, 1.0),
        "positions": np.array([0.9, 0.1, 0.1, 0.1, -0.9]),
        "traces": np.zeros(3),
    }
    return FilmFacts(**(values | changes))


def case(image_id: str, side: str | None = None, **more: Any) -> Case:
    """A film with what is said about it."""
    values: dict[str, Any] = {"patient": image_id, "label": False, "facts": {}} | more
    return Case(film(image_id), side=side, **values)
