"""Dice and surface distances against MONAI, torchmetrics and hand-computed masks."""

import warnings

import numpy as np
import pytest

from pneumoseg import metrics
from pneumoseg.statistics.surface_distance import surface_distance

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of third parties, on import
    torch = pytest.importorskip("torch")
    monai_metrics = pytest.importorskip("monai.metrics")
    segmentation = pytest.importorskip("torchmetrics.functional.segmentation")

pytestmark = pytest.mark.filterwarnings("ignore")


def _blobs(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Two ragged masks that overlap, one of them at the film's edge."""
    rng = np.random.default_rng(seed)
    rows, cols = np.mgrid[:60, :50]
    truth = (rows - 25) ** 2 + (cols - 20) ** 2 < 150 + 60 * rng.random((60, 50))
    mask = (rows - 28) ** 2 + (cols - 8) ** 2 < 120 + 60 * rng.random((60, 50))
    return mask, truth


def _batch(mask: np.ndarray):
    return torch.from_numpy(mask[None, None].astype(np.float32))


@pytest.mark.parametrize("seed", range(4))
def test_dice_is_monais_and_torchmetrics(seed: int) -> None:
    """Fails if overlap were not the field's: 2 |A ∩ B| / (|A| + |B|)."""
    mask, truth = _blobs(seed)
    ours = metrics.dice(mask, truth)
    theirs = monai_metrics.compute_dice(_batch(mask), _batch(truth))
    assert ours == pytest.approx(float(theirs))
    score = segmentation.dice_score(
        _batch(mask).int(), _batch(truth).int(), num_classes=1, include_background=True
    )
    assert ours == pytest.approx(float(score))


def test_where_definitions_part() -> None:
    """Empty pairs: MONAI can be told to give 1, as the challenge does; a miss is 0 for all."""
    empty, truth = np.zeros((60, 50), dtype=bool), _blobs(0)[1]
    assert metrics.dice(empty, truth) == 0.0
    assert float(monai_metrics.compute_dice(_batch(empty), _batch(truth))) == 0.0
    assert metrics.dice(empty, empty) == 1.0
    assert (
        float(monai_metrics.compute_dice(_batch(empty), _batch(empty), ignore_empty=False)) == 1.0
    )


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("spacing", [(1.0, 1.0), (0.3, 0.7)])
def test_surface_distances_are_monais(seed: int, spacing: tuple[float, float]) -> None:
    """Fails if borders, percentiles or spacing were taken otherwise than MONAI takes them."""
    mask, truth = _blobs(seed)
    found = surface_distance(mask, truth, spacing)
    assert found is not None
    hd95 = monai_metrics.compute_hausdorff_distance(
        _batch(mask), _batch(truth), include_background=True, percentile=95, spacing=[*spacing]
    )
    average = monai_metrics.compute_average_surface_distance(
        _batch(mask), _batch(truth), include_background=True, symmetric=True, spacing=[*spacing]
    )
    assert found.hd95_mm == pytest.approx(float(hd95), abs=1e-4)
    assert found.average_mm == pytest.approx(float(average), abs=1e-4)


def test_distances_by_hand() -> None:
    """A pixel against a pixel three rows down and four columns right, 2 mm by 1 mm apart."""
    mask, truth = np.zeros((9, 9), dtype=bool), np.zeros((9, 9), dtype=bool)
    mask[1, 1] = truth[4, 5] = True
    found = surface_distance(mask, truth, (2.0, 1.0))
    assert found is not None
    assert found.hd95_mm == found.average_mm == pytest.approx(np.hypot(6.0, 4.0))
    assert surface_distance(truth, truth, (2.0, 1.0)).hd95_mm == 0.0
    assert surface_distance(mask, np.zeros_like(mask), (1.0, 1.0)) is None
