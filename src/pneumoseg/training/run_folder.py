"""The folder of a training run, which explains itself.

- ``settings.json`` the recipe; ``environment.json`` versions and device;
- ``metrics.json`` one record per epoch; ``curves.png`` and the task's own pictures;
- ``best.pt`` the averaged weights of the best epoch, ``latest.pt`` those of the last one;
- ``last/`` the state from which a stopped run goes on.
"""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import shutil
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import nn

from pneumoseg.errors import UsageError
from pneumoseg.storage import result
from pneumoseg.training.recipes import Recipe
from pneumoseg.version import __version__

SETTINGS_FILE = "settings.json"
BEST_FILE = "best.pt"
LATEST_FILE = "latest.pt"
"""Where the score is noisy, the end of a schedule can be the better start of the next one."""

write_json = partial(result.write_json, indent=1, allow_nan=True)
"""Writes a record of a run; a loss that is not defined is NaN there."""


def check_run(recipe: Recipe, overwrite: bool) -> None:
    """Refuse a folder that holds another recipe's run, or something that is no run at all."""
    path = recipe.out / SETTINGS_FILE
    if not path.is_file():
        if recipe.out.exists() and (not recipe.out.is_dir() or any(recipe.out.iterdir())):
            raise UsageError(f"{recipe.out} holds something else than a run; give another --out")
        return
    if overwrite:
        return
    held = json.loads(path.read_text(encoding="utf-8"))
    if _completed(held, plain(type(recipe)())) != plain(recipe):
        raise UsageError(
            f"{recipe.out} holds a run of another recipe; give another --out, or --overwrite"
        )


def _completed(held: Any, usual: Any) -> Any:
    """Settings of an earlier version with the options that it had not, at their defaults."""
    if not (isinstance(held, dict) and isinstance(usual, dict)):
        return held
    values = {key: _completed(value, usual.get(key)) for key, value in held.items()}
    return usual | values


def make_run(recipe: Recipe, accelerator: Accelerator, *, overwrite: bool) -> None:
    """Make the folder and write what the run is; called after :func:`check_run`, in one process."""
    if overwrite and (recipe.out / SETTINGS_FILE).is_file():
        shutil.rmtree(recipe.out)
    recipe.out.mkdir(parents=True, exist_ok=True)
    write_json(recipe.out / SETTINGS_FILE, plain(recipe))
    _write_environment(recipe.out, accelerator)


def plain(recipe: Recipe) -> Any:
    """Turn a recipe into JSON values."""
    return json.loads(json.dumps(dataclasses.asdict(recipe), default=str))


def save_weights(path: Path, model: nn.Module, recipe: Recipe, record: Mapping[str, float]) -> None:
    """Write a weights file: the state dict ``model``, the ``recipe`` and the ``metrics``."""
    temporary = path.with_suffix(".new")
    held = {"model": model.state_dict(), "recipe": plain(recipe), "metrics": dict(record)}
    torch.save(held, temporary)
    temporary.replace(path)


def _write_environment(folder: Path, accelerator: Accelerator) -> None:
    device = accelerator.device
    write_json(
        folder / "environment.json",
        {
            "pneumoseg": __version__,
            "python": sys.version.split()[0],
            "torch": torch.__version__,
            "platform": platform.platform(),
            "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
            "processes": accelerator.num_processes,
            "cores": os.cpu_count(),
            "precision": "bf16" if accelerator.mixed_precision == "bf16" else "fp32",
        },
    )
