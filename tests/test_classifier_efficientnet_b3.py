"""Stage one: what goes in and comes out, how large it is, how its layers are called."""

from __future__ import annotations

import pytest
import torch

from pneumoseg.classifier_efficientnet_b3 import EfficientNetB3Classifier


@pytest.fixture(scope="module")
def classifier() -> EfficientNetB3Classifier:
    return EfficientNetB3Classifier().eval()


@pytest.mark.parametrize("size", [64, 96])
def test_one_logit_a_film(classifier: EfficientNetB3Classifier, size: int) -> None:
    with torch.inference_mode():
        assert classifier(torch.zeros(2, 1, size, size)).shape == (2, 1)


def test_the_cells_of_the_last_map_share_the_logit(classifier: EfficientNetB3Classifier) -> None:
    """Mean of the shares and the last bias: what the loss on the evidence rests on."""
    films = torch.randn(2, 1, 96, 96, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        logits, cells = classifier(films, evidence=True)
        assert cells.shape == (2, 1, 3, 3)
        assert torch.allclose(logits, classifier(films))
        bias = classifier.backbone.classifier.bias
        assert torch.allclose(cells.mean(dim=(1, 2, 3)) + bias, logits[:, 0], atol=1e-5)


def test_size(classifier: EfficientNetB3Classifier) -> None:
    """B3 has 12.2 M parameters with its 1000-class head (1536 * 1000 + 1000), 10.7 M without it."""
    assert sum(p.numel() for p in classifier.parameters()) == pytest.approx(10.7e6, rel=0.01)


def test_a_logit_is_not_a_probability(classifier: EfficientNetB3Classifier) -> None:
    """It ends in a linear layer: a sigmoid inside would be applied twice."""
    assert isinstance(classifier.backbone.classifier, torch.nn.Linear)


def test_names_that_weights_files_rely_on(classifier: EfficientNetB3Classifier) -> None:
    assert all(name.startswith("backbone.") for name in classifier.state_dict())


def test_every_parameter_learns() -> None:
    """A layer that forward leaves out would keep its random weights for ever."""
    model = EfficientNetB3Classifier().train()
    model(torch.randn(2, 1, 64, 64)).sum().backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []
