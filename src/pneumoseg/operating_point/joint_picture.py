"""The picture of ``operating_point.json``: figures, sizes that are seen, what a filter costs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import expit

from pneumoseg.plots import ACCENT, FAINT, INK, SECOND, add_axes, new_sheet, save_png

COLOURS = {"clinical": ACCENT, "leaderboard": SECOND}
_SHOWN = (
    "lesion Dice",
    "SIIM mean Dice",
    "SIIM mean Dice of empty masks",
    "recall of stage one, by patient",
    "recall of the mask",
    "lesions seen",
    "small lesions seen",
    "specificity of the mask",
    "share reaching stage two",
)


def draw_operating_point(content: Mapping[str, Any], path: Path) -> None:
    """Draw the report of ``pneumoseg operating-point`` from its JSON alone."""
    figure = new_sheet(13.0, 8.2)
    constraint = content["constraint"]
    figure.suptitle(
        f"{content['bundle']}: {content['n']} films of {content['n_patients']} patients, "
        f"{content['n_positive']} positive; recall of stage one {constraint['recall']:g} "
        f"{'certified' if constraint['certified'] else 'measured'}; every figure out of fold",
        fontsize=10,
        color=INK,
    )
    _draw_figures(figure, content)
    for place, aim in enumerate(COLOURS, start=4):
        _draw_sizes(figure, (2, 3, place), content, aim)
    _draw_removed(figure, content)
    save_png(figure, path)


def _draw_figures(figure: Any, content: Mapping[str, Any]) -> None:
    axes = add_axes(figure, (2, 3, (1, 3)), "out-of-fold figures, 95 % interval by patient")
    for offset, (aim, colour) in zip((0.16, -0.16), COLOURS.items(), strict=True):
        figures = content["aims"][aim]["figures"]
        rows = [(k, figures[name]) for k, name in enumerate(reversed(_SHOWN))]
        known = [(k, row) for k, row in rows if row["value"] is not None]
        axes.errorbar(
            [row["value"] for _, row in known],
            [k + offset for k, _ in known],
            xerr=[
                [row["value"] - (row["value"] if row["low"] is None else row["low"])
                 for _, row in known],
                [(row["value"] if row["high"] is None else row["high"]) - row["value"]
                 for _, row in known],
            ],
            fmt="o", markersize=4, color=colour, elinewidth=1.2, label=aim,
        )  # fmt: skip
    named = content["aims"]["clinical"]["figures"]
    labels = [f"{name} (n {named[name]['n']})" for name in reversed(_SHOWN)]
    axes.set_yticks(range(len(_SHOWN)), labels, fontsize=8)
    axes.set_xlim(-0.02, 1.02)
    axes.grid(axis="x", color=FAINT, linewidth=0.4)
    axes.legend(frameon=False, fontsize=8, loc="center", bbox_to_anchor=(0.3, 0.4))


def _draw_sizes(
    figure: Any, place: tuple[int, int, int], content: Mapping[str, Any], aim: str
) -> None:
    """Every positive film at its true size, seen or not, and the fitted curve with its limits."""
    report = content["aims"][aim]
    area = np.array(content["true_area"])
    seen = np.array(report["seen"], dtype=np.bool_)
    size = next(row for row in report["sizes"] if row["unit"] == "grid pixels")
    axes = add_axes(figure, place, f"{aim}: seen (Dice from {content['seen_from_dice']:g}) by size")
    shown = area > 0
    jitter = np.linspace(-0.03, 0.03, area.size)
    axes.scatter(area[shown], (seen + jitter)[shown], s=10, color=COLOURS[aim], alpha=0.6)
    if size["slope"] is not None:
        x = np.geomspace(area[shown].min(), area.max(), 200)
        chance = expit(size["intercept"] + size["slope"] * np.log2(x))
        axes.plot(x, chance, color=INK, linewidth=1.6)
    for limit in size["limits"]:
        if limit["area"] is not None:
            axes.plot([limit["area"]], [limit["recall"]], "s", color=INK, markersize=6)
            axes.annotate(
                f"{limit['recall']:.0%} from {limit['area']:,.0f} px "
                f"({100 * limit['area'] / content['grid_pixels']:.2g} %)",
                (limit["area"], limit["recall"]), (6, -12), textcoords="offset points", fontsize=8,
            )  # fmt: skip
    axes.set_xscale("log")
    axes.set_ylim(-0.08, 1.08)
    axes.set_xlabel("true area, pixels of the 512×512 grid")
    axes.set_ylabel("chance of being seen")


def _draw_removed(figure: Any, content: Mapping[str, Any]) -> None:
    """How many true lesions a size filter alone removes, by its size."""
    axes = add_axes(figure, (2, 3, 6), "lost to a size filter, masks being perfect")
    lesions = content["true_lesions"]
    of_kind = {
        "true lesions": sorted(area for areas in lesions for area in areas),
        "positive films, all lesions": sorted(max(areas, default=0) for areas in lesions),
    }
    for (name, areas), colour in zip(of_kind.items(), (INK, FAINT), strict=True):
        axes.step(areas, range(1, len(areas) + 1), where="post", color=colour,
                  label=f"{name} (of {len(areas)})")  # fmt: skip
    for aim, colour in COLOURS.items():
        chosen = content["aims"][aim]["removed_by_min_pixels"]
        axes.plot([chosen["smallest_kept"]], [chosen["lesions"]], "o", color=colour, markersize=7,
                  label=f"{aim}: below {chosen['smallest_kept']} px "
                        f"{chosen['lesions']} lesions, {chosen['films']} films")  # fmt: skip
    axes.set_xlim(0, 1.25 * max(row["smallest_kept"] for row in content["size_filter"]))
    axes.set_xlabel("smallest lesion kept, grid pixels")
    axes.set_ylabel("removed")
    axes.legend(frameon=False, fontsize=8)
