"""``pneumoseg validate``: is a CSV of predictions what it says, and which rows are not?

Both kinds that ``predict`` writes are known, by their header: one row an image
(``predictions_aggregated.csv``, a submission to the challenge) and one row a lesion
(``predictions_split.csv``). CT has the same files, one image a slice.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pneumoseg.doctor import validate_rows
from pneumoseg.doctor.mask_table import MaskTable, read_mask_table
from pneumoseg.doctor.validate_rows import PROBLEM_CODES, Problem, Rows, Sizes
from pneumoseg.errors import DataError, InputError, UsageError
from pneumoseg.plots import ACCENT, add_axes, new_sheet, save_png
from pneumoseg.reading import read, walk
from pneumoseg.reading.siim_csv import read_columns, strip_image_suffix
from pneumoseg.settings import at_least
from pneumoseg.storage.result import write_csv, write_result, writing_results
from pneumoseg.writing.tables import SPLIT_HEADER, printable

AGGREGATED, SPLIT = "aggregated", "split"
JSON_FILE, CSV_FILE = "validate.json", "validate.csv"
HEADER = ("line", "image_id", "code", "message")


@dataclass(frozen=True)
class ValidateSettings:
    """Which CSV to check, and what is known about its images."""

    file: Path
    """CSV of predictions: one row an image, or one row a lesion."""
    images: Path | None = None
    """Folder of the films the CSV speaks of: gives the expected ids and each film's own grid."""
    sizes: Path | None = None
    """CSV with image_id, rows, cols, where the films are not at hand."""
    grid: int | None = None
    """Side of the square grid of all images; 1024 for the challenge."""
    ids: Path | None = None
    """CSV with a column image_id (or ImageId): every image of it must have a row, no other may."""
    pair: Path | None = None
    """The other CSV of the same run: the union of an image's lesions must be its united row."""
    slices: bool = False
    """The images are CT slices: a lesion keeps its number in all of its slices."""
    out: Path | None = None
    """Folder for validate.json, validate.csv and validate.png; by default nothing is written."""
    shown: int = 20
    """How many wrong rows are listed at the terminal."""

    def __post_init__(self) -> None:
        given = [name for name in ("images", "sizes", "grid") if getattr(self, name) is not None]
        if len(given) > 1:
            raise UsageError(
                f"--{given[0]} and --{given[1]} both say how large the images are; give one"
            )
        at_least("grid", self.grid, 1, "pixels")
        at_least("shown", self.shown, 0, "rows")


@dataclass(frozen=True)
class ValidationReport:
    """What was found; ``problems`` is empty for a valid file."""

    file: str
    """The file's name."""
    kind: str
    """``aggregated`` (one row an image) or ``split`` (one row a lesion)."""
    rows: int
    images: int
    problems: tuple[Problem, ...]
    """By line; what is about no line of the file comes first."""
    not_checked: tuple[str, ...]
    """What could not be checked for want of ids, sizes or the other CSV, one sentence each."""
    notes: tuple[str, ...]
    """What is tolerated but not the challenge's plain form, one sentence each."""

    @property
    def is_valid(self) -> bool:
        """Whether nothing is wrong as far as it was checked."""
        return not self.problems

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        codes = Counter(problem.code for problem in self.problems)
        counts = {code: codes[code] for code in PROBLEM_CODES if codes[code]}
        return {"valid": self.is_valid, "counts": counts} | asdict(self)


def run_validate(
    settings: ValidateSettings, *, on_progress: Callable[[int, int], None] | None = None
) -> ValidationReport:
    """Check a CSV of predictions row by row.

    Args:
        settings: what to check.
        on_progress: called with (films read, films in all) while the films' sizes are read.

    Raises:
        UsageError: a file or folder is missing or cannot be written.
        DataError: not a CSV of predictions at all; a table of ids or sizes is malformed; the two
            CSVs of a pair are of one kind.
    """
    table = read_mask_table(settings.file)
    if not table.rows and not table.wrong_width:
        raise DataError(f"{settings.file} has a header but no rows; expected one or more an image")
    kind = _kind(table)
    other = None if settings.pair is None else _read_pair(settings.pair, kind)
    ids = None if settings.ids is None else _read_ids(settings.ids)
    sizes = _sizes(settings, table.rows, on_progress)
    if ids is not None and sizes is not None and settings.grid is None:
        _check_covered(settings, ids, sizes)
    expected = ids
    if ids is None and settings.images is not None and sizes is not None:
        expected = frozenset(sizes)
    known = expected
    if known is None and settings.sizes is not None and sizes is not None:
        known = frozenset(sizes)
    problems = [
        Problem(line, "", "wrong-width", f"expected {len(table.header)} cells as in the header")
        for line in table.wrong_width
    ]
    problems += validate_rows.check_ids(table.rows, expected, known)
    problems += validate_rows.check_runs(table.rows, sizes)
    if kind == SPLIT:
        problems += validate_rows.check_split(table.rows, slices=settings.slices)
    else:
        problems += validate_rows.check_aggregated(table.rows)
    if other is not None:
        problems += validate_rows.check_pair(table.rows, other.rows, other.path.name)
    report = ValidationReport(
        file=settings.file.name,
        kind=kind,
        rows=len(table.rows),
        images=len({row.image_id for row in table.rows}),
        problems=tuple(sorted(problems, key=lambda problem: problem.line)),
        not_checked=_not_checked(settings),
        notes=table.dialect if kind == AGGREGATED else (),
    )
    if settings.out is not None:
        _write(report, settings.out)
    return report


def _kind(table: MaskTable) -> str:
    if "lesion" not in table.header:
        return AGGREGATED
    lacking = [name for name in SPLIT_HEADER[2:] if table.header.count(name) != 1]
    if lacking:
        raise DataError(
            f"{table.path} has a column lesion but not {', '.join(lacking)}; one row a lesion is "
            f"written with the header {','.join(SPLIT_HEADER)}"
        )
    return SPLIT


def _read_pair(path: Path, kind: str) -> MaskTable:
    other = read_mask_table(path)
    if _kind(other) == kind:
        raise DataError(
            f"{path} is of the same kind ({kind}) as the file to check; give the other CSV of the "
            "run: predictions_aggregated.csv and predictions_split.csv are a pair"
        )
    return other


def _read_ids(path: Path) -> frozenset[str]:
    ids = frozenset(strip_image_suffix(name) for _, (name,) in read_columns(path, ("image_id",)))
    if not ids:
        raise DataError(f"{path} has a header but no rows; expected the ids of the images")
    return ids


def _sizes(
    settings: ValidateSettings, rows: Rows, on_progress: Callable[[int, int], None] | None
) -> Sizes | None:
    """Rows and columns of each image; None where nothing says them."""
    if settings.grid is not None:
        return {row.image_id: (settings.grid, settings.grid) for row in rows}
    if settings.sizes is not None:
        return _read_sizes(settings.sizes)
    if settings.images is None:
        return None
    paths = list(walk([settings.images]))
    sizes = {}
    for done, path in enumerate(paths, start=1):
        try:
            image = read(path)
        except InputError:
            continue  # predict has no row for it either; its id would be unknown if there were one
        sizes[image.source.image_id] = (image.shape[0], image.shape[1])
        if on_progress is not None:
            on_progress(done, len(paths))
    if not sizes:
        raise DataError(f"no film of {settings.images} can be read; give the folder of the films")
    return sizes


def _check_covered(settings: ValidateSettings, ids: frozenset[str], sizes: Sizes) -> None:
    """Refuse to pass runs in silence because their image's size is not known."""
    lacking = ids - frozenset(sizes)
    if lacking:
        raise DataError(
            f"{settings.images or settings.sizes} does not say the size of {len(lacking)} of the "
            f"{len(ids)} images of {settings.ids} (the first is {min(lacking)})"
        )


def _read_sizes(path: Path) -> dict[str, tuple[int, int]]:
    sizes = {}
    for line, (name, rows, cols) in read_columns(path, ("image_id", "rows", "cols")):
        try:
            size = int(rows), int(cols)
        except ValueError:
            size = 0, 0
        if min(size) < 1:
            raise DataError(
                f"{path}, line {line}: rows and cols must be whole numbers of 1 or more, "
                f"got {rows!r} and {cols!r}"
            )
        sizes[strip_image_suffix(name)] = size
    return sizes


def _not_checked(settings: ValidateSettings) -> tuple[str, ...]:
    left = []
    if settings.ids is None and settings.images is None:
        left.append("which images must have a row: give --ids or --images")
    if settings.images is None and settings.sizes is None and settings.grid is None:
        left.append("whether runs fit their image: give --images, --sizes or --grid")
    if settings.pair is None:
        left.append("whether both CSVs of the run say the same: give --pair")
    return tuple(left)


def _write(report: ValidationReport, folder: Path) -> None:
    """Write the table first: the JSON file stands for a finished check."""
    rows = [
        (problem.line or "", printable(problem.image_id), problem.code, printable(problem.message))
        for problem in report.problems
    ]
    with writing_results(folder):
        folder.mkdir(parents=True, exist_ok=True)
        write_csv(folder / CSV_FILE, HEADER, rows)
    write_result(folder, JSON_FILE, report.as_dict(), draw_validation)


def draw_validation(facts: dict[str, Any], path: Path) -> None:
    """Draw how many rows have which trouble.

    Args:
        facts: content of ``validate.json``.
        path: PNG to write.
    """
    counts: dict[str, int] = facts["counts"]
    sheet = new_sheet(7.0, 1.6 + 0.3 * max(1, len(counts)))
    count = f"{len(facts['problems'])} problems" if counts else "no problem"
    title = f"{facts['file']}: {count} in {facts['rows']} rows of {facts['images']} images"
    axes = add_axes(sheet, (1, 1, 1), title)
    names = list(counts)[::-1]
    bars = axes.barh(names, [counts[name] for name in names], color=ACCENT)
    axes.bar_label(bars, padding=3)
    axes.set_xlabel("problems")
    axes.spines[["top", "right"]].set_visible(False)
    if not counts:
        axes.set_axis_off()
    save_png(sheet, path)
