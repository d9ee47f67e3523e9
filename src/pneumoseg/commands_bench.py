"""What ``pneumoseg bench`` does at the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pneumoseg.terminal import EXIT_OK, console, progress_bar, text_table

if TYPE_CHECKING:  # a command imports what it runs, and only when it runs
    from pneumoseg.bench.break_even import BreakEven
    from pneumoseg.bench.result import Bench
    from pneumoseg.bench.settings import BenchSettings


def bench(settings: BenchSettings) -> int:
    """Measure both stages here and say when the cascade pays."""
    from pneumoseg.bench.run import run_bench

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
