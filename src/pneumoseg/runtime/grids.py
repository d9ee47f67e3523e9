"""The one road from films on the grid to a network's logits."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pneumoseg.errors import BundleError
from pneumoseg.preprocess import Normalisation, to_tensor
from pneumoseg.runtime import Network


def run_on_grids(
    network: Network,
    grids: Sequence[NDArray[np.uint8]],
    normalisation: Normalisation,
    *,
    mirror: bool = False,
) -> NDArray[np.float32]:
    """Compute the logits of some films.

    Args:
        network: either stage.
        grids: uint8 (512, 512) each, of :func:`pneumoseg.preprocess.to_grid`; at least one.
        normalisation: the card's.
        mirror: average each answer over the film and its mirror image (left and right exchanged),
            in logits; takes twice as long.

    Returns:
        float32 (B, 1) of a classifier, (B, 1, S, S) of a segmenter, all finite.

    Raises:
        BundleError: the network gives a logit that is not a number.
    """
    batch = np.stack([to_tensor(grid, network.size, normalisation) for grid in grids])
    if mirror:
        batch = np.concatenate([batch, batch[..., ::-1]])
    logits = network.run(batch)
    if not np.isfinite(logits).all():
        raise BundleError(
            "a network of the bundle gave a logit that is not a number; the bundle is unusable in "
            f"this runtime ({network.name}) and precision ({network.precision})"
        )
    if not mirror:
        return logits
    plain, mirrored = np.split(logits, 2)
    if logits.ndim == 4:
        mirrored = mirrored[..., ::-1]
    return np.asarray((plain + mirrored) / 2, dtype=np.float32)
