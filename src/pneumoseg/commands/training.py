"""What ``train`` and ``calibrate`` do at the terminal."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

from rich.logging import RichHandler

from pneumoseg.commands.terminal import EXIT_OK, console, errors, text_table
from pneumoseg.errors import UsageError

if TYPE_CHECKING:  # a command imports what it runs, and only when it runs
    from pneumoseg.training.calibrate import CalibrateSettings
    from pneumoseg.training.loop import Task
    from pneumoseg.training.recipes import ClassifierRecipe, SegmenterRecipe


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
    from pneumoseg.statistics.estimate import CELLS
    from pneumoseg.training.calibrate import calibrate as make_bundle

    done = make_bundle(settings)
    header = ("figure", *CELLS)
    cells = [(figure.name, *figure.estimate.cells()) for figure in done.figures]
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
