"""Every film read once, and reduced to the few numbers that ``doctor`` needs of it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from pneumoseg.doctor.duplicates import signature
from pneumoseg.doctor.findings import DataFinding, Example, finding, say
from pneumoseg.doctor.traces import measure_traces
from pneumoseg.doctor.upright import (
    INVERTED,
    POSITIONS,
    field_of,
    position,
    position_scores,
)
from pneumoseg.errors import InputError
from pneumoseg.reading import read
from pneumoseg.reading.siim_csv import strip_image_suffix

COARSE = 128
"""Side of the picture on which field and contrast are judged."""
FAINTEST_CONTRAST = 0.02
"""Standard deviation of brightness below which there is next to nothing to see."""
LEAST_FIELD = 0.6
"""Share of the picture that is field; below it a film is called cropped."""
ODD_ASPECT = 1.5
"""Ratio of the field's sides, either way; frontal films are nearly square."""
WHITEST = 65535
LARGEST_8_BIT = 256


@dataclass(frozen=True, eq=False)
class FilmFacts:
    """What is kept of a film.

    Attributes:
        path: of the file.
        image_id: the SOPInstanceUID, or the file's stem.
        patient_id: of a DICOM file; None elsewhere.
        view: ViewPosition of a DICOM file; None elsewhere.
        rows, cols: of the film.
        levels: number of distinct grey values, counted in 16 bits.
        digest: sha256 of shape and pixels.
        signature: see :func:`pneumoseg.doctor.duplicates.signature`.
        contrast: standard deviation of brightness.
        field: exposed field as shares of the film: top, bottom, left, right.
        positions: see :func:`pneumoseg.doctor.upright.position_scores`.
        traces: see :func:`pneumoseg.doctor.traces.measure_traces`.
    """

    path: Path
    image_id: str
    patient_id: str | None
    view: str | None
    rows: int
    cols: int
    levels: int
    digest: str
    signature: NDArray[np.float32]
    contrast: float
    field: tuple[float, float, float, float]
    positions: NDArray[np.float64]
    traces: NDArray[np.float64]

    @property
    def field_share(self) -> float:
        """Share of the film that is exposed field."""
        top, bottom, left, right = self.field
        return (bottom - top) * (right - left)

    @property
    def field_aspect(self) -> float:
        """Height of the field over its width."""
        top, bottom, left, right = self.field
        return (bottom - top) * self.rows / ((right - left) * self.cols)


@dataclass(frozen=True)
class Unread:
    """A file that gave no film, and why."""

    path: Path
    image_id: str
    code: str
    message: str


def measure_films(
    paths: Sequence[Path], workers: int, on_progress: Callable[[int, int], None] | None = None
) -> tuple[list[FilmFacts], list[Unread]]:
    """Read and measure every file, in the order given.

    Args:
        paths: files.
        workers: threads; decoding and OpenCV run beside each other.
        on_progress: called with (files done, files in all).
    """
    films: list[FilmFacts] = []
    unread: list[Unread] = []
    with ThreadPoolExecutor(workers) as pool:
        try:
            for done, result in enumerate(pool.map(_measure_or_say_why, paths), start=1):
                if isinstance(result, FilmFacts):
                    films.append(result)
                else:
                    unread.append(result)
                if on_progress is not None:
                    on_progress(done, len(paths))
        finally:
            pool.shutdown(cancel_futures=True)
    return films, unread


def _measure_or_say_why(path: Path) -> FilmFacts | Unread:
    try:
        return measure_film(path)
    except InputError as error:
        return Unread(path, strip_image_suffix(path.name), error.code, str(error))


def measure_film(path: Path) -> FilmFacts:
    """Read one file and measure it.

    Raises:
        InputError: the file cannot be used; see :mod:`pneumoseg.reading`.
    """
    image = read(path)
    pixels = image.pixels
    rows, cols = pixels.shape
    stored = np.rint(pixels * np.float32(WHITEST)).astype(np.uint16)
    resized = cv2.resize(pixels, (COARSE, COARSE), interpolation=cv2.INTER_AREA)
    small = np.asarray(resized, dtype=np.float32)
    top, bottom, left, right = field_of(small)
    return FilmFacts(
        path=path,
        image_id=image.source.image_id,
        patient_id=image.source.patient_id,
        view=image.source.view_position,
        rows=rows,
        cols=cols,
        levels=int(np.count_nonzero(np.bincount(stored.ravel(), minlength=WHITEST + 1))),
        digest=hashlib.sha256(np.array(stored.shape).tobytes() + stored.tobytes()).hexdigest(),
        signature=signature(pixels),
        contrast=float(small.std()),
        field=(top / COARSE, bottom / COARSE, left / COARSE, right / COARSE),
        positions=position_scores(small[top:bottom, left:right]),
        traces=measure_traces(pixels, path.stat().st_size),
    )


def image_findings(films: Sequence[FilmFacts], unread: Sequence[Unread]) -> list[DataFinding]:
    """What is wrong with single pictures: unread, empty, cropped, inverted, turned, odd."""
    found = _unread_findings(unread)
    empty = sorted((f for f in films if f.contrast < FAINTEST_CONTRAST), key=lambda f: f.contrast)
    constant = [u for u in unread if u.code == "constant-image"]
    listed = [Example(u.image_id, "every pixel is the same") for u in constant]
    listed += [Example(f.image_id, f"contrast {f.contrast:.3f}") for f in empty]
    if listed:
        found.append(
            finding(
                "empty-field",
                say(len(listed), "picture shows", "pictures show") + " nothing",
                listed,
            )
        )
    found += _position_findings([film for film in films if film.contrast >= FAINTEST_CONTRAST])
    cropped = sorted((f for f in films if f.field_share < LEAST_FIELD), key=lambda f: f.field_share)
    if cropped:
        many = say(len(cropped), "picture", "pictures")
        what = f"in {many} the film fills less than {LEAST_FIELD:.0%}"
        details = [Example(f.image_id, f"{f.field_share:.0%} is film") for f in cropped]
        found.append(finding("cropped-field", what, details))
    odd = [f for f in films if not 1 / ODD_ASPECT <= f.field_aspect <= ODD_ASPECT]
    if odd:
        odd.sort(key=lambda f: -max(f.field_aspect, 1 / f.field_aspect))
        details = [Example(f.image_id, f"height {f.field_aspect:.2f} × width") for f in odd]
        found.append(
            finding(
                "odd-shape", say(len(odd), "film is", "films are") + " far from square", details
            )
        )
    return found + _size_findings(films)


def _unread_findings(unread: Sequence[Unread]) -> list[DataFinding]:
    found = []
    lateral = [u for u in unread if u.code == "lateral-view"]
    others = [u for u in unread if u.code not in ("lateral-view", "constant-image")]
    if lateral:
        what = say(len(lateral), "file is a side view", "files are side views") + " by tags"
        found.append(
            finding("lateral-view", what, [Example(u.path.name, u.message) for u in lateral])
        )
    if others:
        reasons = sorted({u.code for u in others})
        what = say(len(others), "file", "files") + f" cannot be read ({', '.join(reasons)})"
        listed = [Example(u.path.name, u.code) for u in sorted(others, key=lambda u: u.code)]
        found.append(finding("unreadable", what, listed))
    return found


def _position_findings(films: Sequence[FilmFacts]) -> list[DataFinding]:
    placed = [(position(film.positions), film) for film in films]
    placed.sort(key=lambda pair: float(pair[1].positions[0] - pair[1].positions.max()))
    found = []
    for code, what, positions in (
        ("inverted-polarity", "inverted (air white)", (INVERTED,)),
        ("rotated", "turned", tuple(range(1, INVERTED))),
    ):
        listed = [
            Example(
                film.image_id,
                f"{POSITIONS[k]}: {film.positions[k]:.2f} against {film.positions[0]:.2f} upright",
            )
            for k, film in placed
            if k in positions
        ]
        if listed:
            found.append(
                finding(
                    code,
                    f"{say(len(listed), 'film', 'films')} to be looked at: {what}, by content",
                    listed,
                )
            )
    return found


def _size_findings(films: Sequence[FilmFacts]) -> list[DataFinding]:
    found = []
    sizes = sizes_of(films)
    if len(sizes) > 1:
        listed = [Example(size, f"{count} films") for size, count in sizes.items()]
        what = f"the films have {len(sizes)} sizes"
        found.append(finding("several-sizes", what, listed))
    coarse = [film for film in films if film.levels <= LARGEST_8_BIT]
    if coarse and len(coarse) < len(films):
        what = (
            f"{len(coarse)} films have at most {LARGEST_8_BIT} grey levels (8 bits), "
            f"{len(films) - len(coarse)} have more"
        )
        minority = min(coarse, [f for f in films if f.levels > LARGEST_8_BIT], key=len)
        listed = [Example(film.image_id, f"{film.levels} levels") for film in minority]
        found.append(finding("several-depths", what, listed))
    return found


def sizes_of(films: Sequence[FilmFacts]) -> dict[str, int]:
    """Count the films of each size, ``"rows×cols"``, most frequent first."""
    counts: dict[str, int] = {}
    for film in films:
        size = f"{film.rows}×{film.cols}"
        counts[size] = counts.get(size, 0) + 1
    return dict(sorted(counts.items(), key=lambda pair: (-pair[1], pair[0])))
