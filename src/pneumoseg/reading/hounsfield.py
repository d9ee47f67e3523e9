"""What holds for Hounsfield units of any file format: their range, and whether values can be HU.

Air is −1000 HU and water 0 by definition; nothing in a body is less dense than air, so whatever
lies below is padding outside the scanned circle.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pneumoseg.errors import InputError

AIR_HU = -1024.0
"""What padding and everything below is set to: the least value that 12 bits store by convention."""
MAX_HU = 65_535.0
"""Metal has some thousand, on an extended scale some ten thousand."""
LEAST_DENSE_HU = -300.0
"""A chest has air in it, so that a scan of one reaches below this, however little is sampled."""


def as_hu(values: NDArray[np.floating] | NDArray[np.integer]) -> NDArray[np.float32]:
    """Bring values in HU of any shape to finite float32 in [``AIR_HU``, ``MAX_HU``].

    NaN and infinities count as air: converters write them where the scanner saw nothing.
    """
    if np.issubdtype(values.dtype, np.floating):
        values = np.where(np.isfinite(values), values, AIR_HU)
    return np.asarray(np.clip(values, AIR_HU, MAX_HU), dtype=np.float32)


def check_hu(lowest: float, highest: float) -> None:
    """Refuse values that cannot be a chest in HU; for files that do not declare their unit.

    Raises:
        InputError: ``constant-image`` or ``not-hu``.
    """
    if lowest == highest:
        raise InputError(
            "every voxel has the same value; there is nothing to see", code="constant-image"
        )
    if lowest > LEAST_DENSE_HU:
        raise InputError(
            f"the values run from {lowest:g} to {highest:g}, but a chest in HU has air near −1000; "
            "give the volume in Hounsfield units",
            code="not-hu",
        )
