"""The report's pictures, each drawn from ``report.json`` alone: :func:`draw_report`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pneumoseg.errors import DataError, UsageError
from pneumoseg.plots import ACCENT, FAINT, INK, SECOND, add_axes, new_sheet, save_png
from pneumoseg.statistics.estimate import Estimate

Report = Mapping[str, Any]
_MARKS = "so^v"


def draw_report(record: Path, folder: Path) -> list[Path]:
    """Draw every picture that ``report.json`` has the data for.

    Args:
        record: a ``report.json``; nothing else is read.
        folder: where the PNG files go.

    Returns:
        Paths of the pictures, in the order of the report.

    Raises:
        UsageError: the file cannot be read.
        DataError: it is no report.
    """
    try:
        report = json.loads(record.read_text(encoding="utf-8"))
        curves = report["curves"]
    except OSError as error:
        raise UsageError(f"cannot read {record}: {error.strerror}; give a report.json") from error
    except (ValueError, TypeError, KeyError) as error:
        raise DataError(
            f"{record} is no report of pneumoseg evaluate --report ({error}); make it again"
        ) from error
    drawn = []
    for name, draw, wanted in (
        ("roc_and_precision_recall", _draw_ranking, curves["roc"]),
        ("decisions", _draw_decisions, True),
        ("reliability", _draw_reliability, curves["reliability"]),
        ("froc", _draw_froc, any(c["true_lesions"] for c in curves["froc"].values())),
        ("size", _draw_size, curves["size"]),
        ("pass_and_cost", _draw_pass_and_cost, curves["roc"]),
        ("strata", _draw_strata, any(s["groups"] for s in report["strata"])),
    ):
        if wanted:
            drawn.append(folder / f"{name}.png")
            draw(report, drawn[-1])
    return drawn


def _estimate(report: Report, group: str, name: str) -> Estimate:
    return next(
        Estimate.of_record(figure)
        for figure in report["figures"]
        if (figure["group"], figure["name"]) == (group, name)
    )


def _unit(axes: Any, across: str, up: str) -> None:
    axes.set_xlim(-0.02, 1.02)
    axes.set_ylim(-0.02, 1.02)
    axes.set_xlabel(across)
    axes.set_ylabel(up)
    axes.grid(color=FAINT, linewidth=0.5, alpha=0.5)


def _points(axes: Any, report: Report, across: str, up: str) -> None:
    """Mark the operating points; those that a quantity is not defined for are left out."""
    for mark, point in zip(_MARKS, report["operating_points"], strict=False):
        x = 1.0 - point["specificity"] if across == "alarms" else point.get(across)
        y = point[up]
        if x is not None and y is not None:
            label = f"{point['name']} threshold {point['threshold']:.3g}"
            axes.plot([x], [y], mark, color=SECOND, markersize=8, label=label, linestyle="none",
                      fillstyle="none" if mark == "s" else "full")  # fmt: skip


def _draw_ranking(report: Report, path: Path) -> None:
    sheet = new_sheet(10.0, 4.9)
    group, curves = "ranking and probability", report["curves"]
    area, precision = (_estimate(report, group, name) for name in ("AUROC", "average precision"))
    axes = add_axes(sheet, (1, 2, 1), f"AUROC {area.in_words()}\n{area.counts_in_words()}")
    axes.plot([0, 1], [0, 1], color=FAINT, linewidth=1, linestyle="--")
    roc = curves["roc"]
    axes.plot(roc["false_positive_rate"], roc["recall"], color=ACCENT, linewidth=2)
    _points(axes, report, "alarms", "recall")
    _unit(axes, "1 − specificity", "recall")
    axes.legend(frameon=False, fontsize=8, loc="lower right")
    title = f"average precision {precision.in_words()}\n{precision.counts_in_words()}"
    axes = add_axes(sheet, (1, 2, 2), title)
    prevalence = _estimate(report, group, "prevalence").value or 0.0
    axes.axhline(prevalence, color=FAINT, linewidth=1, linestyle="--",
                 label=f"by chance: prevalence {prevalence:.3f}")  # fmt: skip
    curve = curves["precision_recall"]
    axes.step(curve["recall"], curve["precision"], where="pre", color=ACCENT, linewidth=2)
    _points(axes, report, "recall", "ppv")
    _unit(axes, "recall", "precision (PPV)")
    axes.legend(frameon=False, fontsize=8, loc="upper right")
    save_png(sheet, path)


def _bars(estimates: Sequence[Estimate]) -> list[list[float]]:
    """Lengths of the error bars below and above, 0 where there is no interval."""
    ends = [(e.value or 0.0, e.low, e.high) for e in estimates]
    return [
        [0.0 if low is None else max(0.0, value - low) for value, low, _ in ends],
        [0.0 if high is None else max(0.0, high - value) for value, _, high in ends],
    ]


def _draw_decisions(report: Report, path: Path) -> None:
    """Recall, specificity, PPV, NPV and F2 at both thresholds."""
    names = ("recall", "specificity", "PPV", "NPV", "F2")
    prevalence = _estimate(report, "ranking and probability", "prevalence")
    sheet = new_sheet(6.0, 5.2)
    axes = add_axes(sheet, (1, 1, 1), f"Decisions of stage one\n{prevalence.counts_in_words()}")
    for shift, colour, (which, threshold) in zip(
        (-0.13, 0.13), (FAINT, ACCENT), report["thresholds"].items(), strict=True
    ):
        label = f"{which} threshold {threshold:.3g}"
        for row, name in enumerate(names):
            figure = _estimate(report, f"decisions at the {which} threshold", name)
            if figure.value is None:
                continue
            axes.errorbar([figure.value], [row + shift], xerr=_bars([figure]), fmt="o",
                          color=colour, markersize=6, elinewidth=2, capsize=2,
                          label=label)  # fmt: skip
            label = "_"  # one line in the legend
            axes.annotate(figure.value_in_words(), (figure.value, row + shift), (0, 7),
                          textcoords="offset points", ha="center", fontsize=7)  # fmt: skip
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_xlim(-0.02, 1.04)
    axes.grid(color=FAINT, linewidth=0.5, alpha=0.5, axis="x")
    axes.legend(frameon=False, fontsize=8, loc="lower left")
    save_png(sheet, path)


def _draw_reliability(report: Report, path: Path) -> None:
    sheet, bins, group = (
        new_sheet(6.0, 5.2),
        report["curves"]["reliability"],
        "ranking and probability",
    )
    error = _estimate(report, group, "expected calibration error")
    brier = _estimate(report, group, "Brier score")
    title = f"ECE {error.in_words()}\nBrier {brier.in_words()}\n{error.counts_in_words()}"
    axes = add_axes(sheet, (1, 1, 1), title)
    axes.plot([0, 1], [0, 1], color=FAINT, linewidth=1, linestyle="--")
    across, up = [b["probability"] for b in bins], [b["value"] for b in bins]
    axes.errorbar(
        across,
        up,
        yerr=_bars([Estimate.of_record(b) for b in bins]),
        fmt="none",
        ecolor=ACCENT,
        elinewidth=1.2,
        capsize=2,
    )
    total = sum(b["n"] for b in bins)
    axes.scatter(across, up, s=[15.0 + 250.0 * b["n"] / total for b in bins], color=ACCENT,
                 alpha=0.85, zorder=3)  # fmt: skip
    for x, b in zip(across, bins, strict=True):
        axes.annotate(f"{b['n']}", (x, b["value"]), (7, -3), textcoords="offset points", fontsize=7,
                      color=INK)  # fmt: skip
    _unit(axes, "stated probability (numbers: images in the bin)", "observed share of pneumothorax")
    save_png(sheet, path)


def _draw_froc(report: Report, path: Path) -> None:
    sheet = new_sheet(6.0, 5.2)
    curves = report["curves"]["froc"]
    first = next(iter(curves.values()))
    title = f"FROC: {first['true_lesions']} true lesions in {first['images']} images"
    axes = add_axes(sheet, (1, 1, 1), title)
    for (rule, curve), colour in zip(curves.items(), (ACCENT, SECOND), strict=False):
        across, up = curve["false_positives_per_image"], curve["sensitivity"]
        axes.step(across, up, where="post", color=colour, linewidth=2, label=f"hit: {rule}")
        axes.plot(across[-1:], up[-1:], "o", color=colour, markersize=6)
    axes.set_ylim(-0.02, 1.02)
    axes.set_xlim(left=0.0)
    axes.set_xlabel("false positives per image (dot: all outlines)")
    axes.set_ylabel("share of the true lesions that is hit")
    axes.grid(color=FAINT, linewidth=0.5, alpha=0.5)
    axes.legend(frameon=False, fontsize=8)
    save_png(sheet, path)


def _draw_size(report: Report, path: Path) -> None:
    sheet, bins = new_sheet(6.0, 5.2), report["curves"]["size"]
    n = sum(b["recall"]["n"] for b in bins)
    axes = add_axes(
        sheet, (1, 1, 1), f"Recall and lesion Dice by lesion size, n = {n} positive images"
    )
    across = [100.0 * max(b["median"], 1e-6) for b in bins]
    for key, name, colour, shift in (
        ("recall", "recall", ACCENT, 0.985),
        ("lesion_dice", "lesion Dice", SECOND, 1.015),
    ):
        figures = [Estimate.of_record(b[key]) for b in bins]
        axes.errorbar([x * shift for x in across], [b[key]["value"] for b in bins],
                      yerr=_bars(figures), color=colour, marker="o", markersize=5, linewidth=1.6,
                      elinewidth=1.2, capsize=3, label=name)  # fmt: skip
    for x, b in zip(across, bins, strict=True):
        axes.annotate(f"n {b['recall']['n']}", (x, 0.0), (0, 3), textcoords="offset points",
                      ha="center", fontsize=7, color=INK)  # fmt: skip
    axes.set_xscale("log")
    from matplotlib.ticker import FuncFormatter, NullLocator

    axes.set_xticks(across)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.2g}"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_ylim(-0.02, 1.05)
    axes.set_xlabel("share of the film that the lesion covers in % (median of the bin)")
    axes.grid(color=FAINT, linewidth=0.5, alpha=0.5)
    axes.legend(frameon=False, fontsize=8, loc="center right")
    save_png(sheet, path)


def _draw_pass_and_cost(report: Report, path: Path) -> None:
    curve = report["curves"]["pass_and_cost"]
    seconds = curve["seconds_per_image"]
    share = _estimate(report, "pass-through and cost", "share reaching stage two")
    sheet = new_sheet(10.0 if seconds else 5.2, 4.7)
    columns = 2 if seconds else 1
    axes = add_axes(
        sheet,
        (1, columns, 1),
        f"share reaching stage two {share.in_words()}\n{share.counts_in_words()}",
    )
    axes.plot(curve["share_passing"], curve["recall"], color=ACCENT, linewidth=2)
    axes.plot([0, 1], [0, 1], color=FAINT, linewidth=1, linestyle="--")
    _points(axes, report, "share_passing", "recall")
    _unit(axes, "share of all images that passes to stage two", "recall")
    axes.legend(frameon=False, fontsize=8, loc="lower right")
    if seconds:
        cost = _estimate(report, "pass-through and cost", "seconds per image")
        axes = add_axes(sheet, (1, 2, 2), f"seconds per image {cost.in_words()}\nn = {cost.n}")
        axes.plot(curve["recall"], seconds, color=ACCENT, linewidth=2)
        whole = curve["seconds_stage_one"] + curve["seconds_stage_two"]
        axes.axhline(whole, color=FAINT, linestyle="--", linewidth=1,
                     label=f"every image through both stages: {whole:.3f} s")  # fmt: skip
        for mark, point in zip(_MARKS, report["operating_points"], strict=False):
            if point["recall"] is not None:
                cost_there = (
                    curve["seconds_stage_one"] + point["share_passing"] * curve["seconds_stage_two"]
                )
                axes.plot([point["recall"]], [cost_there], mark, color=SECOND, markersize=8,
                          linestyle="none", label=f"{point['name']} threshold",
                          fillstyle="none" if mark == "s" else "full")  # fmt: skip
        axes.set_ylim(0.0, 1.15 * whole)
        axes.set_xlim(-0.02, 1.02)
        axes.set_xlabel("recall")
        axes.set_ylabel("seconds per image, as recorded by the run")
        axes.grid(color=FAINT, linewidth=0.5, alpha=0.5)
        axes.legend(frameon=False, fontsize=8, loc="lower right")
    save_png(sheet, path)


def _draw_strata(report: Report, path: Path) -> None:
    """A dot and interval for every group: AUROC, recall, lesion Dice side by side."""
    rows: list[tuple[str, list[Mapping[str, Any]]]] = []
    for stratum in report["strata"]:
        for group in stratum["groups"]:
            rows.append((f"{stratum['by']}: {group['name']}", group["figures"]))
    sheet = new_sheet(10.0, 1.3 + 0.34 * len(rows))
    for place, name in enumerate(("AUROC", "recall", "lesion Dice"), start=1):
        axes = add_axes(sheet, (1, 3, place), f"{name} (right: images)")
        for row, (_, figures) in enumerate(rows):
            figure = next(f for f in figures if f["name"] == name)
            if figure["value"] is None:
                continue
            if figure["low"] is not None:
                axes.plot([figure["low"], figure["high"]], [row, row], color=ACCENT, linewidth=2)
            axes.plot([figure["value"]], [row], "o", color=ACCENT, markersize=5)
        axes.set_xlim(-0.03, 1.03)
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.set_yticks(range(len(rows)), [text for text, _ in rows] if place == 1 else [])
        axes.tick_params(labelsize=8)
        axes.grid(color=FAINT, linewidth=0.5, alpha=0.5, axis="x")
        axes.spines[["top", "right"]].set_visible(False)
        counts = [next(f for f in figures if f["name"] == name)["n"] for _, figures in rows]
        right = axes.secondary_yaxis("right")
        right.set_yticks(range(len(rows)), [f"{count:,}" for count in counts], fontsize=8)
        right.tick_params(length=0)
        right.spines["right"].set_visible(False)
    save_png(sheet, path)
