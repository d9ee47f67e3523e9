"""What ``demo``, ``check`` and ``bench`` do at the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pneumoseg.commands.terminal import (
    DISCLAIMER,
    EXIT_OK,
    EXIT_SOME_FAILED,
    console,
    progress_bar,
    text_table,
)

if TYPE_CHECKING:  # a command imports what it runs, and only when it runs
    from pneumoseg.installation.bench.break_even import BreakEven
    from pneumoseg.installation.bench.result import Bench
    from pneumoseg.installation.bench.settings import BenchSettings
    from pneumoseg.installation.check import CheckSettings
    from pneumoseg.installation.demo import DemoSettings


def demo(settings: DemoSettings) -> int:
    """Run the demonstration and print its table."""
    from pneumoseg.installation.demo import run_demo

    with (
        progress_bar("making phantom studies") as phantoms,
        progress_bar("running the cascade") as films,
    ):
        done = run_demo(
            settings,
            on_phantom=phantoms,
            on_predict=lambda progress: films(progress.done, progress.total),
        )
    header = ("study", "probability", "decision", "lesions", "area", "truth")
    truth = {True: "pneumothorax", False: "none", None: "unknown"}
    cells = [
        (
            f"…{row.name[-12:]}",
            f"{row.probability:.2f}",
            row.decision.lower(),
            str(row.lesions),
            row.area,
            truth[row.truth],
        )
        for row in done.rows
    ]
    console.print(text_table(header, cells))
    for what, path in (
        ("studies (DICOM)", done.studies / "dicom"),
        ("tables", done.results / "predictions_aggregated.csv"),
        ("", done.results / "predictions_split.csv"),
        ("overlays", done.results / "overlays"),
        *((("CT", done.ct_results),) if done.ct_results is not None else ()),
        ("page", done.page),
    ):
        console.print(f"{what:16}{path}", soft_wrap=True, highlight=False)
    console.print(DISCLAIMER)
    return EXIT_OK


def check(settings: CheckSettings) -> int:
    """Hold this installation against the bundle's record."""
    from pneumoseg.installation.check import run_check

    with progress_bar("checking") as bar:
        report = run_check(settings, on_progress=bar)
    header = ("phantom", "recorded", "found", "recorded area", "found area", "")
    cells = [
        (
            str(row.expected.seed),
            f"{row.expected.probability:.3f}",
            f"{row.found.probability:.3f}",
            f"{row.expected.area_px:,} px",
            f"{row.found.area_px:,} px",
            row.problem or "ok",
        )
        for row in report.rows
    ]
    console.print(text_table(header, cells))
    console.print(report.summary)
    return EXIT_OK if report.passed else EXIT_SOME_FAILED


def bench(settings: BenchSettings) -> int:
    """Measure both stages here and say when the cascade pays."""
    from pneumoseg.installation.bench.run import run_bench

    with progress_bar("making phantoms") as phantoms, progress_bar("measuring, seconds") as seconds:
        done = run_bench(settings, on_phantom=phantoms, on_progress=seconds)
    _show(done)
    console.print(f"written to {settings.out}", soft_wrap=True, highlight=False)
    return EXIT_OK


def _show(done: Bench) -> None:
    header = ("step", "ms a film", "quartiles", "repeats")
    cells = [
        (
            timing.step,
            f"{timing.median_ms:.1f}",
            f"{timing.lower_quartile_ms:.1f} to {timing.upper_quartile_ms:.1f}",
            f"{timing.repeats} × {timing.films_per_repeat}",
        )
        for timing in done.timings
    ]
    console.print(text_table(header, cells))
    console.print(_break_even(done.break_even), highlight=False)
    films = done.films
    console.print(
        f"of the {films.n} films here {films.suspected} are suspected ({films.origin})",
        highlight=False,
    )
    if done.savings:
        columns = ("prevalence", "suspected", "95 % interval", "cascade", "always segment", "saved")
        rows = [
            (
                f"{100 * row.prevalence:.3g} %",
                f"{row.pass_rate:.1%}",
                f"{row.pass_rate_low:.1%} to {row.pass_rate_high:.1%}",
                f"{row.cascade_ms:.1f} ms",
                f"{row.always_ms:.1f} ms",
                f"{row.saved:+.0%}",
            )
            for row in done.savings
        ]
        console.print(text_table(columns, rows))
        for figure in done.rates:
            console.print(
                f"{figure.name} {figure.value:.3f} of the card: {figure.origin}, {figure.split}, "
                f"n = {figure.n}",
                highlight=False,
            )
    console.print(done.conclusion, highlight=False)


def _break_even(even: BreakEven) -> str:
    if even.pass_rate is None:
        return "no break-even: stage one costs as much as stage two, or more"
    outlining = "" if even.with_outlining is None else f"; {even.with_outlining:.0%} with outlining"
    worst, best = (0.0 if rate is None else rate for rate in (even.worst, even.best))
    return (
        f"break-even: {even.pass_rate:.0%} of the films suspected (by the quartiles of the timings "
        f"{worst:.0%} to {best:.0%}{outlining})"
    )
