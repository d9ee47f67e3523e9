"""The picture of ``ablation.json``: figures, paired differences and cost of the four ways."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pneumoseg.plots import ACCENT, FAINT, INK, SECOND, add_axes, new_sheet, save_png

COLOURS = (ACCENT, INK, FAINT, SECOND)
_SHOWN = (
    "lesion Dice",
    "SIIM mean Dice",
    "recall of the mask",
    "specificity of the mask",
    "small lesions seen",
)


def draw_ablation(content: Mapping[str, Any], path: Path) -> None:
    """Draw the report of ``pneumoseg ablate`` from its JSON alone."""
    figure = new_sheet(13.0, 8.0)
    figure.suptitle(
        f"{content['bundle']}: {content['n']} films of {content['n_patients']} patients, "
        f"{content['n_positive']} positive; figures out of fold, 95 % intervals by patient",
        fontsize=10,
        color=INK,
    )
    for row, (aim, report) in enumerate(content["aims"].items()):
        ways = report["ways"]
        place = 3 * row
        axes = add_axes(figure, (2, 3, place + 1), f"{aim} aim: figures")
        _draw_intervals(axes, {w: v["figures"] for w, v in ways.items()})
        axes.set_xlim(-0.02, 1.02)
        axes = add_axes(figure, (2, 3, place + 2), "difference from the cascade, paired")
        others = {w: v["differences_from_cascade"] for w, v in list(ways.items())[1:]}
        _draw_intervals(axes, others, first=1)
        axes.axvline(0.0, color=INK, linewidth=0.8)
        axes.set_yticklabels([])
        _draw_cost(add_axes(figure, (2, 3, place + 3), "seconds a film, networks only"), ways)
        if row == 0:
            handles = figure.axes[0].get_legend_handles_labels()
            figure.legend(*handles, loc="outside lower center", ncols=4, frameon=False, fontsize=8)
    save_png(figure, path)


def _draw_intervals(axes: Any, figures: Mapping[str, Mapping[str, Any]], first: int = 0) -> None:
    for k, (way, named) in enumerate(figures.items(), start=first):
        rows = [(y, named[name]) for y, name in enumerate(reversed(_SHOWN))]
        known = [(y, row) for y, row in rows if row["low"] is not None]
        axes.errorbar(
            [row["value"] for _, row in known],
            [y + 0.27 - 0.18 * k for y, _ in known],
            xerr=[
                [row["value"] - row["low"] for _, row in known],
                [row["high"] - row["value"] for _, row in known],
            ],
            fmt="o", markersize=4, elinewidth=1.3, color=COLOURS[k], label=way,
        )  # fmt: skip
    one = next(iter(figures.values()))
    labels = [f"{name}\n(n {one[name]['n']})" for name in reversed(_SHOWN)]
    axes.set_yticks(range(len(_SHOWN)), labels, fontsize=8)
    axes.grid(axis="x", color=FAINT, linewidth=0.4)


def _draw_cost(axes: Any, ways: Mapping[str, Any]) -> None:
    for k, way in enumerate(ways.values()):
        cost = way["cost"]
        one = cost["stage_one_seconds"] if cost["runs_stage_one"] else 0.0
        axes.barh([-k], [one], 0.6, color=COLOURS[k], alpha=0.5)
        axes.barh([-k], [cost["seconds"] - one], 0.6, left=[one], color=COLOURS[k])
        share = f"{cost['share_reaching_stage_two']:.0%} reach stage two"
        axes.text(0.0, 0.34 - k, f"{cost['seconds']:.3f} s, {share}", fontsize=8, color=INK)
    axes.set_ylim(-len(ways) + 0.5, 0.7)
    axes.set_yticks([])
    axes.set_xlabel("pale: stage one")
