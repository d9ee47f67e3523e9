"""The classifier as teacher of the segmenter's encoder."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from pneumoseg.errors import UsageError
from pneumoseg.segmenter_convnext_tiny import ENCODER_CHANNELS, ConvNeXtTinyUNet
from pneumoseg.segmenter_efficientnet_b3 import UNUSED, EfficientNetB3UNet
from pneumoseg.training.distill import (
    UNKNOWN,
    Teacher,
    build_teacher,
    distillation_targets,
    feature_loss,
    find_teacher,
)
from pneumoseg.training.initialise import build_classifier, build_segmenter
from pneumoseg.training.recipes import SegmenterRecipe


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("teacher") / "best.pt"
    torch.save(build_classifier("scratch").state_dict(), path)
    return path


def test_teacher_and_student_see_the_same_places(weights: Path) -> None:
    films = torch.rand(2, 1, 64, 96)
    shown, predicted = Teacher(str(weights)).look(films)
    assert predicted is None  # a classifier outlines nothing
    _, maps = ConvNeXtTinyUNet()(films, with_features=True)
    assert [m.shape[2:] for m in shown] == [m.shape[2:] for m in maps]
    assert [m.shape[1] for m in maps] == list(ENCODER_CHANNELS)
    assert all(t.shape[1] <= p.shape[1] for t, p in zip(shown, maps, strict=True))


def test_the_feature_loss_is_one_channel_by_channel_alike(weights: Path) -> None:
    """Fails if a stage's scale decided how much it counts."""
    for shown in Teacher(str(weights)).look(torch.rand(4, 1, 128, 128))[0]:
        assert shown.mean(dim=(0, 2, 3)).abs().max() < 1e-3
        assert shown.var(dim=(0, 2, 3), correction=0).max() < 1.01


def test_looking_changes_nothing_in_the_teacher(weights: Path) -> None:
    teacher = Teacher(str(weights))
    before = {name: value.clone() for name, value in teacher.network.state_dict().items()}
    shown, _ = teacher.look(torch.rand(2, 1, 64, 64))
    assert not any(one.requires_grad for one in shown)
    assert all(torch.equal(before[k], v) for k, v in teacher.network.state_dict().items())


def test_only_the_first_channels_are_asked_for() -> None:
    shown = torch.randn(2, 3, 4, 4)
    student = torch.cat((shown, torch.full((2, 5, 4, 4), 100.0)), dim=1)
    assert feature_loss([student], [shown]) == 0
    nothing = torch.zeros_like(student)
    stages = feature_loss([student, nothing], [shown, shown])
    torch.testing.assert_close(stages, shown.square().mean() / 2)


def test_the_feature_loss_reaches_every_stage_of_the_encoder(weights: Path) -> None:
    films = torch.rand(2, 1, 64, 64)
    student = ConvNeXtTinyUNet()
    _, maps = student(films, with_features=True)
    shown, _ = Teacher(str(weights)).look(films)
    feature_loss(maps, shown).backward()  # type: ignore[no-untyped-call]
    encoder = [p.grad for name, p in student.named_parameters() if name.startswith("encoder.")]
    assert all(grad is not None and bool(grad.abs().sum() > 0) for grad in encoder)
    assert all(p.grad is None for name, p in student.named_parameters() if "decoder" in name)


@pytest.mark.parametrize("start", ["scratch", "imagenet", "lite2"])
def test_a_teacher_must_have_seen_films(start: str) -> None:
    with pytest.raises(UsageError, match="never seen a film"):
        Teacher(start)


def test_a_segmenter_is_no_teacher(tmp_path: Path) -> None:
    path = tmp_path / "best.pt"
    torch.save(ConvNeXtTinyUNet().state_dict(), path)
    with pytest.raises(UsageError, match="teacher .* cannot be loaded.*not this network's"):
        Teacher(str(path))


def test_a_classifier_begins_to_outline_where_it_looks(weights: Path) -> None:
    """The encoder of a new teacher is the classifier's, weight by weight."""
    classifier, teacher = build_classifier(str(weights)), build_teacher(str(weights))
    held = teacher.backbone.state_dict()
    taken = classifier.backbone.state_dict()
    head = {k for k in taken if f"backbone.{k}".startswith(UNUSED)}
    assert set(taken) - set(held) == head != set()
    assert all(torch.equal(held[k], v) for k, v in taken.items() if k not in head)
    assert teacher(torch.rand(2, 1, 64, 96)).shape == (2, 1, 64, 96)


def test_a_teacher_that_can_outline_draws(tmp_path: Path) -> None:
    network = build_teacher("scratch").eval()
    path = tmp_path / "best.pt"
    torch.save({"model": network.state_dict()}, path)
    films = torch.rand(2, 1, 64, 64)
    teacher = Teacher(str(path))
    shown, predicted = teacher.look(films)
    assert teacher.segments
    assert predicted is not None
    assert not predicted.requires_grad
    torch.testing.assert_close(predicted, torch.sigmoid(network(films)))
    assert [m.shape[1] for m in shown] == [32, 48, 136, 384]


def test_one_detector_refuses_the_weights_of_the_other(tmp_path: Path) -> None:
    path = tmp_path / "best.pt"
    torch.save(EfficientNetB3UNet(build_classifier("scratch")).state_dict(), path)
    with pytest.raises(UsageError, match="not this network's"):
        build_segmenter(str(path))


def test_a_damaged_teacher_gets_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "best.pt"
    path.write_bytes(b"x")
    with pytest.raises(UsageError, match="cannot be loaded.*damaged") as refusal:
        Teacher(str(path))
    assert "\n" not in str(refusal.value)


def _segmenting_teacher(folder: Path) -> Path:
    path = folder / "best.pt"
    torch.save(build_teacher("scratch").state_dict(), path)
    return path


def test_maps_of_an_enlarged_film_lie_at_the_students_places(tmp_path: Path) -> None:
    """The teacher gets 96 pixels for the student's 64; what it predicts comes back to those."""
    films = torch.rand(2, 1, 64, 64)
    teacher = Teacher(str(_segmenting_teacher(tmp_path)), zoom=1.5)
    sides = []
    teacher.network.backbone.conv_stem.register_forward_hook(
        lambda module, inputs, output: sides.append(inputs[0].shape[-1])
    )
    shown, predicted = teacher.look(films)
    assert sides == [96]
    assert predicted is not None
    assert predicted.shape == films.shape
    assert [m.shape[1:] for m in shown] == [(32, 16, 16), (48, 8, 8), (136, 4, 4), (384, 2, 2)]
    for one in shown[:2]:
        assert one.mean(dim=(0, 2, 3)).abs().max() < 1e-3
        assert one.var(dim=(0, 2, 3), correction=0).max() < 1.01


def test_what_an_enlarged_film_shows_is_averaged_back(tmp_path: Path) -> None:
    """Zoom 2: a pixel's probability is the mean of the four that the teacher gave for it."""
    films = torch.rand(1, 1, 64, 64)
    path = str(_segmenting_teacher(tmp_path))
    wide = torch.nn.functional.interpolate(films, scale_factor=2.0, mode="bilinear")
    _, fine = Teacher(path).look(wide)
    _, predicted = Teacher(path, zoom=2.0).look(films)
    assert fine is not None
    assert predicted is not None
    by_hand = fine.view(1, 1, 64, 2, 64, 2).mean(dim=(3, 5))
    torch.testing.assert_close(predicted, by_hand)


def test_a_classifier_may_look_closer_too(weights: Path) -> None:
    shown, predicted = Teacher(str(weights), zoom=1.5).look(torch.rand(2, 1, 64, 64))
    assert predicted is None
    assert [m.shape[-1] for m in shown] == [16, 8, 4, 2]


def test_targets_are_mixed_by_hand() -> None:
    """Share 0.25 of 0.8: 0.2 where the mask is 0, 0.75 + 0.2 where it is 1; of a film that nobody
    outlined 0.8 for the cross-entropy, and for Dice 1 where it is above a half.
    """
    masks = torch.tensor([[0.0, 1.0], [UNKNOWN, UNKNOWN]]).view(2, 1, 1, 2)
    predicted = torch.tensor([[0.8, 0.8], [0.8, 0.4]]).view(2, 1, 1, 2)
    hard, soft = distillation_targets(masks, predicted, 0.25)
    assert hard.flatten().tolist() == [0.0, 1.0, 1.0, 0.0]
    assert soft.flatten().tolist() == pytest.approx([0.2, 0.95, 0.8, 0.4])


def test_without_a_share_masks_are_filled_as_they_were() -> None:
    """The teacher's probability stands in where nobody drew, for Dice and cross-entropy alike."""
    masks = torch.tensor([[0.0, 1.0], [UNKNOWN, UNKNOWN]]).view(2, 1, 1, 2)
    predicted = torch.tensor([[0.8, 0.8], [0.8, 0.4]]).view(2, 1, 1, 2)
    hard, soft = distillation_targets(masks, predicted, 0.0)
    assert torch.equal(hard, torch.where(masks == UNKNOWN, predicted, masks))
    assert torch.equal(soft, hard)
    assert distillation_targets(masks, None, 0.0) == (masks, masks)


def test_a_classifier_has_no_probabilities_to_share(weights: Path) -> None:
    recipe = SegmenterRecipe(teacher=str(weights), teacher_share=0.5)
    with pytest.raises(UsageError, match="predicts none; give a best.pt of a run with encoder"):
        find_teacher(recipe)


def test_a_recipe_without_a_teacher_has_none() -> None:
    assert find_teacher(SegmenterRecipe()) is None
