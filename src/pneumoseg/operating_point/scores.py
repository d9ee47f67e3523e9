"""What both networks predicted of every labelled film, kept in a folder.

    scores.json    what was run, on what; ``finished`` counts the films once all are there
    films.jsonl    one line a film: names, label, logit, sizes, seconds of each stage
    maps.f16       stage two's probabilities as the network gives them, float16 (n, S, S)
    truths.bits    true masks on the 512×512 grid, one bit a pixel (n, 512 · 512 / 8)

:mod:`pneumoseg.operating_point.scoring` writes it. float16 rounds a probability by at most 0.0003,
which moves no figure that is reported.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pneumoseg.errors import DataError
from pneumoseg.preprocess import GRID_SIZE, Placement, to_source_grid

SCORES, FILMS, MAPS, TRUTHS = "scores.json", "films.jsonl", "maps.f16", "truths.bits"
TRUTH_BYTES = GRID_SIZE * GRID_SIZE // 8
"""Of one film."""
_GRID = Placement.letterbox(GRID_SIZE, GRID_SIZE)


@dataclass(frozen=True)
class ScoredFilm:
    """One film's line.

    ``logit`` is stage one's raw output; ``seconds_read`` includes decoding and the way to the grid,
    ``seconds_stage_two`` the way from the map to a mask on the film.
    """

    image_id: str
    patient_id: str
    label: bool
    logit: float
    rows: int
    cols: int
    spacing_mm: tuple[float, float] | None
    facts: dict[str, str]
    seconds_read: float
    seconds_stage_one: float
    seconds_stage_two: float

    @property
    def placement(self) -> Placement:
        """Where the film lies on the grid."""
        return Placement.letterbox(self.rows, self.cols)


@dataclass(frozen=True, eq=False)
class CascadeScores:
    """What both networks predicted of every film; the arrays are read from disk when used."""

    folder: Path
    about: dict[str, Any]
    """What was run on what, from ``scores.json``."""
    films: tuple[ScoredFilm, ...]

    @cached_property
    def label(self) -> NDArray[np.bool_]:
        """(n,) whether each film is positive."""
        return np.array([film.label for film in self.films], dtype=np.bool_)

    @cached_property
    def patient(self) -> NDArray[np.str_]:
        """(n,) patients, whose films are never parted."""
        return np.array([film.patient_id for film in self.films])

    @cached_property
    def logit(self) -> NDArray[np.float64]:
        """(n,) raw outputs of stage one."""
        return np.array([film.logit for film in self.films])

    @cached_property
    def _maps(self) -> NDArray[np.float16]:
        size = int(self.about["segmenter_size"])
        shape = (len(self.films), size, size)
        return np.memmap(self.folder / MAPS, dtype=np.float16, mode="r", shape=shape)

    @cached_property
    def _truths(self) -> NDArray[np.uint8]:
        shape = (len(self.films), TRUTH_BYTES)
        return np.memmap(self.folder / TRUTHS, dtype=np.uint8, mode="r", shape=shape)

    def grid_map(self, index: int) -> NDArray[np.float32]:
        """Stage two's probabilities on the 512×512 grid, 0 outside the film."""
        grid = to_source_grid(self._maps[index].astype(np.float32), _GRID)
        box = self.films[index].placement
        inside = np.zeros_like(grid)
        film = (slice(box.top, box.top + box.height), slice(box.left, box.left + box.width))
        inside[film] = grid[film]
        return inside

    def truth(self, index: int) -> NDArray[np.bool_]:
        """True mask on the 512×512 grid."""
        bits = np.unpackbits(self._truths[index])
        return bits.reshape(GRID_SIZE, GRID_SIZE).astype(np.bool_)


def open_scores(folder: Path) -> CascadeScores:
    """Open a folder of finished scores.

    Raises:
        DataError: a file is missing, damaged or cut short.
    """
    try:
        about = json.loads((folder / SCORES).read_text(encoding="utf-8"))
        lines = (folder / FILMS).read_text(encoding="utf-8").splitlines()
        films = tuple(_film(line) for line in lines)
        size = int(about["segmenter_size"])
        whole = (
            len(films) == about["finished"]
            and (folder / MAPS).stat().st_size == 2 * size * size * len(films)
            and (folder / TRUTHS).stat().st_size == TRUTH_BYTES * len(films)
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"the scores in {folder} are damaged ({error}); remove them") from error
    if not whole:
        raise DataError(f"the scores in {folder} are cut short; remove the folder and run again")
    return CascadeScores(folder, about, films)


def _film(line: str) -> ScoredFilm:
    values = json.loads(line)
    spacing = values["spacing_mm"]
    values["spacing_mm"] = None if spacing is None else (float(spacing[0]), float(spacing[1]))
    return ScoredFilm(**values)
