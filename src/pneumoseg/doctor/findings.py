"""The words of ``pneumoseg doctor``: each finding's code, its severity, what to do about it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

Severity = Literal["error", "warning", "info"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "info")
"""error: figures or training would be wrong; warning: to be looked at; info: to be known."""
SHOWN_EXAMPLES = 10

LEAKS = ("patient-on-both-sides", "picture-on-both-sides")
"""Findings for which a split is refused."""

ADVICE: dict[str, tuple[Severity, str]] = {
    "patient-on-both-sides": (
        "error",
        "split by patient, not by film: `pneumoseg prepare` does; or leave these patients' films "
        "out of the training side",
    ),
    "picture-on-both-sides": (
        "error",
        "leave the copies out of the training side; give both files one patient_id",
    ),
    "patient-unknown": (
        "warning",
        "give patient_id in the table: without it each film counts as a patient of its own and a "
        "leak cannot be seen",
    ),
    "origin-confound": (
        "error",
        "take validation, calibration and every figure from the origin with the natural "
        "prevalence; take negatives for training from several origins; recompress in augmentation",
    ),
    "prevalence-by-origin": (
        "warning",
        "report figures for each side alone; what separates the sides also predicts the label",
    ),
    "label-from-traces": (
        "warning",
        "report the AUROC of the traces beside the network's: it is what can be had without "
        "looking at the chest",
    ),
    "prevalence-by-group": ("info", "report figures for each of these groups"),
    "conflict-empty-and-mask": (
        "error",
        "decide by looking: delete the -1 row, or the masks",
    ),
    "conflict-table-label": (
        "error",
        "decide by looking; the masks decide in `prepare` and `evaluate`",
    ),
    "conflict-same-picture": (
        "error",
        "one picture has one truth: decide by looking and keep one file",
    ),
    "silver-disagrees": (
        "info",
        "the other source may be wrong as well: read the films at the top of doctor.csv again",
    ),
    "duplicate-id": ("error", "keep one file of each image id"),
    "exact-duplicate": ("warning", "keep one file of each picture"),
    "near-duplicate": (
        "warning",
        "look at the pairs: copies after recompression, rescaling or mirroring, or one patient "
        "twice in a row; either belongs to one patient and one side",
    ),
    "image-without-label": (
        "warning",
        "they are left out of training and figures; an image without pneumothorax needs a row -1",
    ),
    "label-without-image": ("warning", "find the files, or give the folder that has them"),
    "id-scheme": ("error", "rename the ids in the CSV as suggested"),
    "csv-dialect": ("info", "nothing to do here; other programs may trip over it"),
    "bad-row": ("error", "correct the rows; `pneumoseg validate` lists each with its reason"),
    "runs-outside-grid": (
        "error",
        "say the grid that the masks were drawn on with --mask-grid, or correct the rows",
    ),
    "runs-of-another-grid": (
        "error",
        "the runs look as if drawn on another grid; say it with --mask-grid",
    ),
    "mask-grid-mismatch": (
        "error",
        "--mask-grid is the side of a square: give these films apart, with masks on their own grid",
    ),
    "several-rows": ("info", "the rows of an image are united; rows are not images, nor lesions"),
    "overlapping-annotations": ("info", "areas must be measured on the union, not row by row"),
    "mask-at-edge": ("info", "look whether the mask was cut or shifted"),
    "mask-outside-field": (
        "warning",
        "most of the mask lies in a bar without picture: look whether it was shifted or scaled",
    ),
    "unreadable": ("warning", "`pneumoseg predict` fails on these with the same codes"),
    "lateral-view": ("warning", "leave side views out: the weights know frontal views alone"),
    "empty-field": ("warning", "leave them out: there is nothing, or next to nothing, to see"),
    "inverted-polarity": (
        "warning",
        "look; correct PhotometricInterpretation or invert the file (1 − brightness)",
    ),
    "rotated": ("warning", "look; turn the file and its mask, or leave it out"),
    "cropped-field": (
        "info",
        "wide bars or a narrow field: look whether the lungs are all there",
    ),
    "odd-shape": (
        "info",
        "far from square: look whether it is a frontal chest film, whole and undistorted",
    ),
    "several-sizes": ("info", "films are letterboxed to one grid; say --mask-grid for masks"),
    "several-depths": ("info", "look whether files of few grey levels come from another chain"),
}
"""Every code with its severity and what to do about it."""


@dataclass(frozen=True)
class Example:
    """One image, patient, pair or line that a finding is about."""

    item: str
    detail: str = ""


@dataclass(frozen=True)
class DataFinding:
    """One thing that is wrong with, or should be known of, a data set."""

    code: str
    severity: Severity
    count: int
    """Of what ``what`` speaks of; may be larger than the list of examples, never smaller."""
    what: str
    """One sentence."""
    examples: tuple[Example, ...]
    """Worst first."""

    @property
    def advice(self) -> str:
        """What to do about it."""
        return ADVICE[self.code][1]

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON, with at most ``SHOWN_EXAMPLES`` examples."""
        shown = self.examples[:SHOWN_EXAMPLES]
        return {
            "code": self.code,
            "severity": self.severity,
            "count": self.count,
            "what": self.what,
            "examples": [f"{o.item} ({o.detail})" if o.detail else o.item for o in shown],
            "advice": self.advice,
        }


def finding(
    code: str,
    what: str,
    examples: Iterable[Example] = (),
    *,
    count: int | None = None,
    severity: Severity | None = None,
) -> DataFinding:
    """Make a finding with the severity of its code unless another is given."""
    listed = tuple(examples)
    return DataFinding(
        code, severity or ADVICE[code][0], len(listed) if count is None else count, what, listed
    )


def say(count: int, one: str, many: str) -> str:
    """Begin a sentence with a number: ``say(1, "film is", "films are")`` is «1 film is»."""
    return f"{count} {one if count == 1 else many}"


def by_severity(findings: Iterable[DataFinding]) -> tuple[DataFinding, ...]:
    """Sort: errors, warnings, infos; within each in the order of ``ADVICE``."""
    order = {code: place for place, code in enumerate(ADVICE)}
    return tuple(
        sorted(findings, key=lambda f: (SEVERITIES.index(f.severity), order[f.code], -f.count))
    )
