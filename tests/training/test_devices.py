"""Which precision a run computes in."""

from __future__ import annotations

import pytest
import torch

from pneumoseg.errors import UsageError
from pneumoseg.training import devices
from pneumoseg.training.devices import open_devices


class Opened:
    """In place of accelerate's, which keeps the first precision for the life of the process."""

    num_processes = 1

    def __init__(self, *, cpu: bool, mixed_precision: str) -> None:
        self.cpu, self.mixed_precision = cpu, mixed_precision


@pytest.fixture(autouse=True)
def opened(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "Accelerator", Opened)


@pytest.mark.parametrize(
    ("avx512_bf16", "amx", "expected"),
    [(False, False, "no"), (True, False, "bf16"), (False, True, "bf16")],
)
def test_auto_is_bf16_where_the_processor_computes_in_it(
    avx512_bf16: bool, amx: bool, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Emulated bf16 is several times slower than fp32."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx512_bf16)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    assert open_devices("auto").mixed_precision == expected


def test_what_is_named_is_taken() -> None:
    assert open_devices("fp32").mixed_precision == "no"


def test_processes_that_would_not_train_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Started by something that sets WORLD_SIZE alone: two would each train everything."""
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UsageError, match="2 processes were started but 1 would train"):
        open_devices("fp32")
