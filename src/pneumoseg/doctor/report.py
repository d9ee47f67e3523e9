"""What ``doctor`` found: as a value, as JSON, as a CSV of all images concerned, as a picture."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pneumoseg.doctor.findings import LEAKS, SEVERITIES, DataFinding
from pneumoseg.doctor.groups import Group
from pneumoseg.doctor.origin import TraceFigure
from pneumoseg.doctor.picture import draw_doctor
from pneumoseg.storage.result import write_csv, write_result, writing_results
from pneumoseg.writing.tables import printable

JSON_FILE, CSV_FILE = "doctor.json", "doctor.csv"
HEADER = ("severity", "code", "rank", "item", "detail")


@dataclass(frozen=True)
class DoctorReport:
    """What was found in a data set."""

    findings: tuple[DataFinding, ...]
    """Errors first."""
    groups: tuple[Group, ...]
    traces: tuple[TraceFigure, ...]
    counts: Mapping[str, int]
    """files, films, labelled, positive, patients, mask_rows, lesions."""
    sizes: Mapping[str, int]
    leaks_allowed: bool

    @property
    def leaks(self) -> tuple[DataFinding, ...]:
        """Findings for which the split is not to be trusted."""
        return tuple(found for found in self.findings if found.code in LEAKS)

    @property
    def refused(self) -> bool:
        """Whether the split is refused."""
        return bool(self.leaks) and not self.leaks_allowed

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON; the same data set gives the same bytes on every machine."""
        severities = Counter(found.severity for found in self.findings)
        return {
            "refused": self.refused,
            "leaks_allowed": self.leaks_allowed,
            "counts": dict(self.counts),
            "severities": {name: severities[name] for name in SEVERITIES},
            "findings": [found.as_dict() for found in self.findings],
            "groups": [asdict(group) for group in self.groups],
            "traces": [trace.as_dict() for trace in self.traces],
            "sizes": dict(self.sizes),
        }


def write_report(report: DoctorReport, folder: Path) -> None:
    """Write table and picture first: the JSON file stands for a finished examination.

    Raises:
        UsageError: the folder cannot be written to.
    """
    rows = [
        (found.severity, found.code, rank, printable(example.item), printable(example.detail))
        for found in report.findings
        for rank, example in enumerate(found.examples, start=1)
    ]
    with writing_results(folder):
        folder.mkdir(parents=True, exist_ok=True)
        write_csv(folder / CSV_FILE, HEADER, rows)
    write_result(folder, JSON_FILE, report.as_dict(), draw_doctor)
