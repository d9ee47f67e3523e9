"""A network in training is run on the road of shipped networks, and refused where they are."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from pneumoseg.errors import DataError
from pneumoseg.preprocess import to_tensor
from pneumoseg.training.validation import NORMALISATION, infer, predict_logits

CACHE = SimpleNamespace(
    images=np.random.default_rng(0).integers(0, 255, (40, 512, 512), dtype=np.uint8)
)
CPU = torch.device("cpu")


class Brightness(nn.Module):
    """Mean of the input plus a number: (B, 1)."""

    def __init__(self, plus: float) -> None:
        super().__init__()
        self.plus = plus

    def forward(self, films: torch.Tensor) -> torch.Tensor:
        return films.mean(dim=(2, 3)) + self.plus


def test_logits_are_those_of_the_module_film_by_film() -> None:
    """Forty films are three batches; each keeps its place."""
    rows = np.arange(40)[::-1]
    found = predict_logits(Brightness(3.0), CACHE, rows, 64, CPU)  # type: ignore[arg-type]
    alone = [to_tensor(CACHE.images[row], 64, NORMALISATION).mean() + 3.0 for row in rows]
    assert found.dtype == np.float64
    assert found == pytest.approx(alone, abs=1e-5)


def test_a_logit_that_is_not_a_number_is_refused() -> None:
    """Fails if an average that diverged were scored as if it found nothing."""
    with pytest.raises(DataError, match="not a number; lower the learning rate"):
        infer(Brightness(float("nan")), CACHE, np.arange(2), 64, CPU)  # type: ignore[arg-type]
