"""What the two trainings draw, show and count: by hand, on a cache of eight films."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import WeightedRandomSampler

from pneumoseg.dataset.cache import (
    CACHE_FILE,
    FORMAT_OF,
    IMAGES_FILE,
    MASKS_FILE,
    TABLE_FILE,
    Cache,
    CacheRow,
    write_table,
)
from pneumoseg.errors import DataError, UsageError
from pneumoseg.segmenter_efficientnet_b3 import EfficientNetB3UNet
from pneumoseg.study import Modality
from pneumoseg.training.augment import AugmentSettings
from pneumoseg.training.distill import build_teacher
from pneumoseg.training.losses import combo_loss, film_dice_loss
from pneumoseg.training.recipes import ClassifierRecipe, Recipe, SegmenterRecipe, SourceShare
from pneumoseg.training.tasks import (
    UNKNOWN,
    ClassifierTask,
    FilmDataset,
    SegmenterTask,
    sampling_weights,
)

_STILL = AugmentSettings(
    flip=0, rotate_degrees=0, scale=0, shift=0, contrast=0, brightness=0, gamma=0, noise=0, blur=0,
    recompress=0,
)  # fmt: skip

# source, part, label of each film
_FILMS = (
    ("real", "train", 1),
    ("real", "train", 0),
    ("real", "train", 0),
    ("phantom", "train", 1),
    ("phantom", "train", 0),
    ("real", "calibration", 1),
    ("real", "calibration", 0),
    ("real", "calibration", 1),
)


def write_cache(folder: Path, films: tuple[tuple[str, str, int], ...] = _FILMS) -> Cache:
    """Films of brightness 20 * row; a positive one has a white square with its mask."""
    folder.mkdir()
    images = np.zeros((len(films), 512, 512), dtype=np.uint8)
    masks = np.zeros_like(images)
    rows = []
    for row, (source, part, label) in enumerate(films):
        images[row] = 20 * row
        if label:
            masks[row, 128:256, 64:128] = 1
            images[row][masks[row] == 1] = 255
        name = f"film{row}"
        rows.append(
            CacheRow(row, name, source, name, part, label, "mask", "PA", "", "", 512, 512, name)
        )
    images.tofile(folder / IMAGES_FILE)
    masks.tofile(folder / MASKS_FILE)
    write_table(tuple(rows), folder / TABLE_FILE)
    about = {"format": FORMAT_OF[Modality.XRAY], "grid": 512, "rows": len(films)}
    (folder / CACHE_FILE).write_text(json.dumps(about))
    return Cache.open(folder)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Cache:
    return write_cache(tmp_path_factory.mktemp("tasks") / "cache")


def test_half_of_what_is_drawn_is_positive(cache: Cache) -> None:
    """Two of five train films are positive: each weighs 1/4, each negative 1/6."""
    weights = sampling_weights(cache, cache.part("train"), 0.5, Recipe())
    assert weights == pytest.approx([1 / 4, 1 / 6, 1 / 6, 1 / 4, 1 / 6])
    generator = torch.Generator().manual_seed(0)
    drawn = list(WeightedRandomSampler(weights.tolist(), 4000, generator=generator))
    positive = np.mean([index in (0, 3) for index in drawn])
    assert positive == pytest.approx(0.5, abs=0.03)


def test_a_source_has_the_same_share_of_both_classes(cache: Cache) -> None:
    """A fifth of the positives and a fifth of the negatives: «is a phantom» must say nothing.

    Positives: real 0.8 and phantom 0.2 of 0.75. Negatives: two real films share 0.8 of 0.25.
    """
    recipe = Recipe(source_shares=(SourceShare("phantom", 0.2),))
    weights = sampling_weights(cache, cache.part("train"), 0.75, recipe)
    assert weights == pytest.approx([0.6, 0.1, 0.1, 0.15, 0.05])
    assert weights.sum() == pytest.approx(1.0)


def test_a_class_that_one_source_has_alone_comes_from_it(tmp_path: Path) -> None:
    films = (("real", "train", 1), ("phantom", "train", 0), ("phantom", "train", 1))
    cache = write_cache(tmp_path / "cache", films)
    recipe = Recipe(source_shares=(SourceShare("phantom", 0.3),))
    weights = sampling_weights(cache, cache.part("train"), 0.5, recipe)
    assert weights == pytest.approx([0.35, 0.5, 0.15])


def test_a_source_of_share_zero_is_left_out(cache: Cache) -> None:
    recipe = Recipe(source_shares=(SourceShare("phantom", 0.0),))
    weights = sampling_weights(cache, cache.part("train"), 0.5, recipe)
    assert weights == pytest.approx([0.5, 0.25, 0.25, 0.0, 0.0])


def test_a_source_that_is_not_there_is_named(cache: Cache) -> None:
    """A misspelt source in a recipe must not silently weigh nothing."""
    recipe = Recipe(source_shares=(SourceShare("fantom", 0.5),))
    with pytest.raises(DataError, match="no source 'fantom'; it has phantom, real"):
        sampling_weights(cache, cache.part("train"), 0.5, recipe)


@pytest.mark.parametrize(("label", "missing"), [(1, "negative"), (0, "positive")])
def test_a_class_without_films_is_named(label: int, missing: str, tmp_path: Path) -> None:
    cache = write_cache(tmp_path / "cache", (("real", "train", label),) * 2)
    with pytest.raises(DataError, match=f"has no {missing} film to draw from"):
        sampling_weights(cache, cache.part("train"), 0.5, Recipe())


def test_positives_alone_may_be_asked_for(cache: Cache) -> None:
    weights = sampling_weights(cache, cache.part("train"), 1.0, Recipe())
    assert weights == pytest.approx([0.5, 0, 0, 0.5, 0])


def test_films_for_the_classifier(cache: Cache) -> None:
    """(20 / 255 - 0.5) / 0.5 for the second film, and its label."""
    films = FilmDataset(cache, cache.part("train"), Recipe(size=64, augment=_STILL), masks=False)
    assert len(films) == 5
    tensor, label = films[1]
    assert tensor.shape == (1, 64, 64) and tensor.dtype == torch.float32
    assert torch.allclose(tensor, torch.tensor(20 / 127.5 - 1))
    assert label.tolist() == [0.0] and films[3][1].tolist() == [1.0]


def test_films_for_the_segmenter(cache: Cache) -> None:
    """The square of 128×64 grid pixels is 16×8 at size 64, on film and mask alike."""
    films = FilmDataset(cache, cache.part("train"), Recipe(size=64, augment=_STILL), masks=True)
    tensor, label, mask = films[0]
    assert label.tolist() == [1.0]
    assert mask.shape == (1, 64, 64) and mask.dtype == torch.float32
    assert mask.sum() == 16 * 8 and mask[0, 16:32, 8:16].all()
    assert torch.equal(tensor[0] > 0.9, mask[0] > 0)


class _Pointing(nn.Module):
    """A classifier that finds every film doubtful, and its evidence in the first cell."""

    def forward(
        self, films: torch.Tensor, evidence: bool = False
    ) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
        logits = torch.zeros(len(films), 1)
        cells = torch.zeros(len(films), 1, 2, 2)
        cells[:, :, 0, 0] = np.log(3)
        return (logits, cells) if evidence else logits


def test_the_classifier_learns_where_to_look_if_the_recipe_asks(cache: Cache) -> None:
    """The lesion lies in the first of four cells, predicted at 1/2: ln 2 more, times the weight."""
    recipe = ClassifierRecipe(cache=cache.folder, size=64, augment=_STILL)
    losses = []
    for weight in (0.0, 0.5):
        task = ClassifierTask(replace(recipe, evidence_weight=weight))
        films, _ = task.training_set()
        batch = [torch.stack(parts) for parts in zip(films[0], films[1], strict=True)]
        losses.append(task.loss(_Pointing(), batch).item())
    assert losses[1] - losses[0] == pytest.approx(0.5 * np.log(2), rel=1e-5)


class _Brightness(nn.Module):
    """A classifier that takes the mean brightness for its logit."""

    def forward(self, films: torch.Tensor) -> torch.Tensor:
        return films.mean(dim=(1, 2, 3))[:, None]


@pytest.mark.parametrize("keep_by", ["f2", "auroc"])
def test_the_recipe_says_which_figure_keeps_an_epoch(cache: Cache, keep_by: str) -> None:
    recipe = ClassifierRecipe(cache=cache.folder, size=64, keep_by=keep_by)
    task = ClassifierTask(recipe)
    task.training_set()
    figures = task.validate(_Brightness(), torch.device("cpu"))
    assert figures["score"] == figures[keep_by] and figures["f2"] != figures["auroc"]


def test_augmentation_follows_torchs_seed(cache: Cache) -> None:
    """torch seeds the loader processes: numpy's randomness must hang on it, or all workers would
    draw the same noise.
    """
    films = FilmDataset(cache, cache.part("train"), Recipe(size=64), masks=False)
    torch.manual_seed(5)
    first, second = films[0][0], films[0][0]
    torch.manual_seed(5)
    assert torch.equal(films[0][0], first)
    assert not torch.equal(first, second)


def test_a_cache_without_a_part_is_refused(tmp_path: Path) -> None:
    folder = write_cache(tmp_path / "cache", (("real", "train", 1), ("real", "train", 0))).folder
    with pytest.raises(DataError, match="has no calibration part"):
        ClassifierTask(ClassifierRecipe(cache=folder))


class _Mean(nn.Module):
    """Logit: the film's mean brightness, in [-1, 1]."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return image.mean(dim=(2, 3))


class _Bright(nn.Module):
    """Logit of a pixel: positive where it is nearly white."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return 50 * (image - 0.9)


def test_the_classifiers_figures_by_hand(cache: Cache, tmp_path: Path) -> None:
    """Calibration films: positive 100 with a square, negative 120, positive 140 with a square.

    The square of 1/32 of the film lifts the first to 104.8: the negative lies between the two
    positives. AUROC 1/2; best F2 says all positive: 5 * 2 / (5 * 2 + 1) = 10 / 11. For a recall of
    0.95 both positives must be found, and the negative is alarmed.
    """
    task = ClassifierTask(ClassifierRecipe(cache=cache.folder, size=64))
    figures = task.validate(_Mean(), torch.device("cpu"))
    assert task.logits == pytest.approx(np.array([104.84, 120, 143.59]) / 127.5 - 1, abs=1e-3)
    assert figures["auroc"] == pytest.approx(0.5)
    assert figures["score"] == figures["f2"] == pytest.approx(10 / 11)
    assert figures["specificity_at_recall"] == 0.0
    task.draw(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {
        "confusion_default.png", "confusion_calibrated.png", "roc.png",
    }  # fmt: skip


def test_the_segmenters_figures_by_hand(cache: Cache, tmp_path: Path) -> None:
    """Both lesions found to the pixel, nothing predicted on the healthy film."""
    task = SegmenterTask(SegmenterRecipe(cache=cache.folder, size=64))
    figures = task.validate(_Bright(), torch.device("cpu"))
    assert figures["score"] == figures["lesion_dice"] == 1.0
    assert figures["image_accuracy"] == figures["image_recall"] == 1.0
    task.draw(tmp_path)
    assert (tmp_path / "confusion_default.png").is_file()


def test_a_positive_film_without_a_mask_trains_the_classifier_alone(tmp_path: Path) -> None:
    cache = write_cache(tmp_path / "cache")
    rows = tuple(replace(row, label_origin="silver") for row in cache.rows)
    write_table(rows, cache.folder / TABLE_FILE)
    taught, _ = ClassifierTask(ClassifierRecipe(cache=cache.folder, size=64)).training_set()
    assert isinstance(taught, FilmDataset) and taught.rows.tolist() == cache.part("train").tolist()
    with pytest.raises(DataError, match="no positive film"):
        SegmenterTask(SegmenterRecipe(cache=cache.folder, size=64)).training_set()
    one = (replace(rows[0], label_origin="mask"), *rows[1:])
    write_table(one, cache.folder / TABLE_FILE)
    masked, _ = SegmenterTask(SegmenterRecipe(cache=cache.folder, size=64)).training_set()
    assert isinstance(masked, FilmDataset)
    assert [cache.labels[row] for row in masked.rows].count(1) == 1


def test_a_teacher_predicts_masks_that_are_missing(tmp_path: Path) -> None:
    """Its mask stands in for the missing one alone: the loss of a drawn mask stays what it was."""
    cache = write_cache(tmp_path / "cache")
    rows = (replace(cache.rows[0], label_origin="silver"), *cache.rows[1:])
    write_table(rows, cache.folder / TABLE_FILE)
    best = tmp_path / "best.pt"
    torch.save(build_teacher("scratch").state_dict(), best)
    recipe = SegmenterRecipe(
        cache=cache.folder, size=64, init="scratch", teacher=str(best), augment=_STILL
    )
    task = SegmenterTask(recipe)
    films, _ = task.training_set()
    assert isinstance(films, FilmDataset) and films.rows.tolist() == cache.part("train").tolist()
    unknown, drawn = films[0][2], films[3][2]
    assert (unknown == UNKNOWN).all() and set(drawn.unique().tolist()) == {0.0, 1.0}

    task.set_progress(nn.Identity(), 1.0)  # the feature loss is over, the predicted masks are not
    model = task.build().eval()
    film = films[0][0][None]
    assert task.teacher is not None
    expected = combo_loss(model(film), torch.sigmoid(task.teacher.network(film)))
    torch.testing.assert_close(task.loss(model, (film, None, unknown[None])), expected)
    film = films[3][0][None]
    known = task.loss(model, (film, None, drawn[None]))
    torch.testing.assert_close(known, combo_loss(model(film), drawn[None]))


def test_a_teacher_has_no_teacher(cache: Cache) -> None:
    recipe = SegmenterRecipe(cache=cache.folder, encoder="efficientnet_b3", teacher="best.pt")
    with pytest.raises(UsageError, match="makes a teacher and has none"):
        SegmenterTask(recipe)
    alone = SegmenterRecipe(cache=cache.folder, encoder="efficientnet_b3", init="scratch")
    assert isinstance(SegmenterTask(alone).build(), EfficientNetB3UNet)


def test_a_missed_lesion_counts_nothing(cache: Cache) -> None:
    """A network that says nothing has lesion Dice 0, not the mean over what it found."""
    task = SegmenterTask(SegmenterRecipe(cache=cache.folder, size=64))
    silent = nn.Sequential(_Bright(), nn.Threshold(1e6, -20.0))
    figures = task.validate(silent, torch.device("cpu"))
    assert figures["score"] == 0.0 and figures["image_recall"] == 0.0
    assert figures["image_accuracy"] == pytest.approx(1 / 3)


def test_the_threshold_of_a_pixel_is_a_probability(cache: Cache) -> None:
    """Half a lesion predicted: Dice 2 * 64 / (64 + 128) on both positives."""
    task = SegmenterTask(SegmenterRecipe(cache=cache.folder, size=64))

    class Half(_Bright):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            logits = super().forward(image)
            logits[:, :, 24:] = -1e-3  # just below a probability of 0.5
            return logits

    assert task.validate(Half(), torch.device("cpu"))["score"] == pytest.approx(2 / 3)


def test_recipes_decide_how_the_classifier_slides(
    cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With relu6_until 0.5 the share is 0.4 at a progress of 0.2; from 0.5 on epochs are kept."""
    shares: list[float] = []
    monkeypatch.setattr(
        "pneumoseg.training.tasks.set_silu_share", lambda model, share: shares.append(share)
    )
    recipe = ClassifierRecipe(cache=cache.folder, relu6_until=0.5)
    task = ClassifierTask(recipe)
    task.set_progress(_Mean(), 0.2)
    assert shares == pytest.approx([0.4])
    assert not task.eligible(0.49) and task.eligible(0.5)
    plain = ClassifierTask(replace(recipe, relu6_until=0.0))
    plain.set_progress(_Mean(), 0.2)
    assert len(shares) == 1 and plain.eligible(0.0)


def test_a_teacher_softens_every_target(tmp_path: Path) -> None:
    """Share 0.5: half mask, half teacher for the cross-entropy; the Dice of batch and film keep to
    the mask. A film without a mask is the teacher's alone. Share 0: the loss that it was.
    """
    cache = write_cache(tmp_path / "cache")
    rows = (replace(cache.rows[0], label_origin="silver"), *cache.rows[1:])
    write_table(rows, cache.folder / TABLE_FILE)
    best = tmp_path / "best.pt"
    torch.save(build_teacher("scratch").state_dict(), best)
    recipe = SegmenterRecipe(
        cache=cache.folder, size=64, init="scratch", teacher=str(best), augment=_STILL
    )
    task = SegmenterTask(replace(recipe, teacher_share=0.5, film_dice_weight=0.5))
    task.set_progress(nn.Identity(), 1.0)  # the feature loss is over
    model = task.build().eval()
    films, _ = task.training_set()
    drawn_film, undrawn_film = films[3], films[0]
    batch = [torch.stack(parts) for parts in zip(drawn_film, undrawn_film, strict=True)]
    assert task.teacher is not None
    taught = torch.sigmoid(task.teacher.network(batch[0]))
    hard = torch.stack((batch[2][0], (taught[1] > 0.5).float()))
    soft = torch.stack(((batch[2][0] + taught[0]) / 2, taught[1]))
    logits = model(batch[0])
    expected = combo_loss(logits, hard, film_dice_weight=0.5, soft_targets=soft)
    torch.testing.assert_close(task.loss(model, batch), expected)

    plain = SegmenterTask(recipe)
    plain.set_progress(nn.Identity(), 1.0)
    filled = torch.where(batch[2] == UNKNOWN, taught, batch[2])
    torch.testing.assert_close(plain.loss(model, batch), combo_loss(logits, filled))


def test_film_dice_is_asked_for_without_a_teacher_too(cache: Cache) -> None:
    recipe = SegmenterRecipe(cache=cache.folder, size=64, init="scratch", augment=_STILL)
    plain, more = SegmenterTask(recipe), SegmenterTask(replace(recipe, film_dice_weight=0.5))
    films, _ = plain.training_set()
    batch = [part[None] for part in films[0]]
    model = _Bright()
    difference = more.loss(model, batch) - plain.loss(model, batch)
    torch.testing.assert_close(difference, 0.5 * film_dice_loss(model(batch[0]), batch[2]))


def test_films_without_masks_are_enlarged_about_their_lesion(cache: Cache) -> None:
    """A classifier's films too: the lesion of 16×8 pixels becomes one of 32×16, label alike."""
    zoomed = replace(_STILL, lesion_zoom_share=1.0, lesion_zoom=(2.0, 2.0))
    films = FilmDataset(cache, cache.part("train"), Recipe(size=64, augment=zoomed), masks=False)
    torch.manual_seed(0)
    item = films[0]
    assert len(item) == 2 and item[1].tolist() == [1.0]
    assert (item[0] > 0.5).sum() == pytest.approx(4 * 16 * 8, rel=0.1)


def test_a_film_without_a_mask_is_shown_whole(tmp_path: Path) -> None:
    cache = write_cache(tmp_path / "cache")
    rows = (replace(cache.rows[0], label_origin="silver"), *cache.rows[1:])
    write_table(rows, cache.folder / TABLE_FILE)
    cache = Cache.open(cache.folder)
    zoomed = replace(_STILL, lesion_zoom_share=1.0, lesion_zoom=(2.0, 2.0))
    films = FilmDataset(cache, cache.part("train"), Recipe(size=64, augment=zoomed), masks=True)
    film, _, mask = films[0]
    assert (film > 0.9).sum() == 16 * 8 and (mask == UNKNOWN).all()
