"""A network in training on films of the cache, on the road that shipped networks take."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from pneumoseg.dataset.cache import Cache
from pneumoseg.errors import BundleError, DataError
from pneumoseg.preprocess import Normalisation
from pneumoseg.runtime import run_on_grids

NORMALISATION = Normalisation()
"""What both networks see; goes onto the bundle's card."""

VALIDATION_BATCH = 16


class NetworkInTraining:
    """A module as it stands; see :class:`pneumoseg.runtime.Network`.

    Unlike :class:`pneumoseg.runtime.torch.TorchNetwork` it leaves the module where it is, and the
    process's settings as training made them.
    """

    name = "torch"
    precision = "f32"
    streams = 1

    def __init__(self, module: nn.Module, size: int, device: torch.device) -> None:
        self.size = size
        self.device = device.type
        self._module, self._where = module, device

    def run(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Compute logits; see :meth:`pneumoseg.runtime.Network.run`."""
        films = torch.from_numpy(batch).to(self._where)
        with torch.inference_mode():
            logits = self._module(films.contiguous(memory_format=torch.channels_last))
        return np.asarray(logits.float().cpu().numpy(), dtype=np.float32)


def infer(
    model: nn.Module, cache: Cache, rows: NDArray[np.int64], size: int, device: torch.device
) -> NDArray[np.float32]:
    """Run a network on some rows of a cache, not augmented.

    Returns:
        float32 logits, (n, 1) of the classifier or (n, 1, size, size) of the segmenter.

    Raises:
        DataError: a logit is not a number.
    """
    network = NetworkInTraining(model, size, device)
    try:
        return run_on_grids(network, [cache.images[row] for row in rows], NORMALISATION)
    except BundleError as error:
        raise DataError(
            "the network in training gave a logit that is not a number; lower the learning rate, "
            "or train in fp32"
        ) from error


def predict_logits(
    model: nn.Module, cache: Cache, rows: NDArray[np.int64], size: int, device: torch.device
) -> NDArray[np.float64]:
    """Classifier logits of many rows in batches, float64 (n,)."""
    parts = [
        infer(model, cache, rows[start : start + VALIDATION_BATCH], size, device)[:, 0]
        for start in range(0, len(rows), VALIDATION_BATCH)
    ]
    return np.concatenate(parts).astype(np.float64)
