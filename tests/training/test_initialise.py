"""First weights: what was asked for, completely, or an error that names the other choices."""

from __future__ import annotations

from pathlib import Path

import pytest
import timm
import torch

from pneumoseg.classifier_efficientnet_b3 import EfficientNetB3Classifier
from pneumoseg.errors import RuntimeUnavailableError, UsageError
from pneumoseg.segmenter_convnext_tiny import ConvNeXtTinyUNet
from pneumoseg.training import initialise
from pneumoseg.training.initialise import (
    CHOICES,
    build_classifier,
    build_segmenter,
    load_weights,
)


@pytest.fixture(scope="module")
def scratch() -> EfficientNetB3Classifier:
    return build_classifier("scratch", seed=1)


@pytest.fixture(scope="module")
def unet() -> ConvNeXtTinyUNet:
    return build_segmenter("scratch", seed=1)


def _same(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    state = other.state_dict()
    return all(torch.equal(value, state[name]) for name, value in one.state_dict().items())


def test_scratch_depends_on_the_seed_alone(scratch: EfficientNetB3Classifier) -> None:
    torch.manual_seed(99)
    assert _same(scratch, build_classifier("scratch", seed=1))
    assert not _same(scratch, build_classifier("scratch", seed=2))


def test_a_weights_file_of_training_and_a_bare_one(
    scratch: EfficientNetB3Classifier, tmp_path: Path
) -> None:
    state = scratch.state_dict()
    torch.save({"model": state, "recipe": {"size": 64}}, tmp_path / "best.pt")
    torch.save(state, tmp_path / "bare.pt")
    for name in ("best.pt", "bare.pt"):
        assert _same(scratch, build_classifier(str(tmp_path / name), seed=5))


def test_an_encoder_alone_starts_the_encoder(unet: ConvNeXtTinyUNet, tmp_path: Path) -> None:
    """Weights of a pre-trained encoder; the decoder keeps its own fresh ones."""
    path = tmp_path / "encoder.pt"
    torch.save({k: v for k, v in unet.state_dict().items() if k.startswith("encoder.")}, path)
    started, fresh = build_segmenter(str(path), seed=2), build_segmenter("scratch", seed=2)
    assert _same(started.encoder, unet.encoder)
    assert _same(started.decoder, fresh.decoder) and not _same(started.decoder, unet.decoder)


def test_weights_of_the_other_network_are_refused(
    scratch: EfficientNetB3Classifier, tmp_path: Path
) -> None:
    torch.save(scratch.state_dict(), tmp_path / "classifier.pt")
    with pytest.raises(UsageError, match="are not this network's: .* missing, .* unknown"):
        build_segmenter(str(tmp_path / "classifier.pt"))


def test_one_missing_or_misshapen_tensor_is_named(unet: ConvNeXtTinyUNet, tmp_path: Path) -> None:
    """A partial load in silence would leave random layers behind."""
    state = unet.state_dict()
    torch.save({k: v for k, v in state.items() if k != "head.weight"}, tmp_path / "less.pt")
    with pytest.raises(UsageError, match="1 missing, 0 unknown, 0 of another shape.*head.weight"):
        load_weights(unet, tmp_path / "less.pt")
    torch.save({**state, "head.weight": torch.zeros(2, 16, 1, 1)}, tmp_path / "other.pt")
    with pytest.raises(UsageError, match="0 missing, 0 unknown, 1 of another shape.*head.weight"):
        load_weights(unet, tmp_path / "other.pt")


@pytest.mark.parametrize("content", [b"", b"not a weights file", b"PK\x03\x04 damaged"])
def test_a_damaged_file_is_named(content: bytes, unet: ConvNeXtTinyUNet, tmp_path: Path) -> None:
    path = tmp_path / "best.pt"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=r"best\.pt is not a PyTorch weights file"):
        load_weights(unet, path)


@pytest.mark.parametrize("held", [[1, 2], {"model": 3}, {"model": {"a": 1}}, {"epoch": 4}])
def test_a_file_without_a_state_dict_is_refused(
    held: object, unet: ConvNeXtTinyUNet, tmp_path: Path
) -> None:
    torch.save(held, tmp_path / "odd.pt")
    with pytest.raises(UsageError, match="holds no state dict of tensors"):
        load_weights(unet, tmp_path / "odd.pt")


def test_a_missing_weights_file_names_the_choices(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="neither a weights file nor a bundle") as caught:
        build_classifier(str(tmp_path / "none.pt"))
    assert CHOICES in str(caught.value)


@pytest.mark.parametrize("build", [build_classifier, build_segmenter])
@pytest.mark.parametrize("error", [OSError("offline"), RuntimeError("no such tag")])
def test_without_a_hub_the_other_choices_are_named(
    build: object, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Never a silent fall back to random weights."""
    create = timm.create_model

    def offline(name: str, *, pretrained: bool = False, **options: object) -> object:
        if pretrained:
            raise error
        return create(name, pretrained=False, **options)

    monkeypatch.setattr(timm, "create_model", offline)
    with pytest.raises(RuntimeUnavailableError, match="could not be fetched") as caught:
        build("imagenet")  # type: ignore[operator]
    assert CHOICES in str(caught.value)


def test_imagenet_weights_land_in_both_backbones(monkeypatch: pytest.MonkeyPatch) -> None:
    """The hub's network is whole, the segmenter's backbone gives features only and calls its stages
    by other names: every tensor must find its place.
    """
    create = timm.create_model
    made: dict[str, torch.nn.Module] = {}

    def hub(name: str, *, pretrained: bool = False, **options: object) -> object:
        model = create(name, pretrained=False, **options)
        if pretrained:
            made[name] = model
        return model

    monkeypatch.setattr(timm, "create_model", hub)
    classifier, segmenter = build_classifier("imagenet"), build_segmenter("imagenet")
    whole = made["efficientnet_b3"].state_dict()
    own = classifier.backbone.state_dict()
    assert all(torch.equal(own[k], whole[k]) for k in own if not k.startswith("classifier"))
    whole = made["convnext_tiny"].state_dict()
    own = segmenter.encoder.state_dict()
    for name, tensor in own.items():
        assert torch.equal(
            tensor, whole[name.replace("stages_", "stages.").replace("stem_", "stem.")]
        )


def test_lite2_is_for_the_classifier() -> None:
    with pytest.raises(UsageError, match="is for the classifier only"):
        build_segmenter("lite2")


def test_lite2_loads_what_net2net_makes(
    scratch: EfficientNetB3Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(initialise, "widen_lite2", lambda seed: scratch)
    assert _same(scratch, build_classifier("lite2", seed=7))
