"""Groups the DICOM files that were found into CT volumes: by series, and series by what differs.

What comes with every examination and is no volume (localizers, dose reports, secondary captures) is
left aside and counted in the notes of the volumes of the same study.
"""

from __future__ import annotations

import filecmp
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pneumoseg.errors import InputError
from pneumoseg.reading.ct.header import (
    CAPTURE,
    LOCALIZER,
    REPORT,
    SPLITTING,
    CtFile,
    SliceHeader,
)
from pneumoseg.reading.ct.slices import open_frames, read_slice
from pneumoseg.reading.ct.stack import SAME_POSITION_MM, projections

SCOUT_IMAGES = 2
"""So many slices across the others, or alone in their series, are scouts that are not marked."""
_REFUSED_ALONE = {
    LOCALIZER: ("localizer", "these are localizers (scouts); give the axial slices of the study"),
    REPORT: ("not-an-image", "this DICOM object holds no slices; give the CT images themselves"),
    CAPTURE: ("not-ct", "this is a secondary capture, a picture of a screen; give the CT slices"),
}


@dataclass(frozen=True)
class Part:
    """The slices of one volume, in any order.

    Attributes:
        slices: their headers.
        series_instance_uid: empty where missing.
        number: 1, 2, ... where the series holds several volumes, else 0.
        label: the attribute and its value by which the series was split; None where it was not.
        notes: what was found, one sentence each.
    """

    slices: tuple[SliceHeader, ...]
    series_instance_uid: str
    number: int
    label: tuple[str, str] | None
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Refused:
    """A series, or files of one, that cannot be used, and why."""

    paths: tuple[Path, ...]
    code: str
    message: str


def parts_of(files: Sequence[CtFile]) -> Iterator[Part | Refused]:
    """Group files into volumes, series in the order in which they were first met.

    Files without SeriesInstanceUID are one series with the others of their folder.
    """
    studies: dict[str, dict[str, list[CtFile]]] = {}
    for file in files:
        folder = str(file.path.parent)
        series = studies.setdefault(file.study_instance_uid or folder, {})
        series.setdefault(file.series_instance_uid or folder, []).append(file)
    for study in studies.values():
        yield from _parts_of_study(list(study.values()))


def _parts_of_study(study: list[list[CtFile]]) -> Iterator[Part | Refused]:
    aside: Counter[str] = Counter()
    volumes: list[tuple[list[CtFile], list[SliceHeader]]] = []
    for series in study:
        aside.update(file.aside for file in series if file.aside)
        slices, scouts = _without_scouts([one for file in series for one in file.slices])
        aside.update({LOCALIZER: scouts})
        if slices:
            volumes.append((series, slices))
    left_out = tuple(
        f"left out of the study: {count} {kind}{'' if count == 1 else 's'}"
        for kind, count in sorted(aside.items())
        if count
    )
    for series, slices in volumes:
        yield from _parts_of_series(series[0].series_instance_uid, slices, left_out)
    for series in study:
        yield from _others(series, bool(volumes))


def _without_scouts(slices: list[SliceHeader]) -> tuple[list[SliceHeader], int]:
    across = [one for one in slices if not one.is_axial()]
    if not 0 < len(across) <= SCOUT_IMAGES:
        return slices, 0
    return [one for one in slices if one.is_axial()], len(across)


def _others(series: list[CtFile], has_volume: bool) -> Iterator[Refused]:
    """What a series holds beside slices; what was left aside only where the study has no volume."""
    for modality in dict.fromkeys(file.modality for file in series if file.modality):
        paths = tuple(file.path for file in series if file.modality == modality)
        yield Refused(
            paths,
            "not-ct",
            f"{_count(len(paths))} of modality {modality!r}; a chest CT is expected",
        )
    if has_volume:
        return
    scouts = [file for file in series if any(not one.is_axial() for one in file.slices)]
    for kind, (code, message) in _REFUSED_ALONE.items():
        found = [file for file in series if file.aside == kind]
        found += scouts if kind == LOCALIZER else []
        if found:
            yield Refused(tuple(file.path for file in found), code, message)


def _count(files: int) -> str:
    return "this is an image" if files == 1 else f"these are {files} images"


def _parts_of_series(
    uid: str, slices: list[SliceHeader], left_out: tuple[str, ...]
) -> Iterator[Part | Refused]:
    notes = list(left_out)
    if not uid:
        notes.append("SeriesInstanceUID is missing: the files of a folder are taken for one series")
    try:
        slices = _without_copies(slices, notes)
        split = _split(slices)
        if split is None:
            slices = _without_twins(slices, notes)
    except InputError as error:
        yield Refused(tuple(one.path for one in slices), error.code, str(error))
        return
    if split is None:
        yield Part(tuple(slices), uid, 0, None, tuple(notes))
        return
    keyword, groups = split
    for number, (value, group) in enumerate(groups, start=1):
        is_shown = keyword != "SOPInstanceUID" and value.isprintable()
        which = f"{keyword} {value[:32]!r}" if is_shown else keyword
        note = f"volume {number} of {len(groups)} in this series, told apart by {which}"
        yield Part(tuple(group), uid, number, (keyword, value), (*notes, note))


def _without_copies(slices: list[SliceHeader], notes: list[str]) -> list[SliceHeader]:
    """Leave out files that are byte for byte copies of others."""
    kept: dict[tuple[str, int | None], list[SliceHeader]] = {}
    copies: set[Path] = set()
    for one in slices:
        if one.path in copies:
            continue
        known = kept.setdefault((one.sop_instance_uid, one.frame), [])
        if one.sop_instance_uid and any(_is_copy(one.path, other.path) for other in known):
            copies.add(one.path)
        else:
            known.append(one)
    if copies:
        notes.append(f"left out: {len(copies)} copies of files of this series")
    return [one for one in slices if one.path not in copies]


def _is_copy(path: Path, other: Path) -> bool:
    try:
        return path != other and filecmp.cmp(path, other, shallow=False)
    except OSError as error:
        raise InputError(
            f"{path.name}: the file cannot be opened: {error.strerror or error}", code="unreadable"
        ) from error


def _most_at_one_place(slices: Sequence[SliceHeader]) -> int:
    """How many slices lie at the same place, at most; 1 where places are unknown."""
    places = projections(slices)
    if places is None or len(slices) < 2:
        return 1
    is_new = np.diff(np.sort(places)) >= SAME_POSITION_MM
    return int(np.bincount(np.concatenate([[0], np.cumsum(is_new)])).max())


def _split(
    slices: list[SliceHeader],
) -> tuple[str, list[tuple[str, list[SliceHeader]]]] | None:
    """Split a series whose slices lie several at one place, by the first attribute that does it.

    It must give as many volumes as slices lie at one place, and none with two of them there; so a
    time that differs with every slice does not count.
    """
    most = _most_at_one_place(slices)
    if most == 1:
        return None
    for at, keyword in enumerate(SPLITTING):
        groups: dict[str, list[SliceHeader]] = {}
        for one in slices:
            groups.setdefault(one.labels[at], []).append(one)
        if len(groups) == most and all(_most_at_one_place(g) == 1 for g in groups.values()):
            return keyword, sorted(groups.items(), key=lambda item: _rank(item[0]))
    return None


def _rank(value: str) -> tuple[float, str]:
    """Numbers by value, then words."""
    try:
        return float(value), value
    except ValueError:
        return float("inf"), value


def _without_twins(slices: list[SliceHeader], notes: list[str]) -> list[SliceHeader]:
    """Leave out slices that show the same at the same place, under another UID.

    Slices that show something else there are kept, and refused when they are put in order.
    """
    if _most_at_one_place(slices) == 1:
        return slices
    places = projections(slices)
    if places is None:
        return slices
    frames = open_frames(tuple(slices))
    kept: list[SliceHeader] = []
    last_place = -np.inf
    for at in np.argsort(places, kind="stable"):
        one = slices[int(at)]
        is_twin = places[at] - last_place < SAME_POSITION_MM and np.array_equal(
            read_slice(kept[-1], frames, []), read_slice(one, frames, [])
        )
        if not is_twin:
            kept.append(one)
            last_place = places[at]
    if len(kept) < len(slices):
        notes.append(
            f"left out: {len(slices) - len(kept)} duplicate slices, the same in all voxels"
        )
    return kept
