"""The loop with a task so small that its course can be followed: a line fitted to eight points."""

from __future__ import annotations

import json
import math
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import Dataset

from pneumoseg.errors import DataError, RuntimeUnavailableError, UsageError
from pneumoseg.training import loop
from pneumoseg.training.loop import TrainingProgress, train
from pneumoseg.training.recipes import Recipe, Schedule

_SCHEDULE = Schedule(
    epochs=4,
    films_per_epoch=16,
    batch_size=4,
    learning_rate=0.05,
    warmup=0.1,
    ema_decay=0.9,
    patience=10,
    precision="fp32",
    workers=0,
)


class _Killed(Exception):
    """Stands for the power cut."""


class _Points(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """y = 2 x for eight x, with noise drawn anew each time, as augmentation is."""

    def __init__(self, value: float = 2.0) -> None:
        self.value = value
        self.drawn: list[int] = []

    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        self.drawn.append(index)
        x = torch.full((1, 2, 2), float(index) / 8) + 0.01 * torch.randn(1, 2, 2)
        return x, self.value * x.mean().reshape(1)


class _Task:
    """Fits the line; ``scores`` are what its validations say, one after the other."""

    name = "line"

    def __init__(self, recipe: Recipe, scores: list[float] | None = None) -> None:
        self.recipe = recipe
        self.scores = scores
        self.points = _Points()
        self.weights = torch.ones(8, dtype=torch.float64)
        self.reported: list[float] = []
        self.validated: list[torch.Tensor] = []
        self.drawings = 0
        self.first_eligible = 0.0

    def build(self) -> nn.Module:
        self.model = nn.Sequential(
            nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2), nn.Dropout(0.2), nn.Flatten(), nn.Linear(8, 1)
        )
        return self.model

    def training_set(self) -> tuple[Dataset[Any], torch.Tensor]:
        return self.points, self.weights

    def loss(self, model: nn.Module, batch: Any) -> torch.Tensor:
        x, y = batch
        return ((model(x) - y) ** 2).mean()

    def set_progress(self, model: nn.Module, progress: float) -> None:
        self.reported.append(progress)

    def validate(self, model: nn.Module, device: torch.device) -> dict[str, float]:
        assert not model.training
        self.validated.append(model[-1].weight.detach().clone())  # type: ignore[index]
        x = torch.arange(8).reshape(8, 1, 1, 1).expand(8, 1, 2, 2) / 8
        with torch.inference_mode():
            error = float(((model(x)[:, 0] - 2 * x[:, 0, 0, 0]) ** 2).mean())
        score = -error if self.scores is None else self.scores[len(self.validated) - 1]
        return {"score": score, "error": error}

    def eligible(self, progress: float) -> bool:
        return progress >= self.first_eligible

    def draw(self, folder: Path) -> None:
        self.drawings += 1


@pytest.fixture(autouse=True)
def _plain_curves(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """Pictures take most of the time of so small a training; one test draws them."""
    if "draws_curves" not in request.node.name:
        monkeypatch.setattr(loop, "draw_training_curves", lambda history, path: None)


def _recipe(folder: Path, **schedule: Any) -> Recipe:
    return Recipe(out=folder / "run", seed=3, schedule=replace(_SCHEDULE, **schedule))


def _course(progress: TrainingProgress) -> list[dict[str, float]]:
    """The history without the clock."""
    return [{k: v for k, v in r.items() if k != "minutes"} for r in progress.history]


def test_it_learns(tmp_path: Path) -> None:
    progress = train(_Task(_recipe(tmp_path, epochs=8)))
    errors = [record["error"] for record in progress.history]
    assert progress.epoch == 8 and progress.step == 8 * 4
    assert errors[-1] < errors[0] / 2
    assert [record["films"] for record in progress.history] == [16.0] * 8


def test_a_run_folder_explains_itself_and_draws_curves(tmp_path: Path) -> None:
    recipe = _recipe(tmp_path, epochs=2)
    task = _Task(recipe)
    progress = train(task)
    names = {path.name for path in recipe.out.iterdir()}
    assert names == {
        "settings.json", "environment.json", "metrics.json", "curves.png", "best.pt", "latest.pt",
        "last",
    }  # fmt: skip
    settings = json.loads((recipe.out / "settings.json").read_text())
    assert settings["seed"] == 3 and settings["schedule"]["learning_rate"] == 0.05
    environment = json.loads((recipe.out / "environment.json").read_text())
    assert environment["torch"] == torch.__version__ and environment["precision"] == "fp32"
    assert json.loads((recipe.out / "metrics.json").read_text()) == progress.history
    best = torch.load(recipe.out / "best.pt", weights_only=True)
    assert best["recipe"] == settings
    assert best["metrics"] == progress.history[progress.best_epoch - 1]
    assert task.drawings >= 1


def test_the_best_epoch_is_kept_not_the_last(tmp_path: Path) -> None:
    task = _Task(_recipe(tmp_path), [0.2, 0.7, 0.7, 0.4])
    progress = train(task)
    assert (progress.best_epoch, progress.best_score) == (2, 0.7)
    kept = torch.load(task.recipe.out / "best.pt", weights_only=True)["model"]
    assert torch.equal(kept["4.weight"], task.validated[1])
    assert not torch.equal(kept["4.weight"], task.validated[3])
    assert task.drawings == 2


def test_an_epoch_that_may_not_be_kept_is_not(tmp_path: Path) -> None:
    """While ReLU6 slides to SiLU no epoch is a plain EfficientNet-B3, however good."""
    task = _Task(_recipe(tmp_path), [0.9, 0.8, 0.1, 0.2])
    task.first_eligible = 0.6  # epochs end at 0.25, 0.5, 0.75, 1
    assert train(task).best_epoch == 4


@pytest.mark.parametrize("kill_at_step", [2, 6, 8, 13])
def test_a_killed_run_goes_on_as_if_nothing_had_been(kill_at_step: int, tmp_path: Path) -> None:
    """Same films, same noise, same dropout, same averages: the history is the same to the bit."""

    def kill(progress: TrainingProgress, loss: float) -> None:
        if progress.step == kill_at_step:
            raise _Killed

    whole = train(_Task(_recipe(tmp_path / "whole")))
    cut = _Task(_recipe(tmp_path / "cut"))
    with pytest.raises(_Killed):
        train(cut, on_step=kill)
    torch.manual_seed(999)  # another process would not have this one's random state
    resumed = train(_Task(cut.recipe))
    assert _course(resumed) == _course(whole)
    assert (resumed.best_epoch, resumed.best_score) == (whole.best_epoch, whole.best_score)
    one, other = (
        torch.load(folder / "run" / "best.pt", weights_only=True)["model"]
        for folder in (tmp_path / "whole", tmp_path / "cut")
    )
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_killed_between_the_renames_of_a_checkpoint(tmp_path: Path) -> None:
    recipe = _recipe(tmp_path)
    done = train(_Task(recipe))
    (recipe.out / "last").rename(recipe.out / "last.old")
    assert _course(train(_Task(recipe))) == _course(done)


def test_a_finished_run_is_not_trained_further(tmp_path: Path) -> None:
    recipe = _recipe(tmp_path)
    train(_Task(recipe))
    again = _Task(recipe)
    assert train(again).epoch == 4
    assert again.validated == [] and again.points.drawn == []


def test_a_run_from_before_an_option_goes_on(tmp_path: Path) -> None:
    """An earlier version wrote fewer keys; such a run had the new options at their defaults."""
    recipe = _recipe(tmp_path, epochs=1)
    train(_Task(recipe))
    path = recipe.out / "settings.json"
    held = json.loads(path.read_text())
    del held["augment"]["cutout"], held["schedule"]["fast_depthwise"], held["source_shares"]
    path.write_text(json.dumps(held))
    assert train(_Task(recipe)).epoch == 1
    held["augment"]["flip"] = 0.125
    path.write_text(json.dumps(held))
    with pytest.raises(UsageError, match="another recipe"):
        train(_Task(recipe))


def test_another_recipe_in_the_folder_is_refused(tmp_path: Path) -> None:
    recipe = _recipe(tmp_path, epochs=1)
    train(_Task(recipe))
    kept = (recipe.out / "best.pt").read_bytes()
    other = replace(recipe, seed=4)
    with pytest.raises(UsageError, match="holds a run of another recipe.*--overwrite"):
        train(_Task(other))
    assert (recipe.out / "best.pt").read_bytes() == kept
    assert train(_Task(other), overwrite=True).epoch == 1
    assert json.loads((recipe.out / "settings.json").read_text())["seed"] == 4


def test_overwrite_starts_the_same_recipe_anew(tmp_path: Path) -> None:
    recipe = _recipe(tmp_path, epochs=2)
    train(_Task(recipe))
    task = _Task(recipe)
    assert train(task, overwrite=True).step == 8
    assert len(task.points.drawn) == 2 * 16


def test_it_stops_early(tmp_path: Path) -> None:
    """The best is epoch 2; with a patience of 2 the tenth epoch is never reached."""
    task = _Task(_recipe(tmp_path, epochs=10, patience=2), [0.1, 0.9, *[0.5] * 8])
    progress = train(task)
    assert progress.best_epoch == 2
    assert progress.epoch == 4
    assert train(_Task(task.recipe)).epoch == progress.epoch  # and stays stopped


def test_the_clock_ends_it(tmp_path: Path) -> None:
    """A budget of 1.2 seconds: the schedule follows the clock and the last epoch is cut short."""
    task = _Task(_recipe(tmp_path, epochs=100_000, films_per_epoch=4000, minutes=0.02))
    started = time.monotonic()
    progress = train(task, on_step=lambda progress, loss: time.sleep(0.01))
    assert progress.epoch == 1 and 0 < progress.step < 1000
    assert progress.seconds >= 1.2
    assert time.monotonic() - started < 30
    assert task.reported[-1] == 1.0 and task.reported == sorted(task.reported)
    assert (task.recipe.out / "best.pt").is_file()


@pytest.mark.parametrize("value", [math.inf, math.nan])
def test_a_loss_that_is_no_number_stops_the_run(value: float, tmp_path: Path) -> None:
    task = _Task(_recipe(tmp_path))
    task.points = _Points(value)
    with pytest.raises(DataError, match="the loss became (inf|nan): lower the learning"):
        train(task)
    assert not (task.recipe.out / "best.pt").exists()


def test_what_is_validated_is_the_moving_average(tmp_path: Path) -> None:
    """Recomputed from the raw weights after each step: decay min(0.9, (1 + t) / (10 + t))."""
    task = _Task(_recipe(tmp_path, epochs=1, films_per_epoch=48))
    raw: list[torch.Tensor] = []
    train(task, on_step=lambda p, loss: raw.append(task.model[-1].weight.detach().clone()))
    average = raw[0]
    for count, weight in enumerate(raw[1:], start=1):
        decay = min(0.9, (1 + count) / (10 + count))
        average = decay * average + (1 - decay) * weight
    assert len(raw) == 12
    assert torch.allclose(task.validated[0], average, atol=1e-6)
    assert not torch.allclose(task.validated[0], raw[-1], atol=1e-6)


def test_films_are_drawn_by_weight(tmp_path: Path) -> None:
    task = _Task(_recipe(tmp_path, epochs=1))
    task.weights = torch.tensor([0.0, 1, 0, 0, 0, 3, 0, 0], dtype=torch.float64)
    train(task)
    assert set(task.points.drawn) == {1, 5}


def test_another_seed_draws_other_films_and_each_epoch_its_own(tmp_path: Path) -> None:
    tasks = [_Task(replace(_recipe(tmp_path / str(seed), epochs=2), seed=seed)) for seed in (0, 1)]
    for task in tasks:
        train(task)
    one, other = tasks[0].points.drawn, tasks[1].points.drawn
    assert one != other
    assert one[:16] != one[16:]


def test_progress_is_told_before_each_step(tmp_path: Path) -> None:
    """Two epochs of four steps: 0, 1/8, ... 7/8, and the end of each epoch for its validation."""
    task = _Task(_recipe(tmp_path, epochs=2))
    train(task)
    eighths = [0, 1, 2, 3, 4, 4, 5, 6, 7, 8]
    assert task.reported == pytest.approx([e / 8 for e in eighths])


def test_learning_rate_warms_up_and_follows_a_cosine() -> None:
    """Linear to 1 at 0.1; half way of the rest (0.01 + 1) / 2; 0.01 at the end."""
    at = [loop._learning_rate_factor(share, 0.1) for share in (0.0, 0.05, 0.1, 0.55, 1.0)]
    assert at == pytest.approx([0.001, 0.5, 1.0, 0.505, 0.01])
    assert loop._learning_rate_factor(0.0, 0.0) == 1.0


def test_norms_and_biases_do_not_decay() -> None:
    network = _Task(Recipe()).build()
    decayed, free = loop._parameter_groups(network, 0.02)
    assert [p.shape for p in decayed["params"]] == [(2, 1, 1, 1), (1, 8)]
    assert decayed["weight_decay"] == 0.02 and free["weight_decay"] == 0.0
    assert len(free["params"]) == 4


def test_a_recipe_may_ask_for_faster_gradients(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asked for, every network that is trained hears of it with the precision; else none does."""
    reported: list[tuple[nn.Module, str]] = []
    monkeypatch.setattr(loop, "use_fast_depthwise", lambda *arguments: reported.append(arguments))
    for fast in (False, True):
        schedule = replace(_SCHEDULE, epochs=1, fast_depthwise=fast)
        task = _Task(Recipe(out=tmp_path / str(fast), schedule=schedule))
        train(task)
        assert reported == ([(task.model, "no")] if fast else [])


def test_a_refusal_leaves_no_folder(tmp_path: Path) -> None:
    """This schedule is fp32's, for which there are no faster gradients."""
    recipe = Recipe(out=tmp_path / "run", schedule=replace(_SCHEDULE, fast_depthwise=True))
    with pytest.raises(RuntimeUnavailableError, match="fast_depthwise is for training in bf16"):
        train(_Task(recipe))
    assert not (tmp_path / "run").exists()
