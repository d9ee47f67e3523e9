"""The training loop, read downwards: sample, step, average, validate, keep the best, go on.

One loop serves both networks; what differs (network, loss, metrics) is a :class:`Task`. Devices,
precision and several processes are Hugging Face ``accelerate``'s affair. What the run folder holds
is :mod:`pneumoseg.training.run_folder`.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import math
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import broadcast
from torch import nn
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import DataLoader, Dataset, WeightedRandomSampler

from pneumoseg.errors import DataError
from pneumoseg.plots import draw_training_curves
from pneumoseg.training.depthwise import use_fast_depthwise
from pneumoseg.training.devices import open_devices
from pneumoseg.training.recipes import Recipe, Schedule
from pneumoseg.training.run_folder import (
    BEST_FILE,
    LATEST_FILE,
    check_run,
    make_run,
    save_weights,
    write_json,
)

logger = logging.getLogger(__name__)

Metrics = dict[str, float]
FINAL_LEARNING_RATE = 0.01
"""The cosine ends at this share of the peak."""


class Task(Protocol):
    """What the loop needs to know about one of the two networks."""

    name: str

    @property
    def recipe(self) -> Recipe:
        """The run's settings."""

    def build(self) -> nn.Module:
        """Make the network with its first weights."""

    def training_set(self) -> tuple[Dataset[Any], torch.Tensor]:
        """Films to draw from, and the weight of each, float64 (n,)."""

    def loss(self, model: nn.Module, batch: Any) -> torch.Tensor:
        """Loss of one batch, a scalar."""

    def set_progress(self, model: nn.Module, progress: float) -> None:
        """Hear how far training is, 0 to 1, before each step."""

    def validate(self, model: nn.Module, device: torch.device) -> Metrics:
        """Measure on the calibration part; holds the key ``score``, higher is better."""

    def eligible(self, progress: float) -> bool:
        """Whether an epoch that ends at ``progress`` may become the best."""

    def draw(self, folder: Path) -> None:
        """Draw the task's own pictures of the last validation into the run folder."""


@dataclass
class TrainingProgress:
    """Where a run stands; all that a resumed run must know beside the tensors."""

    epoch: int = 0
    step: int = 0
    seconds: float = 0.0
    best_score: float = -math.inf
    best_epoch: int = -1
    history: list[dict[str, float]] = field(default_factory=list)

    @property
    def stale_epochs(self) -> int:
        """Epochs since the best one; 0 while there is none."""
        return self.epoch - self.best_epoch if self.best_epoch >= 0 else 0

    def share(self, schedule: Schedule, steps_per_epoch: int) -> float:
        """Tell how much is over, 0 to 1: by steps or by the clock, whichever is further."""
        by_steps = self.step / (schedule.epochs * steps_per_epoch)
        by_clock = self.seconds / (60 * schedule.minutes) if schedule.minutes else 0.0
        return min(1.0, max(by_steps, by_clock))


def train(
    task: Task,
    *,
    overwrite: bool = False,
    on_step: Callable[[TrainingProgress, float], None] | None = None,
) -> TrainingProgress:
    """Train a network into ``task.recipe.out``; a stopped run of the same recipe is resumed.

    Args:
        task: which network, with its recipe.
        overwrite: start anew where the folder holds another run.
        on_step: hears the progress and the loss after every step.

    Returns:
        The final progress; ``best.pt`` and the pictures lie in the run folder.

    Raises:
        UsageError: the folder holds a run of another recipe.
        DataError: nothing to train on, or the loss is no longer finite.
    """
    check_run(task.recipe, overwrite)
    with _flushed_denormals():
        return _train(task, overwrite, on_step)


def _train(
    task: Task, overwrite: bool, on_step: Callable[[TrainingProgress, float], None] | None
) -> TrainingProgress:
    schedule = task.recipe.schedule
    run = _Run(task)
    run.open_folder(overwrite)
    progress = run.resume()
    while progress.epoch < schedule.epochs and progress.share(schedule, run.steps) < 1.0:
        if progress.stale_epochs >= schedule.patience:
            logger.info("no better epoch for %d epochs: stopping early", schedule.patience)
            break
        losses = run.learn_one_epoch(progress, on_step)
        run.validate_and_keep(progress, losses)
        run.checkpoint(progress)
    return progress


@contextmanager
def _flushed_denormals() -> Iterator[None]:
    """Round vanishing gradients to zero: as denormal numbers they slow a CPU down."""
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)  # it is a state of the whole process


class _Run:
    """One run in memory: the network, its average, optimiser and films on their device."""

    def __init__(self, task: Task) -> None:
        self.task, self.recipe, schedule = task, task.recipe, task.recipe.schedule
        if schedule.threads:
            torch.set_num_threads(schedule.threads)
        torch.manual_seed(self.recipe.seed)
        self.accelerator = open_devices(schedule.precision)
        network = task.build().to(memory_format=torch.channels_last)
        if schedule.fast_depthwise:
            use_fast_depthwise(network, self.accelerator.mixed_precision)
        groups = _parameter_groups(network, schedule.weight_decay)
        self.model, self.optimizer = self.accelerator.prepare(
            network, torch.optim.AdamW(groups, lr=0.0)
        )
        self.average = _averaged(self.accelerator.unwrap_model(self.model), schedule.ema_decay)
        self.accelerator.register_for_checkpointing(self.average)
        self.films, self.weights = task.training_set()
        batch_size = schedule.batch_size * self.accelerator.num_processes
        self.steps = math.ceil(schedule.films_per_epoch / batch_size)

    def open_folder(self, overwrite: bool) -> None:
        """Make the run folder explain itself; only now, when the network is known to build."""
        if self.accelerator.is_main_process:
            make_run(self.recipe, self.accelerator, overwrite=overwrite)
        self.accelerator.wait_for_everyone()

    def learn_one_epoch(
        self, progress: TrainingProgress, on_step: Callable[[TrainingProgress, float], None] | None
    ) -> list[float]:
        """Take an epoch's steps, or fewer where the clock runs out; the loss of each."""
        schedule, losses = self.recipe.schedule, []
        self.model.train()
        last = time.monotonic()
        for batch in _draw_batches(
            self.films, self.weights, self.recipe, progress.epoch, self.accelerator
        ):
            share = progress.share(schedule, self.steps)
            if share >= 1.0:
                break
            losses.append(self._step(batch, share))
            progress.step += 1
            progress.seconds, last = progress.seconds + time.monotonic() - last, time.monotonic()
            self._agree_on_time(progress)
            if on_step is not None:
                on_step(progress, losses[-1])
        return losses

    def _step(self, batch: Any, share: float) -> float:
        """One step of the optimiser and of the moving average."""
        schedule = self.recipe.schedule
        self.task.set_progress(self.model, share)
        for group in self.optimizer.param_groups:
            group["lr"] = schedule.learning_rate * _learning_rate_factor(share, schedule.warmup)
        with self.accelerator.autocast():
            loss = self.task.loss(self.model, batch)
        if not torch.isfinite(loss):
            raise DataError(
                f"the loss became {loss.item()}: lower the learning rate, or use precision fp32"
            )
        self.accelerator.backward(loss)
        self.accelerator.clip_grad_norm_(self.model.parameters(), schedule.gradient_clip)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.average.update_parameters(self.accelerator.unwrap_model(self.model))
        return float(loss.item())

    def _agree_on_time(self, progress: TrainingProgress) -> None:
        """Take the main process's clock, so that a budget of minutes ends all processes at once."""
        if self.accelerator.num_processes > 1:
            seconds = torch.tensor(progress.seconds, device=self.accelerator.device)
            progress.seconds = float(broadcast(seconds).item())

    def validate_and_keep(self, progress: TrainingProgress, losses: list[float]) -> None:
        """Measure the averaged network, write the record, keep the network if it is the best."""
        share, started = progress.share(self.recipe.schedule, self.steps), time.monotonic()
        self.task.set_progress(self.average, share)
        metrics = self.task.validate(self.average.module.eval(), self.accelerator.device)
        progress.seconds += time.monotonic() - started
        self._agree_on_time(progress)
        progress.epoch += 1
        films = len(losses) * self.recipe.schedule.batch_size * self.accelerator.num_processes
        record = {"epoch": float(progress.epoch), "loss": float(np.mean(losses)), **metrics}
        record |= {"minutes": progress.seconds / 60, "films": float(films)}
        progress.history.append(record)
        logger.info("%s", "  ".join(f"{key} {value:.4g}" for key, value in record.items()))
        better = self.task.eligible(share) and metrics["score"] > progress.best_score
        if better:
            progress.best_score, progress.best_epoch = metrics["score"], progress.epoch
        if self.accelerator.is_main_process:
            folder = self.recipe.out
            save_weights(folder / LATEST_FILE, self.average.module, self.recipe, record)
            if better:
                save_weights(folder / BEST_FILE, self.average.module, self.recipe, record)
                self.task.draw(folder)
            write_json(self.recipe.out / "metrics.json", progress.history)
            draw_training_curves(progress.history, self.recipe.out / "curves.png")

    def resume(self) -> TrainingProgress:
        """Load the last checkpoint of the run folder, or start."""
        last, old = self.recipe.out / "last", self.recipe.out / "last.old"
        if old.is_dir() and not last.is_dir():  # killed between the two renames of a checkpoint
            old.rename(last)
        if not last.is_dir():
            return TrainingProgress()
        self.accelerator.load_state(str(last))
        return TrainingProgress(**json.loads((last / "progress.json").read_text(encoding="utf-8")))

    def checkpoint(self, progress: TrainingProgress) -> None:
        """Replace ``last/`` as a whole, so that a kill at any moment leaves one good checkpoint."""
        folder = self.recipe.out
        new, last, old = folder / "last.new", folder / "last", folder / "last.old"
        if self.accelerator.is_main_process:
            shutil.rmtree(new, ignore_errors=True)
        self.accelerator.wait_for_everyone()
        self.accelerator.save_state(str(new))
        if self.accelerator.is_main_process:
            write_json(new / "progress.json", dataclasses.asdict(progress))
            shutil.rmtree(old, ignore_errors=True)
            if last.exists():
                last.rename(old)
            new.rename(last)
            shutil.rmtree(old, ignore_errors=True)
        self.accelerator.wait_for_everyone()


def _parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Decay matrices and filters; leave biases, norms and layer scales alone."""
    named = [p for p in model.parameters() if p.requires_grad]
    return [
        {"params": [p for p in named if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in named if p.ndim <= 1], "weight_decay": 0.0},
    ]


def _averaged(model: nn.Module, decay: float) -> AveragedModel:
    """Average weights and buffers, the decay warmed up so that a short run forgets its start."""

    def update(averaged: torch.Tensor, current: torch.Tensor, count: Any) -> torch.Tensor:
        if not averaged.is_floating_point():
            return current
        warmed = min(decay, (1.0 + float(count)) / (10.0 + float(count)))
        return torch.lerp(current, averaged, warmed)

    return AveragedModel(model, avg_fn=update, use_buffers=True)


def _learning_rate_factor(share: float, warmup: float) -> float:
    """Linear warm-up, then a cosine to :data:`FINAL_LEARNING_RATE`; ``share`` in [0, 1]."""
    if share < warmup:
        return max(share / warmup, 1e-3)
    cosine = 0.5 * (1 + math.cos(math.pi * (share - warmup) / (1 - warmup)))
    return FINAL_LEARNING_RATE + (1 - FINAL_LEARNING_RATE) * cosine


def _draw_batches(
    films: Dataset[Any], weights: torch.Tensor, recipe: Recipe, epoch: int, accelerator: Accelerator
) -> Iterator[Any]:
    """Draw one epoch's batches by weight; the same again for the same seed and epoch."""
    generator = torch.Generator().manual_seed(recipe.seed * 100_003 + epoch)
    sampler = WeightedRandomSampler(
        weights.tolist(), recipe.schedule.films_per_epoch, replacement=True, generator=generator
    )
    loader = DataLoader(
        films,
        batch_size=recipe.schedule.batch_size,
        sampler=sampler,
        num_workers=recipe.schedule.workers,
        generator=generator,
        drop_last=len(sampler) >= recipe.schedule.batch_size,
    )
    yield from accelerator.prepare(loader)
