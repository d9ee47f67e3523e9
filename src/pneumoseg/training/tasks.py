"""The two trainings: what each network learns from, minimises, and is chosen by."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.utils.data import Dataset

from pneumoseg import metrics
from pneumoseg.calibration import threshold_for_recall
from pneumoseg.dataset.cache import Cache
from pneumoseg.errors import DataError
from pneumoseg.metrics import SEED_BETA
from pneumoseg.plots import draw_confusion, draw_roc
from pneumoseg.preprocess import mask_to_input, to_tensor
from pneumoseg.settings import CLASSIFIER_THRESHOLD, SEGMENTER_THRESHOLD
from pneumoseg.training import distill
from pneumoseg.training.augment import AugmentSettings, augment
from pneumoseg.training.distill import UNKNOWN
from pneumoseg.training.initialise import build_classifier, build_segmenter
from pneumoseg.training.losses import combo_loss, evidence_loss, focal_loss
from pneumoseg.training.net2net import set_silu_share, use_sliding_activations
from pneumoseg.training.recipes import ClassifierRecipe, Recipe, SegmenterRecipe
from pneumoseg.training.validation import (
    NORMALISATION,
    VALIDATION_BATCH,
    infer,
    predict_logits,
)


class FilmDataset(Dataset[tuple[torch.Tensor, ...]]):
    """Augmented films of the cache with what is to be learnt from them.

    Items are float32 (1, size, size), the label, float32 (1,), and with ``masks`` the mask at the
    input size, float32 0/1 (1, size, size), or :data:`UNKNOWN` of a positive film without a mask.
    """

    def __init__(
        self, cache: Cache, rows: NDArray[np.int64], recipe: Recipe, *, masks: bool
    ) -> None:
        self.cache = cache
        self.rows = rows
        self.size = recipe.size
        self.settings: AugmentSettings = recipe.augment
        self.masks = masks

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, ...]:
        row = int(self.rows[index])
        # torch seeds each loader process and epoch; numpy's generator hangs on that seed.
        rng = np.random.default_rng(int(torch.randint(0, 2**62, (1,)).item()))
        looked_at = self.masks or self.settings.lesion_zoom_share > 0
        mask = self.cache.masks[row] if looked_at and self.cache.has_mask[row] else None
        film, mask = augment(self.cache.images[row], mask, self.settings, rng)
        tensor = torch.from_numpy(to_tensor(film, self.size, NORMALISATION))
        label = torch.tensor([float(self.cache.labels[row])])
        if not self.masks:
            return tensor, label
        if mask is None:
            return tensor, label, torch.full_like(tensor, UNKNOWN)
        return tensor, label, torch.from_numpy(mask_to_input(mask, self.size))


def sampling_weights(
    cache: Cache, rows: NDArray[np.int64], positive_share: float, recipe: Recipe
) -> NDArray[np.float64]:
    """Weigh films for a ``WeightedRandomSampler``: positives by their share, sources by the recipe.

    Returns:
        float64 (n,), summing to 1.

    Raises:
        DataError: a class has no film, or a named source is not in the cache.
    """
    shares = {share.source: share.share for share in recipe.source_shares}
    unknown = sorted(set(shares) - set(cache.sources.tolist()))
    if unknown:
        raise DataError(
            f"the cache {cache.folder} has no source {unknown[0]!r}; it has "
            f"{', '.join(sorted(set(cache.sources.tolist())))}"
        )
    positive = cache.labels[rows] == 1
    weights = np.zeros(len(rows))
    classes = (("positive", positive, positive_share), ("negative", ~positive, 1 - positive_share))
    for kind, chosen, class_share in classes:
        within = _weights_of_class(cache.sources[rows], chosen, shares)
        if class_share > 0 and within.sum() <= 0:
            raise DataError(f"the training part of {cache.folder} has no {kind} film to draw from")
        weights += class_share * within
    return weights


def _weights_of_class(
    sources: NDArray[np.str_], chosen: NDArray[np.bool_], shares: Mapping[str, float]
) -> NDArray[np.float64]:
    """Weights of the chosen films, summing to 1 (or 0 where there is none to draw)."""
    weights = np.zeros(len(sources))
    others = chosen.copy()
    for source, share in shares.items():
        films = chosen & (sources == source)
        others &= ~films
        weights[films] = share / max(1, films.sum())
    left = max(0.0, 1.0 - weights.sum())
    weights[others] = left / max(1, others.sum())
    total = weights.sum()
    return weights / total if total > 0 else weights


class ClassifierTask:
    """Stage one: focal loss, balanced batches, F2 at real proportions."""

    name = "classifier"

    def __init__(self, recipe: ClassifierRecipe) -> None:
        self.recipe = recipe
        self.cache = Cache.open(recipe.cache)
        self.validation = _rows(self.cache, "calibration")
        self.logits: NDArray[np.float64] = np.zeros(0)

    def build(self) -> nn.Module:
        """EfficientNet-B3 from the recipe's start."""
        recipe = self.recipe
        model = build_classifier(
            recipe.init, drop_path_rate=recipe.drop_path_rate, seed=recipe.seed
        )
        if recipe.relu6_until > 0:
            use_sliding_activations(model)
        return model

    def training_set(self) -> tuple[Dataset[Any], torch.Tensor]:
        """The training part, balanced."""
        rows = _rows(self.cache, "train")
        weights = sampling_weights(self.cache, rows, self.recipe.positive_share, self.recipe)
        masks = self.recipe.evidence_weight > 0
        return FilmDataset(self.cache, rows, self.recipe, masks=masks), torch.from_numpy(weights)

    def loss(self, model: nn.Module, batch: Any) -> torch.Tensor:
        """Focal loss, and where the recipe asks for it how far the evidence is from the lesion."""
        films, labels, *masks = batch
        films = films.contiguous(memory_format=torch.channels_last)
        recipe = self.recipe
        if not masks:
            logits = model(films)
            return focal_loss(logits, labels, alpha=recipe.focal_alpha, gamma=recipe.focal_gamma)
        logits, cells = model(films, evidence=True)
        focal = focal_loss(logits, labels, alpha=recipe.focal_alpha, gamma=recipe.focal_gamma)
        return focal + recipe.evidence_weight * evidence_loss(
            cells, masks[0], margin=recipe.evidence_margin
        )

    def set_progress(self, model: nn.Module, progress: float) -> None:
        """Slide from ReLU6 to SiLU where the recipe asks for it."""
        if self.recipe.relu6_until > 0:
            set_silu_share(model, progress / self.recipe.relu6_until)

    def eligible(self, progress: float) -> bool:
        """Only a pure EfficientNet-B3 may be kept: not before the slide to SiLU is over."""
        return progress >= self.recipe.relu6_until

    def validate(self, model: nn.Module, device: torch.device) -> dict[str, float]:
        """AUROC, best F2, specificity at the recipe's recall; the recipe names the score."""
        self.logits = predict_logits(model, self.cache, self.validation, self.recipe.size, device)
        labels = self.cache.labels[self.validation] == 1
        probability = 1 / (1 + np.exp(-self.logits))
        best_f2 = max(
            metrics.confusion(probability >= t, labels).f_beta(SEED_BETA) or 0.0
            for t in np.unique(probability)
        )
        threshold = threshold_for_recall(probability, labels, self.recipe.target_recall)
        at_recall = metrics.confusion(probability >= threshold, labels)
        loss = focal_loss(
            torch.from_numpy(self.logits),
            torch.from_numpy(labels.astype(np.float64)),
            alpha=self.recipe.focal_alpha,
            gamma=self.recipe.focal_gamma,
        )
        kept_by = {"f2": best_f2, "auroc": metrics.auroc(probability, labels) or 0.0}
        return {
            "score": kept_by[self.recipe.keep_by],
            **kept_by,
            "specificity_at_recall": at_recall.specificity or 0.0,
            "validation_loss": float(loss),
        }

    def draw(self, folder: Path) -> None:
        """Confusion matrices at the default and at the recall's threshold, and the ROC."""
        labels = self.cache.labels[self.validation] == 1
        probability = 1 / (1 + np.exp(-self.logits))
        recall = self.recipe.target_recall
        calibrated = threshold_for_recall(probability, labels, recall)
        points = {
            "default": metrics.confusion(probability >= CLASSIFIER_THRESHOLD, labels),
            "calibrated": metrics.confusion(probability >= calibrated, labels),
        }
        titles = {
            "default": f"Threshold {CLASSIFIER_THRESHOLD} (default), calibration part",
            "calibrated": f"Threshold {calibrated:.3f} (recall {recall}), calibration part",
        }
        for name, matrix in points.items():
            draw_confusion(matrix, folder / f"confusion_{name}.png", title=titles[name])
        curve = metrics.roc_curve(probability, labels)
        if curve is not None:
            area = metrics.auroc(probability, labels)
            figure = metrics.Estimate(
                name="AUROC",
                value=area,
                low=None,
                high=None,
                n=len(labels),
                n_positive=int(labels.sum()),
                n_patients=len(set(self.cache.patients[self.validation].tolist())),
                unit="patient",
            )
            draw_roc(curve, folder / "roc.png", figure, points)


class SegmenterTask:
    """Stage two: BCE + batch Dice, lesion-enriched batches, lesion Dice with misses counted 0."""

    name = "segmenter"

    def __init__(self, recipe: SegmenterRecipe) -> None:
        self.recipe = recipe
        self.cache = Cache.open(recipe.cache)
        self.validation = _rows(self.cache, "calibration")
        self.predicted = np.zeros(0, dtype=np.bool_)
        self.teacher = distill.find_teacher(recipe)
        self.feature_loss_weight = recipe.teacher_weight

    def build(self) -> nn.Module:
        """U-Net on ConvNeXt-Tiny, or a teacher, from the recipe's start."""
        recipe = self.recipe
        if recipe.encoder == "efficientnet_b3":
            return distill.build_teacher(
                recipe.init, drop_path_rate=recipe.drop_path_rate, seed=recipe.seed
            )
        return build_segmenter(
            recipe.init,
            drop_path_rate=recipe.drop_path_rate,
            shallow_skips=recipe.shallow_skips,
            seed=recipe.seed,
        )

    def training_set(self) -> tuple[Dataset[Any], torch.Tensor]:
        """The training part, enriched with lesions; all with a mask unless a teacher segments."""
        rows = _rows(self.cache, "train")
        if self.teacher is None or not self.teacher.segments:
            rows = rows[self.cache.has_mask[rows]]
        weights = sampling_weights(self.cache, rows, self.recipe.lesion_share, self.recipe)
        return FilmDataset(self.cache, rows, self.recipe, masks=True), torch.from_numpy(weights)

    def loss(self, model: nn.Module, batch: Any) -> torch.Tensor:
        """BCE plus Dice over the whole batch, and what is left of the teacher's feature loss."""
        films, _, masks = batch
        films = films.contiguous(memory_format=torch.channels_last)
        weight = self.recipe.film_dice_weight
        if self.teacher is None:
            return combo_loss(model(films), masks, film_dice_weight=weight)
        shown, predicted = self.teacher.look(films)
        masks, soft = distill.distillation_targets(masks, predicted, self.recipe.teacher_share)
        logits, maps = model(films, with_features=True)
        loss = combo_loss(logits, masks, film_dice_weight=weight, soft_targets=soft)
        return loss + self.feature_loss_weight * distill.feature_loss(maps, shown)

    def set_progress(self, model: nn.Module, progress: float) -> None:
        """Let the feature loss fade."""
        self.feature_loss_weight = self.recipe.teacher_weight * (1 - progress)

    def eligible(self, progress: float) -> bool:
        """Every epoch may be kept."""
        return True

    def validate(self, model: nn.Module, device: torch.device) -> dict[str, float]:
        """Lesion Dice on positives (the score) at input size, image-level accuracy on all."""
        predicted, dices = [], []
        for start in range(0, len(self.validation), VALIDATION_BATCH):
            rows = self.validation[start : start + VALIDATION_BATCH]
            maps = infer(model, self.cache, rows, self.recipe.size, device)[:, 0]
            for row, logits in zip(rows, maps, strict=True):
                mask = logits >= np.log(SEGMENTER_THRESHOLD / (1 - SEGMENTER_THRESHOLD))
                predicted.append(bool(mask.any()))
                if self.cache.labels[row]:
                    truth = mask_to_input(self.cache.masks[row], self.recipe.size)[0] > 0
                    dices.append(metrics.dice(mask, truth) if mask.any() else 0.0)
        self.predicted = np.array(predicted)
        matrix = metrics.confusion(self.predicted, self.cache.labels[self.validation] == 1)
        lesion_dice = float(np.mean(dices)) if dices else 0.0
        return {
            "score": lesion_dice,
            "lesion_dice": lesion_dice,
            "image_accuracy": matrix.accuracy or 0.0,
            "image_recall": matrix.recall or 0.0,
        }

    def draw(self, folder: Path) -> None:
        """Confusion matrix of «any pixel predicted» against the labels."""
        matrix = metrics.confusion(self.predicted, self.cache.labels[self.validation] == 1)
        title = f"Any pixel ≥ {SEGMENTER_THRESHOLD}, calibration part"
        draw_confusion(matrix, folder / "confusion_default.png", title=title)


def _rows(cache: Cache, part: str) -> NDArray[np.int64]:
    rows = cache.part(part)
    if not len(rows):
        raise DataError(f"the cache {cache.folder} has no {part} part; prepare it with one")
    return rows
