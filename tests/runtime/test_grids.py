"""Films through a network: what the mirror image adds, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from pneumoseg.errors import BundleError
from pneumoseg.preprocess import GRID_SIZE, Normalisation
from pneumoseg.runtime import run_on_grids

PLAIN = Normalisation(mean=0.0, std=1.0)


class LeftColumn:
    """Answers the mean of the leftmost column, or each pixel times its column's number."""

    name, device, precision, size, streams = "hand", "cpu", "f32", 4, 1

    def __init__(self, *, maps: bool) -> None:
        self.maps = maps
        self.films = 0

    def run(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        self.films += len(batch)
        if self.maps:
            return batch * np.arange(4, dtype=np.float32)
        return batch[..., 0].mean(axis=2)


def grid_with_white_left_quarter() -> NDArray[np.uint8]:
    grid = np.zeros((GRID_SIZE, GRID_SIZE), np.uint8)
    grid[:, : GRID_SIZE // 4] = 255
    return grid


def test_a_film_alone() -> None:
    """The left quarter is the left column of a 4×4 input: 1 for the film."""
    network = LeftColumn(maps=False)
    logits = run_on_grids(network, [grid_with_white_left_quarter()], PLAIN)
    assert logits.tolist() == [[1.0]]
    assert network.films == 1


def test_the_mirror_image_has_half_the_say() -> None:
    """1 for the film, 0 for its mirror image, whose left column is dark."""
    network = LeftColumn(maps=False)
    logits = run_on_grids(network, [grid_with_white_left_quarter()], PLAIN, mirror=True)
    assert logits.tolist() == [[0.5]]
    assert network.films == 2


def test_a_map_of_the_mirror_image_is_turned_back() -> None:
    """Each pixel times its column: 0 for the white column of the film, 3 for that of its mirror
    image, which lies on the right; turned back it is on the left again."""
    logits = run_on_grids(
        LeftColumn(maps=True), [grid_with_white_left_quarter()], PLAIN, mirror=True
    )
    assert logits.shape == (1, 1, 4, 4)
    np.testing.assert_array_equal(logits[0, 0], np.tile([1.5, 0, 0, 0], (4, 1)))


def test_films_are_not_mixed_up() -> None:
    dark = np.zeros((GRID_SIZE, GRID_SIZE), np.uint8)
    films = [dark, grid_with_white_left_quarter()]
    for mirror, expected in ((False, [[0.0], [1.0]]), (True, [[0.0], [0.5]])):
        assert run_on_grids(LeftColumn(maps=False), films, PLAIN, mirror=mirror).tolist() == (
            expected
        )


@pytest.mark.parametrize("maps", [False, True])
def test_a_logit_that_is_not_a_number_is_refused(
    maps: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A NaN in a map would pass for «no lesion» in silence."""
    network = LeftColumn(maps=maps)
    answer = network.run
    monkeypatch.setattr(network, "run", lambda batch: answer(batch) * np.float32("nan"))
    with pytest.raises(BundleError, match="not a number.*unusable in this runtime"):
        run_on_grids(network, [grid_with_white_left_quarter()], PLAIN)
