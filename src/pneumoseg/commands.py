"""What each command does at the terminal: progress while it works, a short table at the end."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

from rich.logging import RichHandler

from pneumoseg.errors import UsageError
from pneumoseg.terminal import (
    DISCLAIMER,
    EXIT_OK,
    EXIT_SOME_FAILED,
    console,
    errors,
    progress_bar,
    text_table,
)

if TYPE_CHECKING:  # a command imports what it runs, and only when it runs
    from pneumoseg.check import CheckSettings
    from pneumoseg.demo import DemoSettings
    from pneumoseg.evaluate import EvaluateSettings
    from pneumoseg.phantom import PhantomSettings
    from pneumoseg.prediction_run import PredictionSummary, PredictSettings
    from pneumoseg.run_page import PageSettings
    from pneumoseg.training.calibrate import CalibrateSettings
    from pneumoseg.training.loop import Task
    from pneumoseg.training.prepare import OneSource, PrepareSettings
    from pneumoseg.training.recipes import ClassifierRecipe, SegmenterRecipe


def demo(settings: DemoSettings) -> int:
    """Run the demonstration and print its table."""
    from pneumoseg.demo import run_demo

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


def predict(settings: PredictSettings) -> int:
    """Run the cascade over files and folders."""
    from pneumoseg.prediction_run import run_predict
    from pneumoseg.runtime.choice import choose_runtime

    choice = choose_runtime(settings.runtime, device=settings.device, precision=settings.precision)
    with progress_bar("reading and predicting") as bar:
        summary = run_predict(settings, on_progress=lambda p: bar(p.done + p.share, p.total))
    _print_summary(summary)
    console.print(f"networks  {choice}", soft_wrap=True, highlight=False)
    return summary.exit_code


def page(settings: PageSettings) -> int:
    """Make the HTML page of a run."""
    from pneumoseg.run_page import write_run_page

    path, _ = write_run_page(settings.run, masks=settings.masks, title=settings.title)
    console.print(str(path), soft_wrap=True, highlight=False)
    return EXIT_OK


def evaluate(settings: EvaluateSettings) -> int:
    """Compare a run with the true masks."""
    from pneumoseg.evaluate import evaluation_rows, run_evaluate

    with errors.status("comparing"):
        evaluation = run_evaluate(settings)
    header, *cells = evaluation_rows(evaluation)
    console.print(text_table(header, cells))
    console.print(f"written to {settings.folder}", soft_wrap=True, highlight=False)
    return EXIT_OK


def check(settings: CheckSettings) -> int:
    """Hold this installation against the bundle's record."""
    from pneumoseg.check import run_check

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


def phantom(settings: PhantomSettings) -> int:
    """Make phantom films in the SIIM layout."""
    from pneumoseg.phantom import run_phantom

    with progress_bar("making phantom films") as bar:
        done = run_phantom(settings, on_progress=bar)
    console.print(f"{settings.count} films in {done.out}", soft_wrap=True, highlight=False)
    return EXIT_OK


def prepare(settings: PrepareSettings | OneSource, *, overwrite: bool = False) -> int:
    """Make the training cache."""
    from pneumoseg.training.dataset import FAILURES_FILE
    from pneumoseg.training.prepare import OneSource
    from pneumoseg.training.prepare import prepare as make_cache

    if isinstance(settings, OneSource):
        settings = settings.settings()
    with progress_bar("preparing films") as bar:
        cache = make_cache(settings, overwrite=overwrite, on_progress=bar)
    header = ("part", "films", "positive", "patients")
    cells = []
    for part in sorted({row.part for row in cache.rows}):
        rows = cache.part(part)
        patients = len(set(cache.patients[rows].tolist()))
        cells.append((part, str(len(rows)), str(int(cache.labels[rows].sum())), str(patients)))
    console.print(text_table(header, cells))
    failures = cache.folder / FAILURES_FILE
    failed = failures.read_text(encoding="utf-8").count("\n") - 1 if failures.is_file() else 0
    if failed > 0:
        console.print(f"{failed} files could not be used: see {failures}", soft_wrap=True)
    return EXIT_SOME_FAILED if failed > 0 else EXIT_OK


def train_classifier(recipe: ClassifierRecipe, *, overwrite: bool = False) -> int:
    """Train stage one."""
    from pneumoseg.training.tasks import ClassifierTask

    return _train(ClassifierTask(recipe), overwrite)


def train_segmenter(recipe: SegmenterRecipe, *, overwrite: bool = False) -> int:
    """Train stage two."""
    from pneumoseg.training.tasks import SegmenterTask

    return _train(SegmenterTask(recipe), overwrite)


def calibrate(settings: CalibrateSettings) -> int:
    """Turn two trained networks into a bundle."""
    from pneumoseg.training.calibrate import calibrate as make_bundle

    done = make_bundle(settings)
    header = ("figure", "value", "95 % interval", "n", "positive", "patients")
    cells = [
        (
            figure.name,
            "n/a" if figure.value is None else f"{figure.value:.3f}",
            f"{figure.low:.3f} to {figure.high:.3f}" if figure.low is not None else "-",
            str(figure.n),
            str(figure.n_positive),
            str(figure.n_patients),
        )
        for figure in done.figures
    ]
    console.print(text_table(header, cells))
    config = done.bundle.card.config
    console.print(
        f"thresholds: classifier {config.classifier_threshold:.4f}, segmenter "
        f"{config.segmenter_threshold:.2f}, smallest lesion {config.min_pixels} px"
    )
    console.print(f"bundle: {done.bundle.folder}", soft_wrap=True, highlight=False)
    return EXIT_OK


def _train(task: Task, overwrite: bool) -> int:
    from pneumoseg.training.loop import train

    handler = RichHandler(console=errors, show_path=False, show_level=False)
    logging.basicConfig(level=logging.INFO, format="%(message)s", handlers=[handler])
    logging.getLogger("accelerate").setLevel(logging.WARNING)
    with errors.status("starting") as status:
        progress = train(
            task,
            overwrite=overwrite,
            on_step=lambda progress, loss: status.update(
                f"epoch {progress.epoch + 1}  step {progress.step}  loss {loss:.4f}  "
                f"{progress.seconds / 60:.1f} minutes"
            ),
        )
    if os.environ.get("RANK", "0") != "0":  # under torchrun one process speaks for all
        return EXIT_OK
    if progress.best_epoch < 0:
        raise UsageError(
            f"no epoch of {task.recipe.out} could be kept: train longer (epochs or minutes)"
        )
    console.print(
        f"best epoch {progress.best_epoch} of {progress.epoch}, score {progress.best_score:.4f}, "
        f"{progress.seconds / 60:.0f} minutes: {task.recipe.out / 'best.pt'}",
        soft_wrap=True,
        highlight=False,
    )
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
