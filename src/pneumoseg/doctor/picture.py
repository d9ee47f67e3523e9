"""One picture of what ``doctor`` found, drawn from its JSON alone."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pneumoseg.plots import ACCENT, FAINT, INK, SECOND, add_axes, new_sheet, save_png

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = {"error": SECOND, "warning": ACCENT, "info": FAINT}
MOST_SIZES = 8


def draw_doctor(facts: dict[str, Any], path: Path) -> None:
    """Draw findings, prevalence by group, what traces tell, and sizes.

    Args:
        facts: content of ``doctor.json``.
        path: PNG to write.
    """
    groups = [g for g in facts["groups"] if g["prevalence"] is not None]
    tallest = max(len(facts["findings"]), len(groups), 6)
    sheet = new_sheet(14.0, 2.2 + 0.24 * tallest + 2.2)
    counts = facts["counts"]
    sheet.suptitle(
        f"{counts['films']} films of {counts['files']} files, {counts['patients']} known patients, "
        f"{counts['labelled']} labelled, {counts['positive']} positive: "
        + ("the split is refused" if facts["refused"] else f"{len(facts['findings'])} findings"),
        fontsize=12,
        color=INK,
    )
    _draw_findings(add_axes(sheet, (2, 2, 1), "findings"), facts["findings"])
    _draw_prevalence(add_axes(sheet, (2, 2, 2), "share of positive films, 95 % interval"), groups)
    _draw_traces(
        add_axes(sheet, (2, 2, 3), "AUROC of traces of the file, 95 % interval"), facts["traces"]
    )
    _draw_sizes(add_axes(sheet, (2, 2, 4), "films by size (rows×columns)"), facts["sizes"])
    save_png(sheet, path)


def _draw_findings(axes: Axes, findings: list[dict[str, Any]]) -> None:
    shown = findings[::-1]
    places = range(len(shown))
    bars = axes.barh(
        places, [f["count"] for f in shown], color=[COLOURS[f["severity"]] for f in shown]
    )
    axes.bar_label(bars, [f"{f['count']} ({f['severity']})" for f in shown], padding=3, fontsize=8)
    axes.set_yticks(places, [f["code"] for f in shown], fontsize=8)
    axes.set_xscale("symlog")
    axes.margins(x=0.25)
    _tidy(axes, empty=not shown)


def _draw_prevalence(axes: Axes, groups: list[dict[str, Any]]) -> None:
    shown = groups[::-1]
    places = range(len(shown))
    _draw_intervals(axes, [(g["prevalence"], g["low"], g["high"]) for g in shown])
    names = [f"{g['by']} {g['value']}, {g['labelled']}".replace("all all", "all") for g in shown]
    axes.set_yticks(places, names, fontsize=8)
    axes.set_xlim(-0.02, 1.02)
    _tidy(axes, empty=not shown)


def _draw_traces(axes: Axes, traces: list[dict[str, Any]]) -> None:
    shown = traces[::-1]
    _draw_intervals(axes, [(t["value"], t["low"], t["high"]) for t in shown])
    names = [f"{t['question']}, {t['n']}" for t in shown]
    axes.set_yticks(range(len(shown)), names, fontsize=8)
    axes.axvline(0.5, color=FAINT, linestyle="--", linewidth=1)
    axes.set_xlim(0.2, 1.02)
    _tidy(axes, empty=not shown)


def _draw_intervals(axes: Axes, rows: list[tuple[float, float | None, float | None]]) -> None:
    for place, (value, low, high) in enumerate(rows):
        if low is not None and high is not None:
            axes.plot([low, high], [place, place], color=ACCENT, linewidth=2)
        axes.plot([value], [place], "o", color=ACCENT, markersize=5)


def _draw_sizes(axes: Axes, sizes: dict[str, int]) -> None:
    names = list(sizes)[:MOST_SIZES]
    counts = [sizes[name] for name in names]
    rest = sum(sizes.values()) - sum(counts)
    if rest:
        names, counts = [*names, f"{len(sizes) - MOST_SIZES} others"], [*counts, rest]
    bars = axes.barh(names[::-1], counts[::-1], color=ACCENT)
    axes.bar_label(bars, padding=3, fontsize=8)
    axes.set_xlim(0, 1.15 * max(counts))
    axes.set_ylim(-1.0, max(4.0, len(names)))
    _tidy(axes, empty=False)


def _tidy(axes: Axes, *, empty: bool) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    if empty:
        axes.set_axis_off()
        axes.text(0.5, 0.5, "none", transform=axes.transAxes, ha="center", color=INK)
