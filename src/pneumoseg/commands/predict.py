"""What ``predict`` and ``page`` do at the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pneumoseg.commands.terminal import EXIT_OK, console, progress_bar

if TYPE_CHECKING:  # a command imports what it runs, and only when it runs
    from pneumoseg.prediction.page import PageSettings
    from pneumoseg.prediction.settings import PredictionSummary, PredictSettings


def predict(settings: PredictSettings) -> int:
    """Run the cascade over files and folders."""
    if settings.engine == "ray":
        from pneumoseg.prediction.ray import run_archive as run
    else:
        from pneumoseg.prediction.local import run_predict as run
    with progress_bar("reading and predicting") as bar:
        summary = run(settings, on_progress=lambda p: bar(p.done + p.share, p.total))
    _print_summary(summary)
    console.print(f"networks  {summary.networks}", soft_wrap=True, highlight=False)
    return summary.exit_code


def page(settings: PageSettings) -> int:
    """Make the HTML page of a run."""
    from pneumoseg.prediction.page import write_run_page

    path, _ = write_run_page(settings.run, masks=settings.masks, title=settings.title)
    console.print(str(path), soft_wrap=True, highlight=False)
    return EXIT_OK


def _print_summary(summary: PredictionSummary) -> None:
    if summary.nothing_to_do:
        console.print("this run was finished already; nothing was done again")
    console.print(
        f"{summary.read} read, {summary.failed} failed, {summary.suspected} suspected, "
        f"{summary.with_lesion} with a lesion, {summary.seconds:.1f} s"
    )
    for path in summary.files:
        console.print(str(path), soft_wrap=True, highlight=False)
