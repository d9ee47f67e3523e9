"""What an audit leaves behind: a JSON file, and a picture made from that file.

Every audit says what it found in the same form: panels of figures, each with its n and interval,
and sentences that say in words what the figures mean.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pneumoseg.plots import ACCENT, FAINT, INK, new_sheet, save_png
from pneumoseg.statistics.estimate import CELLS, Estimate
from pneumoseg.statistics.resampling import CONFIDENCE
from pneumoseg.storage.result import write_result

CHANCE = 0.5
_ROW_INCHES, _PANEL_INCHES, _WIDTH_INCHES = 0.29, 0.75, 9.0


@dataclass(frozen=True)
class Panel:
    """Figures of one kind, on one axis.

    Attributes:
        title: what is measured, with its unit.
        figures: one row each.
        neutral: the value that would mean nothing was found: 0 of a change, 0.5 of an AUROC that
            should not tell; None where there is none.
    """

    title: str
    figures: tuple[Estimate, ...]
    neutral: float | None = None


@dataclass(frozen=True)
class Audit:
    """One audit of one bundle.

    Attributes:
        name: of the audit and of its two files.
        bundle: name and version.
        panels: the figures.
        sentences: what they say.
        facts: what was done, in plain values: counts, widths, seeds.
    """

    name: str
    bundle: str
    panels: tuple[Panel, ...]
    sentences: tuple[str, ...]
    facts: Mapping[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON; no path, so that two machines' files can be compared."""
        return {
            "audit": self.name,
            "bundle": self.bundle,
            "interval": f"bootstrap percentile, {CONFIDENCE:.0%}, films of a patient together",
            "sentences": list(self.sentences),
            "facts": dict(self.facts),
            "panels": [
                {
                    "title": panel.title,
                    "neutral": panel.neutral,
                    "figures": [asdict(figure) for figure in panel.figures],
                }
                for panel in self.panels
            ],
        }


def write_audit(audit: Audit, folder: Path) -> tuple[Path, Path]:
    """Write ``NAME.json`` and, from what it says, ``NAME.png``; each is there whole or not at all.

    Returns:
        Both paths.

    Raises:
        UsageError: the folder cannot be written.
    """
    record = write_result(folder, f"{audit.name}.json", audit.as_dict(), draw_audit)
    return record, record.with_suffix(".png")


def draw_audit(report: Mapping[str, Any], path: Path) -> None:
    """Draw an audit's JSON: a dot and its 95 % interval for every figure, a panel for every kind.

    Args:
        report: as read from the JSON file.
        path: PNG to write.
    """
    panels: Sequence[Mapping[str, Any]] = report["panels"]
    rows = [max(1, len(panel["figures"])) for panel in panels]
    heights = [_PANEL_INCHES + _ROW_INCHES * count for count in rows]
    sheet = new_sheet(_WIDTH_INCHES, 0.5 + sum(heights))
    sheet.suptitle(f"Audit «{report['audit']}» of {report['bundle']}", fontsize=11, color=INK)
    grid = sheet.subplots(len(panels), 1, squeeze=False, height_ratios=heights)
    for axes, panel in zip(grid[:, 0], panels, strict=True):
        _draw_panel(axes, panel)
    save_png(sheet, path)


def _draw_panel(axes: Any, panel: Mapping[str, Any]) -> None:
    figures = [Estimate.of_record(record) for record in panel["figures"]]
    axes.set_title(panel["title"], fontsize=10, color=INK, loc="left")
    if panel["neutral"] is not None:
        axes.axvline(panel["neutral"], color=FAINT, linewidth=1, linestyle="--", zorder=0)
    for row, figure in enumerate(figures):
        if figure.value is None:
            continue
        if figure.low is not None:
            axes.plot([figure.low, figure.high], [row, row], color=ACCENT, linewidth=2)
        axes.plot([figure.value], [row], "o", color=ACCENT, markersize=5)
    names = [figure.name for figure in figures]
    axes.set_yticks(range(len(names)), names, fontsize=8, color=INK)
    axes.set_ylim(len(names) - 0.5, -0.5)
    right = axes.secondary_yaxis("right")
    words = [f"{figure.in_words()}; {figure.counts_in_words()}" for figure in figures]
    right.set_yticks(range(len(names)), words, fontsize=8)
    right.tick_params(length=0)
    axes.tick_params(axis="x", labelsize=8)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    right.spines["right"].set_visible(False)


def audit_rows(audit: Audit) -> list[tuple[str, ...]]:
    """All figures as text cells, a header first."""
    rows: list[tuple[str, ...]] = [("what", "variant", *CELLS)]
    for panel in audit.panels:
        rows += [(panel.title, figure.name, *figure.cells()) for figure in panel.figures]
    return rows
