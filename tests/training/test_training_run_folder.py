"""The folder of a training run: whose it is, what its weights hold."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from pneumoseg.errors import UsageError
from pneumoseg.training.recipes import Recipe
from pneumoseg.training.run_folder import check_run, plain, save_weights, write_json


def recipe(out: Path) -> Recipe:
    return Recipe(Path("cache"), out, "scratch", size=64)


def test_a_recipe_as_json_values(tmp_path: Path) -> None:
    found = plain(recipe(tmp_path))
    assert (found["cache"], found["size"], found["schedule"]["epochs"]) == ("cache", 64, 30)
    assert json.loads(json.dumps(found)) == found


def test_a_folder_is_new_empty_or_of_the_same_recipe(tmp_path: Path) -> None:
    out = tmp_path / "run"
    check_run(recipe(out), overwrite=False)
    out.mkdir()
    check_run(recipe(out), overwrite=False)
    write_json(out / "settings.json", plain(recipe(out)))
    check_run(recipe(out), overwrite=False)


def test_another_recipe_s_run_is_kept_unless_told_otherwise(tmp_path: Path) -> None:
    write_json(tmp_path / "settings.json", plain(recipe(tmp_path)))
    other = replace(recipe(tmp_path), seed=1)
    with pytest.raises(UsageError, match="a run of another recipe"):
        check_run(other, overwrite=False)
    check_run(other, overwrite=True)


@pytest.mark.parametrize("overwrite", [True, False])
def test_what_is_no_run_is_never_replaced(overwrite: bool, tmp_path: Path) -> None:
    """Breaks if --overwrite removes somebody's photos."""
    (tmp_path / "holiday.jpg").touch()
    with pytest.raises(UsageError, match="something else than a run"):
        check_run(recipe(tmp_path), overwrite)
    with pytest.raises(UsageError, match="something else than a run"):
        check_run(recipe(tmp_path / "holiday.jpg"), overwrite)


def test_weights_hold_network_recipe_and_metrics(tmp_path: Path) -> None:
    model = torch.nn.Linear(2, 1)
    save_weights(tmp_path / "best.pt", model, recipe(tmp_path), {"score": 0.5})
    held = torch.load(tmp_path / "best.pt", weights_only=True)
    assert sorted(held) == ["metrics", "model", "recipe"]
    assert torch.equal(held["model"]["weight"], model.weight) and held["metrics"] == {"score": 0.5}
    assert held["recipe"] == plain(recipe(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["best.pt"]
