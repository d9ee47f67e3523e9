"""Pictures of what was measured: training curves, confusion matrices, ROC.

matplotlib is imported when something is drawn, not before, and its global state is left alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pneumoseg.metrics import ConfusionMatrix, Estimate, RocCurve
from pneumoseg.storage.files import whole_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DPI = 150
INK, ACCENT, SECOND, FAINT = "#222222", "#1f6f8b", "#c8553d", "#b8b8b8"
"""Two hues that stay apart in grey print and for red-green blindness."""
EPOCH = "epoch"


def draw_training_curves(history: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Draw a training's numbers over its epochs: losses on the left, everything else on the right.

    Args:
        history: one record per epoch with the key ``epoch``; a key with «loss» in its name is a
            loss. None, NaN and values that are no number leave a gap.
        path: PNG to write.

    Raises:
        ValueError: no epochs.
    """
    from matplotlib.ticker import MaxNLocator

    if not history:
        raise ValueError("a training without epochs has no curves")
    names = [name for name in _number_names(history) if name != EPOCH]
    losses = [name for name in names if "loss" in name]
    others = [name for name in names if name not in losses]
    figure = new_sheet(10.0, 4.0)
    for place, (title, group) in enumerate((("loss", losses), ("measures", others)), start=1):
        axes = add_axes(figure, (1, 2, place), title)
        for name in group:
            points = [
                (record.get(EPOCH, k), record.get(name, math.nan))
                for k, record in enumerate(history, start=1)
            ]
            shown = [(x, float(y) if _is_number(y) else math.nan) for x, y in points]
            axes.plot(*zip(*shown, strict=True), marker=".", linewidth=1.4, label=name)
        axes.set_xlabel(EPOCH)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        if group:
            axes.legend(frameon=False, fontsize=8)
    save_png(figure, path)


def draw_confusion(matrix: ConfusionMatrix, path: Path, *, title: str) -> None:
    """Draw a confusion matrix: counts, share of each true class, and the ratios below."""
    figure = new_sheet(4.6, 4.8)
    axes = add_axes(figure, (1, 1, 1), title)
    counts = [
        [matrix.true_negative, matrix.false_positive],
        [matrix.false_negative, matrix.true_positive],
    ]
    shares = [[count / max(1, sum(row)) for count in row] for row in counts]
    axes.imshow(shares, cmap="Blues", vmin=0.0, vmax=1.0)
    for row in range(2):
        for column in range(2):
            axes.text(
                column,
                row,
                f"{counts[row][column]}\n{shares[row][column]:.1%}",
                ha="center",
                va="center",
                color="white" if shares[row][column] > 0.55 else INK,
                fontsize=13,
            )
    axes.set_xticks([0, 1], ["not suspected", "suspected"])
    axes.set_yticks([0, 1], ["no\npneumothorax", "pneumothorax"])
    axes.tick_params(length=0)
    first = f"recall {_shown(matrix.recall)}   specificity {_shown(matrix.specificity)}"
    second = f"PPV {_shown(matrix.ppv)}   NPV {_shown(matrix.npv)}   F2 {_shown(matrix.f_beta())}"
    axes.set_xlabel(f"{first}\n{second}", fontsize=9)
    save_png(figure, path)


def draw_roc(
    curve: RocCurve, path: Path, auroc: Estimate, points: Mapping[str, ConfusionMatrix]
) -> None:
    """Draw a ROC curve with its area and the operating points.

    Args:
        curve: from :func:`pneumoseg.metrics.roc_curve`.
        path: PNG to write.
        auroc: the area with its interval and n, shown in the title.
        points: name -> decisions at that threshold; left out where a class is empty.
    """
    figure = new_sheet(5.0, 5.0)
    title = f"AUROC {auroc.in_words()}, {auroc.counts_in_words()}"
    axes = add_axes(figure, (1, 1, 1), title)
    axes.plot([0, 1], [0, 1], color=FAINT, linewidth=1, linestyle="--")
    axes.plot(
        curve.false_positive_rate,
        curve.true_positive_rate,
        color=ACCENT,
        linewidth=2,
    )
    for marker, (name, matrix) in zip("so^v", points.items(), strict=False):
        if matrix.recall is not None and matrix.specificity is not None:
            label = f"{name}: recall {matrix.recall:.3f}, specificity {matrix.specificity:.3f}"
            axes.plot(
                [1 - matrix.specificity],
                [matrix.recall],
                marker,
                color=SECOND,
                markersize=8,
                fillstyle="none" if marker == "s" else "full",
                label=label,
            )
    if points:
        axes.legend(frameon=False, loc="lower right", fontsize=8)
    _unit_square(axes, "1 − specificity", "recall")
    save_png(figure, path)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _number_names(history: Sequence[Mapping[str, Any]]) -> list[str]:
    """Keys that hold a number in some epoch, in order of appearance."""
    names = {name: None for record in history for name in record if _is_number(record[name])}
    return list(names)


def _shown(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.3f}"


def new_sheet(width: float, height: float) -> Any:
    """Make a figure of its own canvas, in inches: no pyplot, no window, no state between calls."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure as Sheet

    sheet = Sheet(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(sheet)
    return sheet


def add_axes(figure: Any, place: tuple[int, int, int | tuple[int, int]], title: str) -> Axes:
    """Add axes to a sheet: ``place`` is (rows, columns, number or first and last number)."""
    axes: Axes = figure.add_subplot(*place)
    axes.set_title(title, fontsize=10, color=INK)
    return axes


def _unit_square(axes: Axes, across: str, up: str) -> None:
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(-0.02, 1.02)
    axes.set_aspect("equal")
    axes.set_xlabel(across)
    axes.set_ylabel(up)


def save_png(figure: Any, path: Path) -> None:
    """Write a PNG, whole or not at all, without date or version: same numbers, same file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as part:
        figure.savefig(part, format="png", dpi=DPI, metadata={"Software": None})
