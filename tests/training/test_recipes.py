"""Recipes: the seed's values as defaults, and values that cannot be."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from pneumoseg.dataset.prepare.run import PrepareSettings
from pneumoseg.errors import UsageError
from pneumoseg.simulation.run import SimulateSettings
from pneumoseg.storage.strict import load_settings
from pneumoseg.training.calibrate import CalibrateSettings
from pneumoseg.training.recipes import ClassifierRecipe, Recipe, Schedule, SegmenterRecipe

_CONFIGS = Path(__file__).parents[2] / "configs"


def test_the_seeds_values_are_the_defaults() -> None:
    classifier, segmenter = ClassifierRecipe(), SegmenterRecipe()
    assert (classifier.size, classifier.init, classifier.positive_share) == (512, "imagenet", 0.5)
    assert (classifier.focal_alpha, classifier.focal_gamma) == (0.75, 2.0)
    assert classifier.target_recall == 0.95
    assert (segmenter.size, segmenter.init, segmenter.lesion_share) == (512, "imagenet", 0.75)
    assert segmenter.shallow_skips


@pytest.mark.parametrize("size", [0, 31, 100, -32])
def test_a_size_that_the_networks_cannot_halve_five_times(size: int) -> None:
    with pytest.raises(UsageError, match=f"multiple of 32, got {size}"):
        Recipe(size=size)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"epochs": 0}, "epochs must be 1 or more, got 0"),
        ({"films_per_epoch": 0}, "films_per_epoch must be 1 or more"),
        ({"batch_size": 0}, "batch_size must be 1 or more"),
        ({"patience": 0}, "patience must be 1 or more"),
        ({"minutes": -1.0}, "minutes must be 0 or more"),
        ({"warmup": 1.0}, "warmup and ema_decay lie in"),
        ({"ema_decay": 1.0}, "warmup and ema_decay lie in"),
    ],
)
def test_a_schedule_that_cannot_be(values: dict[str, float], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        Schedule(**values)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"teacher": "best.pt", "teacher_share": 1.5}, r"teacher_share lies in \[0, 1\], got 1.5"),
        ({"teacher_share": 0.5}, "teacher_share and teacher_zoom need a teacher"),
        ({"teacher_zoom": 1.5}, "teacher_share and teacher_zoom need a teacher"),
        ({"teacher": "best.pt", "teacher_zoom": 0.5}, "teacher_zoom must be 1 or more"),
        ({"teacher": "best.pt", "size": 160, "teacher_zoom": 1.5}, "got 160 × 1.5 = 240"),
        ({"film_dice_weight": -1.0}, "film_dice_weight must be 0 or more"),
        ({"size": 100}, "multiple of 32, got 100"),
    ],
)
def test_a_segmenters_recipe_that_cannot_be(values: dict[str, float], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        SegmenterRecipe(**values)  # type: ignore[arg-type]


def test_a_zoom_that_no_float_is() -> None:
    """320 × 1.1 is 352.00000000000006, and 11 × 32 all the same."""
    assert SegmenterRecipe(size=320, teacher="best.pt", teacher_zoom=1.1).teacher_zoom == 1.1


def test_what_was_added_is_off_by_default() -> None:
    """A recipe that says nothing of it trains as it did."""
    segmenter, augmentation = SegmenterRecipe(), SegmenterRecipe().augment
    assert (segmenter.teacher_share, segmenter.teacher_zoom) == (0.0, 1.0)
    assert segmenter.film_dice_weight == 0.0
    assert augmentation.lesion_zoom_share == augmentation.anisotropy == 0.0
    assert augmentation.elastic == augmentation.cutout == 0.0


def test_every_default_is_in_one_place() -> None:
    """Both share the loop's settings; a field of its own in one would be a second default."""
    shared = {f.name for f in dataclasses.fields(Recipe)} - {"out"}
    for kind in (ClassifierRecipe, SegmenterRecipe):
        own = set(kind.__annotations__)
        assert not own & shared


@pytest.mark.parametrize("path", sorted(_CONFIGS.glob("*.toml")), ids=lambda path: path.stem)
def test_the_shipped_recipes_can_be_read(path: Path) -> None:
    """A renamed field must not leave a recipe behind that no command reads any more."""
    header = [line for line in path.read_text().splitlines() if line.startswith("#")]
    commands = [line for line in header if "pneumoseg" in line]
    assert commands, f"{path.name} does not say its command"
    kinds = {
        "train classifier": ClassifierRecipe,
        "train segmenter": SegmenterRecipe,
        "prepare": PrepareSettings,
        "simulate": SimulateSettings,
        "calibrate": CalibrateSettings,
    }
    kind = next(kinds[name] for name in kinds if f"pneumoseg {name}" in commands[0])
    assert isinstance(load_settings(kind, path), kind)
