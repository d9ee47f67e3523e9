"""The picture of ``bench.json``: cost over pass rate, and what each step takes."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pneumoseg.installation.bench.result import POSTPROCESSING, READING, STAGE_ONE, STAGE_TWO
from pneumoseg.plots import ACCENT, FAINT, INK, SECOND, add_axes, new_sheet, save_png

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MARKERS = "os^Dv"
_COLOURS = {READING: FAINT, STAGE_ONE: ACCENT, STAGE_TWO: SECOND, POSTPROCESSING: FAINT}


def draw_bench(document: Mapping[str, Any], path: Path) -> None:
    """Draw what was measured, from the document alone (:meth:`Bench.as_document`)."""
    measured, machine = document["measured"], document["machine"]
    sheet = new_sheet(11.0, 4.6)
    sheet.suptitle(
        f"{measured['bundle']} {measured['bundle_version']}, {measured['runtime']} "
        f"{measured['precision']}, batches of {measured['batch_size']}; {machine['processor']}, "
        f"{machine['cores']} cores; {document['films']['n']} films",
        fontsize=10,
        color=INK,
    )
    timings = {row["step"]: row for row in document["timings"]}
    cost = add_axes(sheet, (1, 5, (1, 3)), "both networks, over the share that stage two sees")
    _draw_cost(cost, document, timings[STAGE_ONE], timings[STAGE_TWO])
    _draw_steps(add_axes(sheet, (1, 5, (4, 5)), "each step alone, with quartiles"), timings)
    save_png(sheet, path)


def _draw_cost(
    axes: Axes, document: Mapping[str, Any], one: Mapping[str, Any], two: Mapping[str, Any]
) -> None:
    ends = ("lower_quartile_ms", "upper_quartile_ms")
    across = (0.0, 100.0)
    for base, colour, name in ((one, ACCENT, "cascade"), (None, SECOND, "always segment")):
        lines = []
        for key in ("median_ms", *ends):
            first, second = (0.0 if base is None else base[key]), two[key]
            lines.append((first + (0.0 if base else second), first + second))
        axes.fill_between(across, lines[1], lines[2], color=colour, alpha=0.15, linewidth=0)
        axes.plot(across, lines[0], color=colour, linewidth=2, label=name)
    rate = document["break_even"]["pass_rate"]
    if rate is None:
        title = "the cascade never pays: stage one costs as much as stage two, or more"
    else:
        title = f"break-even at {rate:.0%} of the films"
        axes.axvline(100 * rate, color=INK, linewidth=0.8, linestyle="--", label=title)
    axes.set_xlabel("films that reach stage two, %")
    axes.set_ylabel("ms a film")
    for marker, row in zip(cycle(_MARKERS), document["savings"], strict=False):
        centre = 100 * row["pass_rate"]
        axes.errorbar(
            [centre],
            [row["cascade_ms"]],
            xerr=[
                [centre - 100 * row["pass_rate_low"]],
                [100 * row["pass_rate_high"] - centre],
            ],
            fmt=marker,
            color=INK,
            markersize=5,
            elinewidth=1,
            label=f"prevalence {100 * row['prevalence']:.3g} %: {row['pass_rate']:.0%} suspected",
        )
    axes.set_xlim(across)
    axes.set_ylim(bottom=0.0)
    axes.legend(frameon=False, fontsize=8, loc="lower right", title=title if rate is None else None)


def _draw_steps(axes: Axes, timings: Mapping[str, Mapping[str, Any]]) -> None:
    for place, (step, row) in enumerate(timings.items()):
        median = row["median_ms"]
        axes.barh(
            [-place],
            [median],
            0.6,
            color=_COLOURS.get(step, FAINT),
            xerr=[[median - row["lower_quartile_ms"]], [row["upper_quartile_ms"] - median]],
            error_kw={"elinewidth": 1, "ecolor": INK},
        )
        axes.text(0.0, 0.36 - place, f"{step}: {median:.1f} ms", fontsize=8, color=INK)
    axes.set_ylim(-len(timings) + 0.5, 0.7)
    axes.set_yticks([])
    axes.set_xlabel("ms a film")
