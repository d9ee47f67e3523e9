"""``pneumoseg doctor``: what is wrong with a data set, before anyone trains on it.

Read :func:`run_doctor` downwards. Films are read once, one at a time; tables are read whole. What
is found goes to ``doctor.json``, every image concerned to ``doctor.csv``, and a picture is drawn
from the JSON alone. A split with a patient or a picture on both sides is refused unless leaks are
allowed; :func:`pneumoseg.dataset.splits.check_disjoint` refuses the same of a prepared cache,
knowing patients but not pictures.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from pneumoseg.doctor import ids
from pneumoseg.doctor.duplicates import exact_groups, near_pairs
from pneumoseg.doctor.findings import (
    LEAKS,
    DataFinding,
    Example,
    by_severity,
    finding,
    say,
)
from pneumoseg.doctor.groups import Case, copies, groups_of, patient_leaks, prevalence_findings
from pneumoseg.doctor.images import (
    FilmFacts,
    Unread,
    image_findings,
    measure_films,
    sizes_of,
)
from pneumoseg.doctor.labels import (
    LABEL_COLUMNS,
    Masks,
    label_of_cell,
    measure_masks,
    picture_conflicts,
    table_conflicts,
)
from pneumoseg.doctor.mask_table import read_mask_table
from pneumoseg.doctor.origin import TracedFilm, TraceFigure, trace_figures
from pneumoseg.doctor.report import DoctorReport, write_report
from pneumoseg.errors import DataError, UsageError
from pneumoseg.reading import walk
from pneumoseg.reading.dicom.file import LATERAL_VIEWS
from pneumoseg.reading.siim_csv import read_columns, read_table, strip_image_suffix
from pneumoseg.settings import at_least

SILVER_COLUMN = "silver_probability"
SILVER_POSITIVE = 0.5


@dataclass(frozen=True)
class DoctorSettings:
    """The data set to examine, and what is known about it."""

    images: tuple[Path, ...]
    """Files and folders of films, given without a flag: DICOM, PNG, JPEG, WebP, TIFF."""
    masks: Path | None = None
    """SIIM CSV of the masks (columns ImageId and EncodedPixels)."""
    mask_grid: int | None = None
    """Side of the square grid the run lengths were written on, where it is not the films' own."""
    table: Path | None = None
    """CSV with image_id and, each optional, patient_id, view, age, sex, a label and a split."""
    label_column: str = ""
    """The table's column of labels; empty takes «pneumothorax» or «label» where there is one."""
    split_column: str | None = None
    """The table's column that says where a film comes from or which side of a split it is on."""
    train: tuple[str, ...] = ()
    """Words of that column that are trained on; by default every word is a side of its own."""
    test: tuple[str, ...] = ()
    """Words of that column that are measured on."""
    silver: tuple[Path, ...] = ()
    """CSVs with image_id and silver_probability: a model's labels, compared and never trusted."""
    out: Path = Path("outputs/doctor")
    """Folder for doctor.json, doctor.csv and doctor.png."""
    allow_leaks: bool = False
    """Report a leaky split as a warning instead of refusing it."""
    workers: int = 2
    """Threads that read films."""
    seed: int = 0
    """Of the folds and intervals of the figures on traces."""

    def __post_init__(self) -> None:
        if not self.images:
            raise UsageError("no file or folder was given; name at least one")
        at_least("mask_grid", self.mask_grid, 1, "pixels")
        at_least("workers", self.workers, 1)
        at_least("seed", self.seed, 0)
        if (self.split_column or self.label_column) and self.table is None:
            raise UsageError("--split-column and --label-column name columns of --table; give it")
        if (self.train or self.test) and self.split_column is None:
            raise UsageError("--train and --test are words of a column; give --split-column")
        if bool(self.train) != bool(self.test):
            raise UsageError("--train and --test go together; give both or neither")
        if both := set(self.train) & set(self.test):
            raise UsageError(f"{min(both)!r} is given as --train and as --test; it is one of them")


def run_doctor(
    settings: DoctorSettings, *, on_progress: Callable[[int, int], None] | None = None
) -> DoctorReport:
    """Examine a data set and write what was found.

    Writes ``doctor.json``, ``doctor.csv`` and ``doctor.png`` into ``settings.out``.

    Args:
        settings: what to examine.
        on_progress: called with (files read, files in all).

    Returns:
        The report. A leaky split is in ``refused``, not an exception: the report is the point.

    Raises:
        UsageError: a file or folder is missing or cannot be written.
        DataError: a table lacks a column or contradicts itself; no film can be read.
    """
    rows = None if settings.masks is None else read_mask_table(settings.masks)
    table = {} if settings.table is None else read_table(settings.table)
    label_column = _label_column(settings, table)
    sides_of_word = _sides(settings, table)
    silver = _read_silver(settings.silver)
    paths = list(walk(settings.images))
    films, unread = measure_films(paths, settings.workers, on_progress)
    if not films:
        raise _nothing_to_read(paths, unread)

    found, films = _one_film_an_id(films)
    found += image_findings(films, unread)
    by_id = {film.image_id: film for film in films}
    masks = Masks() if rows is None else measure_masks(rows, by_id, settings.mask_grid)
    found += masks.findings
    table_labels = _table_labels(table, label_column)
    drawn = {i: facts.label for i, facts in masks.images.items()}
    labels = table_labels | {i: label for i, label in drawn.items() if label is not None}
    found += _id_findings(films, masks, table, silver, labels)
    found += table_conflicts(masks.images, table_labels, label_column)
    found += _silver_findings(silver, labels)
    found += _lateral_findings(table, by_id)
    cases = [_case(film, table, labels, settings.split_column, sides_of_word) for film in films]
    sides = tuple(dict.fromkeys(sides_of_word.values()))
    exact = exact_groups([film.digest for film in films])
    near = near_pairs(np.stack([film.signature for film in films]))
    found += picture_conflicts([[films[k] for k in g] for g in exact], labels)
    found += copies(cases, exact, near)
    found += patient_leaks(cases, sides)
    traces = _traces(cases, sides, settings.seed)
    groups = groups_of(cases, settings.split_column)
    words = tuple(sides_of_word)
    found += prevalence_findings(groups, settings.split_column, words, traces)

    report = DoctorReport(
        findings=by_severity(_allowed(found) if settings.allow_leaks else found),
        groups=groups,
        traces=traces,
        counts={
            "files": len(paths),
            "films": len(films),
            "labelled": sum(case.label is not None for case in cases),
            "positive": sum(case.label is True for case in cases),
            "patients": len({case.patient for case in cases if case.patient is not None}),
            "mask_rows": sum(facts.rows for facts in masks.images.values()),
            "lesions": sum(facts.lesions or 0 for facts in masks.images.values()),
        },
        sizes=sizes_of(films),
        leaks_allowed=settings.allow_leaks,
    )
    write_report(report, settings.out)
    return report


def _label_column(settings: DoctorSettings, table: Mapping[str, Mapping[str, str]]) -> str:
    columns = list(next(iter(table.values()), {}))
    for column in (settings.label_column, settings.split_column):
        if column and column not in columns:
            raise DataError(
                f"{settings.table} has no column {column!r}; it has {', '.join(columns) or 'none'}"
            )
    known = [name for name in LABEL_COLUMNS if name in columns]
    return settings.label_column or (known[0] if known else "")


def _sides(settings: DoctorSettings, table: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    """Word of the split column -> name of its side; empty where no split is to be judged."""
    column = settings.split_column
    if column is None:
        return {}
    words = sorted({row[column] for row in table.values()} - {""})
    for word in settings.train + settings.test:
        if word not in words:
            raise DataError(
                f"the column {column} of {settings.table} has no {word!r}; "
                f"it has {', '.join(words[:8]) or 'nothing'}"
            )
    if not settings.train:
        return {word: word for word in words}
    train, test = " + ".join(settings.train), " + ".join(settings.test)
    return dict.fromkeys(settings.train, train) | dict.fromkeys(settings.test, test)


def _read_silver(paths: Sequence[Path]) -> dict[str, float]:
    """Image id -> a model's probability; the first CSV that names an image counts."""
    silver: dict[str, float] = {}
    for path in paths:
        for line, (name, text) in read_columns(path, ("image_id", SILVER_COLUMN)):
            try:
                value = float(text)
            except ValueError:
                value = -1.0
            if not 0.0 <= value <= 1.0:
                raise DataError(
                    f"{path}, line {line}: {SILVER_COLUMN} must be a number from 0 to 1, "
                    f"got {text!r}"
                )
            silver.setdefault(strip_image_suffix(name), value)
    return silver


def _nothing_to_read(paths: Sequence[Path], unread: Sequence[Unread]) -> DataError:
    if not paths:
        return DataError("the folders given are empty; give the folder of the films")
    first = unread[0]
    return DataError(
        f"none of the {len(paths)} files can be read as a film; the first is {first.path}: "
        f"{first.message}"
    )


def _one_film_an_id(films: list[FilmFacts]) -> tuple[list[DataFinding], list[FilmFacts]]:
    """Keep the first file of each image id; the others are a finding."""
    first: dict[str, FilmFacts] = {}
    listed = []
    for film in films:
        if first.setdefault(film.image_id, film) is not film:
            kept = first[film.image_id]
            same = "the same picture" if kept.digest == film.digest else "another picture"
            listed.append(Example(film.image_id, f"{film.path.name}: {same} as {kept.path.name}"))
    what = (
        say(len(listed), "file has", "files have")
        + " the image id of an earlier file; only that one is looked at"
    )
    return [finding("duplicate-id", what, listed)] if listed else [], list(first.values())


def _table_labels(table: Mapping[str, Mapping[str, str]], column: str) -> dict[str, bool]:
    if not column:
        return {}
    labels = {i: label_of_cell(row[column]) for i, row in table.items()}
    return {i: label for i, label in labels.items() if label is not None}


def _id_findings(
    films: Sequence[FilmFacts],
    masks: Masks,
    table: Mapping[str, Mapping[str, str]],
    silver: Mapping[str, float],
    labels: Mapping[str, bool],
) -> list[DataFinding]:
    """A film is labelled by its mask, else by the table, else by another source."""
    names = [ids.FilmNames(f.image_id, strip_image_suffix(f.path.name)) for f in films]
    labelled = set(masks.images) or set(labels)
    return ids.id_findings(
        names, labelled | set(silver), table, labels_given=bool(labelled or silver)
    )


def _silver_findings(silver: Mapping[str, float], labels: Mapping[str, bool]) -> list[DataFinding]:
    both = [(abs(silver[i] - labels[i]), i) for i in sorted(silver.keys() & labels.keys())]
    wrong = [(d, i) for d, i in both if (silver[i] >= SILVER_POSITIVE) is not labels[i]]
    wrong.sort(key=lambda pair: -pair[0])
    listed = [
        Example(i, f"{'positive' if labels[i] else 'negative'}, but {silver[i]:.3f}")
        for _, i in wrong
    ]
    what = f"another source of labels disagrees on {len(wrong)} of {len(both)} labelled images"
    return [finding("silver-disagrees", what, listed)] if listed else []


def _lateral_findings(
    table: Mapping[str, Mapping[str, str]], films: Mapping[str, FilmFacts]
) -> list[DataFinding]:
    """Side views by the table; those by a file's own tags are refused when it is read."""
    listed = [
        Example(i, f"view {row['view']} in the table")
        for i, row in table.items()
        if i in films and row.get("view", "").upper() in LATERAL_VIEWS
    ]
    what = say(len(listed), "film is a side view", "films are side views") + " by the table"
    return [finding("lateral-view", what, listed)] if listed else []


def _case(
    film: FilmFacts,
    table: Mapping[str, Mapping[str, str]],
    labels: Mapping[str, bool],
    split_column: str | None,
    sides: Mapping[str, str],
) -> Case:
    facts = table.get(film.image_id, {})
    side = None if split_column is None else sides.get(facts.get(split_column, ""))
    patient = facts.get("patient_id") or film.patient_id
    return Case(film, patient, labels.get(film.image_id), side, facts)


def _traces(cases: Sequence[Case], sides: Sequence[str], seed: int) -> tuple[TraceFigure, ...]:
    """Two sides are told apart; of more sides none is."""
    films = [TracedFilm(c.film.traces, c.patient or c.image_id, c.label, c.side) for c in cases]
    return trace_figures(films, (sides[0], sides[1]) if len(sides) == 2 else None, seed)


def _allowed(found: Sequence[DataFinding]) -> list[DataFinding]:
    """Leaks as warnings, because they were allowed."""
    return [replace(f, severity="warning") if f.code in LEAKS else f for f in found]
